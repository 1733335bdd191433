"""`reid settings`: what is set, and by whom."""

from typing import TYPE_CHECKING

import typer

from reid.cli.options import DATASET_OPTIONS, JsonOption, takes_settings
from reid.cli.render import render_settings, settings_as_json

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings


@takes_settings(*DATASET_OPTIONS)
def settings(resolved: "ResolvedSettings", *, as_json: JsonOption = False) -> None:
    """Show every setting, its value and where it comes from."""
    from reid.plugins import PluginGroup, check_kind

    values = resolved.settings
    for source in (values.dataset, *values.dataset.also):
        check_kind(PluginGroup.DATASETS, source.kind)
    check_kind(PluginGroup.INDEXES, values.index.kind)
    if values.encoder.kind is not None:
        check_kind(PluginGroup.ENCODERS, values.encoder.kind)
    rows = resolved.rows()
    typer.echo(settings_as_json(rows) if as_json else render_settings(rows))
