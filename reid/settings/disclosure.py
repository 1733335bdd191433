"""Settings as other people may see them."""

from pathlib import Path

from pydantic import SecretStr

from reid.settings.catalogue import types_of
from reid.settings.layers import OriginKind
from reid.settings.loading import ResolvedSettings, SettingRow
from reid.settings.schema import WEIGHTS_BY_NAME

NOT_SHOWN = "<not shown>"

_NEVER_SHOWN = ("gallery.milvus.address",)
"""Settings that may hold a password but are not secrets by type."""

_PRIVATE = ("dataset.also", "gallery.tenant", "service.host")


def told_settings(resolved: ResolvedSettings, *, shows_paths: bool) -> dict[str, str]:
    """List the recipe and every chosen setting with its value and source; never a password."""
    shown: dict[str, str] = {}
    for row in resolved.rows():
        if row.origin.is_chosen or row.key == "recipe":
            who = str(row.origin)
            if row.origin.kind is OriginKind.FILE and not shows_paths:
                who = f"{row.origin.kind} {Path(row.origin.name).name}"
            shown[row.key] = f"{_value(row, shows_paths=shows_paths)} ({who})"
    return shown


def _value(row: SettingRow, *, shows_paths: bool) -> str:
    types = types_of(row.key) or frozenset()
    if row.key in _NEVER_SHOWN or SecretStr in types:
        return NOT_SHOWN
    # Settings of plug-ins may hold anything.
    is_private = types & {Path, dict} or row.key in _PRIVATE
    if row.key == "encoder.weights" and row.value not in WEIGHTS_BY_NAME:
        is_private = True
    return NOT_SHOWN if is_private and not shows_paths else str(row.value)
