"""Show an evaluation and its analysis on pages."""

from collections.abc import Iterable, Sequence

from reid.domain.values.analyses import EvaluationAnalysis
from reid.domain.values.page_data import EvaluationPageData, PageLimits
from reid.domain.values.reports import EvaluationReport
from reid.ports.dataset import ImageReader
from reid.ports.pages import Page


class ShowEvaluation:
    """Makes the pages of an evaluation."""

    def __init__(self, *, pages: Sequence[Page[EvaluationPageData]]) -> None:
        """Keep the pages."""
        self._pages = tuple(pages)

    def run(
        self,
        report: EvaluationReport,
        analysis: EvaluationAnalysis,
        *,
        reader: ImageReader,
        title: str,
        notes: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Write every page, with thumbnails by the reader, and return the place of each file.

        Raises:
            CheckpointError: A place cannot be written.
        """
        hardest = analysis.hardest
        asked = [one.name for one in hardest]
        known = [image.name for one in hardest for image in (*one.above, one.match)]
        page_data = EvaluationPageData(
            title=title,
            notes=(*notes, *_reservations(report)),
            report=report,
            analysis=analysis,
            query_thumbnails=_thumbnails(reader, asked),
            gallery_thumbnails=_thumbnails(reader, known),
        )
        return tuple(place for page in self._pages for place in page.write(page_data))


def _reservations(report: EvaluationReport) -> Iterable[str]:
    if report.reranking is not None or not report.is_exact:
        yield (
            "Camera pairs, hardest queries and histograms are of the exact ranking by cosine; the "
            "scores and the curve are not"
        )


def _thumbnails(reader: ImageReader, names: Iterable[str]) -> dict[str, bytes]:
    wanted = list(dict.fromkeys(names))
    made = reader.thumbnails(wanted, height=PageLimits().thumbnail_height)
    return {image: small for image, small in zip(wanted, made, strict=True) if small is not None}
