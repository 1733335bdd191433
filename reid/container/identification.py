"""Identification and calibration, from settings."""

from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.container.foundation import SETTINGS, Foundation
from reid.container.galleries import Galleries
from reid.importing import Lazily
from reid.known_models import model_named_by

if TYPE_CHECKING:
    from torch import Tensor

    from reid.adapters.images.given import ImageIntake
    from reid.adapters.pages.documents import PageFile
    from reid.application.calibrate import Calibrate
    from reid.application.identify import Identify
    from reid.domain.services.embedding import Embedder
    from reid.domain.services.enrolment import Enrolment
    from reid.domain.services.gallery import Gallery
    from reid.domain.services.identification import IdentificationOptions
    from reid.domain.values.page_data import AnswersPageData
    from reid.domain.values.recipes import RerankingRecipe
    from reid.ports.dataset import ImageSource
    from reid.settings.tasks import IdentifySettings


def identification_options(
    settings: "IdentifySettings", reranking: "RerankingRecipe"
) -> "IdentificationOptions":
    """Build the options of `identify` and `calibrate` from settings."""
    from reid.domain.services.identification import IdentificationOptions
    from reid.domain.values.galleries import GalleryFilter
    from reid.domain.values.open_set import FusionRecipe

    usual = FusionRecipe()
    return IdentificationOptions(
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


def embed_for_gallery(
    embedder: "Embedder", enrolment: "Enrolment", queries: "ImageSource", gallery: "Gallery"
) -> "Tensor":
    """Embed query images as the images of a gallery were embedded.

    Raises:
        DatasetError: An image cannot be read.
        GalleryError: The gallery is empty, or another encoder made it.
    """
    from reid.domain.services.queries import embed_queries

    fingerprint = enrolment.fingerprint_matching(gallery, queries.images(), what="the queries")
    return embed_queries(embedder, queries, fingerprint=fingerprint)


class Identification(Galleries):
    """Names of the people in images, for the command line, programs and the service."""

    options = providers.Singleton(identification_options, SETTINGS.identify, SETTINGS.reranking)
    identify = providers.Singleton["Identify"](
        Lazily("reid.application.identify:Identify"),
        encoder=Galleries.encoder,
        embedder=Galleries.embedder,
        enrolment=Galleries.enrolment,
        options=options,
        model=providers.Callable(model_named_by, SETTINGS.encoder.weights),
    )
    image_intake = providers.Factory["ImageIntake"](
        Lazily("reid.adapters.images.given:ImageIntake"),
        size=Galleries.encoder.provided.geometry.image_size,
        resampling=Galleries.encoder.provided.geometry.resampling,
        max_pixels=SETTINGS.service.pixels,
        keeps_thumbnails=SETTINGS.gallery.thumbnails,
    )
    calibrate = providers.Factory["Calibrate"](
        Lazily("reid.application.calibrate:Calibrate"),
        embed=providers.Callable(
            embed_for_gallery, Galleries.embedder, Galleries.enrolment
        ).provider,
        now=Foundation.now,
        recipe=options.provided.recipe,
        seed=SETTINGS.seed,
        are_tracklets=options.provided.are_tracklets,
    )
    draw_open_set = providers.Object(Lazily("reid.adapters.pages.charts:draw_open_set"))
    write_page = providers.Object(Lazily("reid.adapters.pages.documents:write_page"))
    answers_page = providers.Factory["PageFile[AnswersPageData]"](
        Lazily("reid.adapters.pages.documents:PageFile"),
        render=Lazily("reid.adapters.pages.evaluation:render_answers_page"),
    )
