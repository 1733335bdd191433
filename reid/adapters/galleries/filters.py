"""The conditions of a gallery's filter, for engines that write them in their own language."""

from dataclasses import fields

from reid.domain.values.galleries import GalleryFilter


def conditions_in(within: GalleryFilter) -> dict[str, str | frozenset[str]]:
    """Return the conditions that a filter sets, by the names of its fields."""
    found = {one.name: getattr(within, one.name) for one in fields(within)}
    return {one.name: found[one.name] for one in fields(within) if found[one.name] != one.default}
