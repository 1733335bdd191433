"""`reid index`: compare the ways of searching."""

from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, takes_settings
from reid.cli.render import to_json
from reid.cli.wiring import wired

if TYPE_CHECKING:
    from reid.application.bench_indexes import IndexBenchReport, IndexFigures
    from reid.settings.loading import ResolvedSettings

VectorsArgument = Annotated[
    str, typer.Argument(metavar="GALLERY", help="A gallery, or a folder of .npy files of vectors.")
]
QueriesOption = Annotated[
    str | None,
    typer.Option(
        "--queries", metavar="GALLERY", help="Queries; unless given, pictures held out of GALLERY."
    ),
]
KindsOption = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="Measure only this index; may be repeated."),
]

index_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Compare the ways of searching."
)


@index_app.callback()
def index() -> None:
    """Compare the ways of searching."""


@index_app.command("bench")
@takes_settings("seed")
def bench(
    resolved: "ResolvedSettings",
    *,
    gallery: VectorsArgument,
    queries: QueriesOption = None,
    kinds: KindsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure each index on your own gallery.

    The table has recall, speed, building time and size.
    """
    with wired(resolved.settings) as container:
        read = container.read_gallery_vectors
        asked = None if queries is None else read(queries)
        report = container.bench_indexes(kinds=kinds).run(read(gallery), queries=asked)
    typer.echo(to_json(report) if as_json else render_index_bench(report))


def render_index_bench(report: "IndexBenchReport") -> str:
    """Tabulate what was measured, then say which one to take."""
    return "\n".join(
        [
            f"{report.num_rows} vectors of width {report.width}, {report.num_queries} queries",
            "index  | recall@1 | recall@10 | queries/s | ms/query | built in |     size",
            *map(_row, report.figures),
            *(f"not measured: {failure}" for failure in report.failures),
            f"Choose {report.choice}: {report.reason} (index.kind = {report.choice!r})",
        ]
    )


def _row(found: "IndexFigures") -> str:
    return (
        f"{found.kind:<6} | {found.recall_at_1:>8.4f} | {found.recall_at_10:>9.4f} | "
        f"{found.queries_per_second:>9.0f} | {found.milliseconds_per_query:>8.2f} | "
        f"{found.build_seconds:>6.1f} s | {found.num_bytes / 2**20:>4.0f} MiB"
    )
