"""A gallery's calibrations in the form of JSON, in which databases and files keep them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reid.domain.values.galleries import Calibration


def to_plain(calibrations: Sequence[Calibration]) -> list[dict[str, Any]]:
    """Put calibrations as JSON has them."""
    return [asdict(calibration) for calibration in calibrations]


def from_plain(
    kept: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None,
) -> tuple[Calibration, ...]:
    """Read what `to_plain` wrote.

    The program's first galleries kept one calibration, on its own, or none.

    Raises:
        TypeError: It is something else.
    """
    if kept is None:
        return ()
    found = [kept] if isinstance(kept, Mapping) else kept
    return tuple(Calibration(**calibration) for calibration in found)
