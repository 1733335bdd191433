"""How rankings are made, answered and shown, from settings."""

from dataclasses import replace

from torch import Tensor

from reid.adapters.pages.files import Rasterise
from reid.assembly.requirements import needed_for
from reid.domain.errors import ConfigurationError
from reid.domain.services.answering import Answering
from reid.domain.services.gallery_filling import THUMBNAIL_HEIGHT
from reid.domain.values.analyses import MapLayout
from reid.domain.values.galleries import GalleryFilter
from reid.domain.values.people import FusionRecipe
from reid.domain.values.recipes import RerankingRecipe
from reid.settings.tasks import EvaluationSettings, IdentifySettings


def reranking_of(evaluation: EvaluationSettings, recipe: RerankingRecipe) -> RerankingRecipe | None:
    """Re-rank only where it is asked for."""
    return recipe if evaluation.rerank else None


def answering_of(settings: IdentifySettings, reranking: RerankingRecipe) -> Answering:
    """Put settings as `identify` and `calibrate` want them."""
    usual = FusionRecipe()
    return Answering(
        top_k=settings.top_k,
        recipe=FusionRecipe(fusion=settings.fusion or usual.fusion, votes=settings.votes),
        are_tracklets=settings.tracklets,
        unknown=settings.unknown,
        reranking=reranking if settings.rerank else None,
        within=GalleryFilter(
            cameras=frozenset(settings.seen_by) if settings.seen_by else None,
            added_from=settings.added_from,
            added_until=settings.added_until,
        ),
    )


def as_tracklets(answering: Answering, *, are_tracklets: bool) -> Answering:
    """Answer for every picture, or for the pictures of a person together, as each client wants."""
    return replace(answering, are_tracklets=are_tracklets)


def thumbnail_height_of(wanted: bool) -> int | None:  # noqa: FBT001
    """Say how large thumbnails are that a gallery keeps; None where it keeps none."""
    return THUMBNAIL_HEIGHT if wanted else None


def rasteriser() -> Rasterise:
    """Find what makes PNG files of charts; imports resvg, which not everybody has, only now.

    Raises:
        ConfigurationError: It is not installed.
    """
    with needed_for("a PNG", package="resvg-py", extra="plots"):
        from reid.adapters.pages.rasters import rasterise
    return rasterise


def lay_out_map(vectors: Tensor, *, perplexity: float, seed: int) -> MapLayout:
    """Lay out a map; imports scikit-learn, which not everybody has, only now.

    Without it there is no map, and the reason stands in its place: a page holds much besides.
    """
    try:
        with needed_for("a map", package="scikit-learn", extra="plots"):
            from reid.adapters.maps import lay_out_by_tsne
    except ConfigurationError as missing:
        return MapLayout(places=(), method=str(missing))
    return lay_out_by_tsne(vectors, perplexity=perplexity, seed=seed)
