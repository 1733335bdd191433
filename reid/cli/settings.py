"""`reid settings`: list all settings and their sources."""

from typing import TYPE_CHECKING

import typer

from reid.cli.options import DATASET_OPTIONS, JsonOption, takes_settings
from reid.cli.render import table, to_json, toml_value

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings


@takes_settings(*DATASET_OPTIONS)
def settings(resolved: "ResolvedSettings", *, as_json: JsonOption = False) -> None:
    """List every setting, its value and where it comes from."""
    from reid.container.registry import Group, find

    values = resolved.settings
    for source in (values.dataset, *values.dataset.also):
        find(Group.DATASETS, source.kind)
    find(Group.INDEXES, values.index.kind)
    if values.encoder.kind is not None:
        find(Group.ENCODERS, values.encoder.kind)
    rows = resolved.rows()
    if as_json:
        answer = to_json({row.key: {"value": row.value, "origin": str(row.origin)} for row in rows})
    else:
        cells = [(row.key, f"= {toml_value(row.value)}", str(row.origin)) for row in rows]
        answer = table(("setting", "  value", "set by"), cells)
    typer.echo(answer)
