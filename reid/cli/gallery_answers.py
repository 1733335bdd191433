"""What `reid gallery` answers, for people."""

from typing import TYPE_CHECKING

from reid.cli.render import table
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.application.galleries import (
        CheckOutcome,
        FillingOutcome,
        GalleryContent,
        RemovalOutcome,
    )
    from reid.domain.values.galleries import GalleryDescription
    from reid.domain.values.gallery_caches import CacheContent


def render_enrolment(outcome: "FillingOutcome") -> str:
    """Count what went in."""
    changes = outcome.changes
    return "\n".join(
        [
            f"{outcome.place}: {'new, ' if outcome.is_new else ''}"
            f"{counted(outcome.content.num_images, 'image')}",
            f"Listed {counted(changes.num_listed, 'image')} of "
            f"{counted(outcome.num_labels, 'label')}",
            f"Embedded {changes.num_embedded}, updated {changes.num_updated}, "
            f"unchanged {changes.num_unchanged}, removed {changes.num_removed}",
            f"Encoder: {outcome.content.fingerprint}",
        ]
    )


def render_removal(outcome: "RemovalOutcome", *, done: str) -> str:
    """Count what went out, and say what a server may still hold of it."""
    told = (
        f"{done} {counted(outcome.num_images, 'image')}; {outcome.num_left} left in {outcome.place}"
    )
    if outcome.residual_traces is None:
        return told
    return f"{told}\n{_told_beyond(outcome.residual_traces)}"


def render_check(outcome: "CheckOutcome") -> str:
    """List faults, or say that there are none."""
    lines = []
    if outcome.num_expired:
        lines.append(f"Erased {counted(outcome.num_expired, 'image')} whose time had come")
    if outcome.residual_traces is not None:
        lines.append(_told_beyond(outcome.residual_traces))
    lines.extend(outcome.faults)
    if not outcome.faults:
        lines.append(f"{outcome.place}: {counted(outcome.num_images, 'image')}, no fault was found")
    return "\n".join(lines)


def render_total(done: str, gallery: str, content: "GalleryDescription") -> str:
    """Say what a gallery holds after something was done to it."""
    return f"{done} {gallery}, {counted(content.num_images, 'image')}"


def render_content(content: "GalleryContent", *, with_audit: bool) -> str:
    """Tabulate people, and the audit log where wanted."""
    rows = [
        (found.label, str(found.num_images), " ".join(found.cameras) or "-")
        for found in content.labels
    ]
    lines = [table(("label", "images", "cameras"), rows, numbers=("images",))]
    total = counted(content.content.num_images, "image")
    lines += ["", f"{content.place}: {total} of {counted(len(content.labels), 'label')}"]
    lines.append(f"Encoder: {content.content.fingerprint or 'none yet'}")
    if content.num_expiring:
        lines.append(f"To be erased in time: {counted(content.num_expiring, 'image')}")
    lines += [
        f"Unknown below a similarity of {found.threshold:.3f} (fusion {found.fusion})"
        for found in content.content.calibrations
    ]
    if with_audit:
        entries = [
            (entry.at, entry.action, str(entry.num_images), entry.subject)
            for entry in content.audit
        ]
        headings = ("time (UTC)", "action", "images", "subject")
        lines += ["", table(headings, entries, numbers=("images",))]
    return "\n".join(lines)


def render_cache(content: "CacheContent", *, is_cleared: bool) -> str:
    """Tabulate cached galleries, or count those that were deleted."""
    total = f"{counted(len(content.galleries), 'gallery', 'galleries')}, {_size(content.num_bytes)}"
    if is_cleared:
        return f"Deleted {total} from {content.place}"
    lines = []
    for kept in content.galleries:
        held = "cannot be read"
        if kept.num_images is not None:
            held = f"{counted(kept.num_images, 'image')} of {', '.join(kept.sources) or '-'}"
        lines += [kept.place, f"  {held}; {_size(kept.num_bytes)}, changed {kept.changed_at}"]
    return "\n".join([*lines, f"{content.place}: {total}"])


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


def _told_beyond(places: str) -> str:
    return f"Traces may stay {places}; and in backups"
