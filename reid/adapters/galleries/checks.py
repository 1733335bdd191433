"""Checks under the names that galleries in databases know them by."""

from reid.domain.services.gallery_checks import (
    NORM_TOLERANCE,
    are_unit,
    check_additions,
    check_question,
    checksum_of,
    require_kept,
)

__all__ = [
    "NORM_TOLERANCE",
    "are_unit",
    "check_additions",
    "check_question",
    "checksum_of",
    "require_kept",
]
