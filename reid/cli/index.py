"""`reid index`: compare search indexes."""

from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, argument, option, takes_settings
from reid.cli.render import table, to_json
from reid.container.checks import require_gallery
from reid.container.program import wired

if TYPE_CHECKING:
    from reid.application.bench_indexes import IndexBenchReport, IndexFigures
    from reid.settings.loading import ResolvedSettings

VectorsArgument = Annotated[
    str, argument("GALLERY", "A gallery, or a folder of .npy files of vectors.")
]
QueriesOption = Annotated[
    str | None, option("--queries GALLERY", "Queries; by default, images held out of GALLERY.")
]
KindsOption = Annotated[
    list[str] | None, option("--kind KIND", "Measure only this index; may be repeated.")
]

index_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Compare search indexes.")


@index_app.callback()
def index() -> None:
    """Compare search indexes."""


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

    The table shows recall, speed, build time and size.
    """
    for name in (gallery, queries):
        if name is not None:
            require_gallery(
                resolved.settings.gallery, name, otherwise="a folder of .npy files of vectors"
            )
    with wired(resolved.settings) as container:
        read = container.read_gallery_vectors
        asked = None if queries is None else read(queries)
        report = container.bench_indexes(kinds=kinds).run(read(gallery), queries=asked)
    typer.echo(to_json(report) if as_json else render_index_bench(report))


_HEADINGS = ("index", "recall@1", "recall@10", "queries/s", "ms/query", "built in", "size")


def render_index_bench(report: "IndexBenchReport") -> str:
    """Tabulate the figures, then recommend an index."""
    return "\n".join(
        [
            f"{report.num_rows} vectors of width {report.width}, {report.num_queries} queries",
            table(_HEADINGS, map(_row, report.figures), numbers=_HEADINGS[1:], between=" | "),
            *(f"not measured: {failure}" for failure in report.failures),
            f"Choose {report.choice}: {report.reason} (index.kind = {report.choice!r})",
        ]
    )


def _row(found: "IndexFigures") -> tuple[str, ...]:
    return (
        found.kind,
        f"{found.recall_at_1:.4f}",
        f"{found.recall_at_10:.4f}",
        f"{found.queries_per_second:.0f}",
        f"{found.milliseconds_per_query:.2f}",
        f"{found.build_seconds:.1f} s",
        f"{found.num_bytes / 2**20:.0f} MiB",
    )
