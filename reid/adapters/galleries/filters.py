"""The conditions of a gallery's filter, in a language that each engine translates to its own.

A value is written `:name`; `among :name` asks for one of a list of values.
"""

from dataclasses import fields

from reid.domain.values.galleries import GalleryFilter, is_keepable

_CONDITIONS = {
    "cameras": "camera among :cameras",
    "without_cameras": "(camera is null or not (camera among :without_cameras))",
    "labels": "label among :labels",
    "added_from": "added_at >= :added_from",
    "added_until": "added_at < :added_until",
}


def condition_of(within: GalleryFilter) -> tuple[str, dict[str, str | list[str]]]:
    """Write a filter, with its values; `true` admits everything."""
    asked = {one.name: getattr(within, one.name) for one in fields(within)}
    values = {one.name: asked[one.name] for one in fields(within) if asked[one.name] != one.default}
    return " and ".join(_CONDITIONS[name] for name in values) or "true", {
        name: value if isinstance(value, str) else sorted(filter(is_keepable, value))
        for name, value in values.items()
    }
