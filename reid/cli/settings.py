"""`reid settings`: what is set, and by whom."""

from typing import TYPE_CHECKING

import typer

from reid.cli.options import JsonOption, takes_settings
from reid.cli.render import render_settings, settings_as_json

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings


@takes_settings()
def settings(resolved: "ResolvedSettings", *, as_json: JsonOption = False) -> None:
    """Show every setting, its value and where it comes from."""
    rows = resolved.rows()
    typer.echo(settings_as_json(rows) if as_json else render_settings(rows))
