"""Answers of `reid gallery` as text."""

from typing import TYPE_CHECKING

from reid.cli.render import table
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.application.galleries import (
        CheckOutcome,
        EnrolmentOutcome,
        GalleryContent,
        RemovalOutcome,
    )
    from reid.domain.values.galleries import CacheContent, GalleryDescription


def enrolment(outcome: "EnrolmentOutcome") -> str:
    """Count the images that were added, updated and removed."""
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


def removal(outcome: "RemovalOutcome", *, done: str) -> str:
    """Count the removed images, and name the places where a server may still hold them."""
    images = counted(outcome.num_images, "image")
    lines = [f"{done} {images}; {outcome.num_left} left in {outcome.place}"]
    return "\n".join(lines + _traces(outcome.residual_traces))


def check(outcome: "CheckOutcome") -> str:
    """List the faults."""
    lines = []
    if outcome.num_expired:
        lines.append(f"Erased {counted(outcome.num_expired, 'image')} that had expired")
    lines += [*_traces(outcome.residual_traces), *outcome.faults]
    if not outcome.faults:
        lines.append(f"{outcome.place}: {counted(outcome.num_images, 'image')}, no fault was found")
    return "\n".join(lines)


def total(done: str, gallery: str, content: "GalleryDescription") -> str:
    """Count a gallery's images after a change."""
    return f"{done} {gallery}, {counted(content.num_images, 'image')}"


def content(content: "GalleryContent", *, with_audit: bool) -> str:
    """Tabulate the people and, on request, the audit log."""
    rows = [
        (found.label, str(found.num_images), " ".join(found.cameras) or "-")
        for found in content.labels
    ]
    lines = [table(("label", "images", "cameras"), rows, numbers=("images",))]
    total = counted(content.content.num_images, "image")
    lines += ["", f"{content.place}: {total} of {counted(len(content.labels), 'label')}"]
    lines.append(f"Encoder: {content.content.fingerprint or 'none yet'}")
    if content.num_expiring:
        lines.append(f"With an expiry date: {counted(content.num_expiring, 'image')}")
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


def cache(content: "CacheContent", *, is_cleared: bool) -> str:
    """List cached galleries, or count the deleted ones."""
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


def _traces(places: str | None) -> list[str]:
    return [] if places is None else [f"Traces may remain {places}; and in backups"]
