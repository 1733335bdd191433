"""Identification and calibration, from settings."""

from dataclasses import replace
from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.container.foundation import Foundation
from reid.container.galleries import Galleries
from reid.importing import Lazily

if TYPE_CHECKING:
    from reid.adapters.images.given import PictureIntake
    from reid.adapters.pages.answers import HtmlAnswersPage
    from reid.application.calibrate import Calibrate
    from reid.application.identify import Identify
    from reid.application.show_answers import ShowAnswers
    from reid.domain.services.answering import Answering
    from reid.domain.services.query_embedding import QueryEmbedding
    from reid.domain.values.recipes import RerankingRecipe
    from reid.settings.tasks import IdentifySettings


def answering_of(settings: "IdentifySettings", reranking: "RerankingRecipe") -> "Answering":
    """Make of settings what `identify` and `calibrate` are given."""
    from reid.domain.services.answering import Answering
    from reid.domain.values.galleries import GalleryFilter
    from reid.domain.values.people import FusionRecipe

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


def as_tracklets(answering: "Answering", *, are_tracklets: bool) -> "Answering":
    """Answer for every picture, or for the pictures of a person together, as each client wants."""
    return replace(answering, are_tracklets=are_tracklets)


def thumbnail_height_of(wanted: bool) -> int | None:  # noqa: FBT001
    """Return how large thumbnails are that a gallery keeps; None where it keeps none."""
    from reid.domain.services.gallery_filling import THUMBNAIL_HEIGHT

    return THUMBNAIL_HEIGHT if wanted else None


class Identification(Galleries):
    """Names for the people on pictures, from the command line, a program or over HTTP."""

    answering = providers.Singleton(
        answering_of, Foundation.settings.provided.identify, Foundation.settings.provided.reranking
    )
    identify = providers.Singleton["Identify"](
        Lazily("reid.application.identify:Identify"),
        encoder=Galleries.encoder,
        embedder=Galleries.embedder,
        filling=Galleries.filling,
        answering=answering,
    )
    identify_each = providers.Singleton["Identify"](
        Lazily("reid.application.identify:Identify"),
        encoder=Galleries.encoder,
        embedder=Galleries.embedder,
        filling=Galleries.filling,
        answering=providers.Callable(as_tracklets, answering, are_tracklets=False),
    )
    identify_together = providers.Singleton["Identify"](
        Lazily("reid.application.identify:Identify"),
        encoder=Galleries.encoder,
        embedder=Galleries.embedder,
        filling=Galleries.filling,
        answering=providers.Callable(as_tracklets, answering, are_tracklets=True),
    )
    picture_intake = providers.Factory["PictureIntake"](
        Lazily("reid.adapters.images.given:PictureIntake"),
        size=Galleries.encoder.provided.geometry.image_size,
        max_pixels=Foundation.settings.provided.service.pixels,
        thumbnail_height=providers.Callable(
            thumbnail_height_of, Foundation.settings.provided.gallery.thumbnails
        ),
    )
    calibrate = providers.Factory["Calibrate"](
        Lazily("reid.application.calibrate:Calibrate"),
        embed=providers.Singleton["QueryEmbedding"](
            Lazily("reid.domain.services.query_embedding:QueryEmbedding"),
            embedder=Galleries.embedder,
            filling=Galleries.filling,
        ),
        now=Foundation.now,
        recipe=answering.provided.recipe,
        seed=Foundation.settings.provided.seed,
        are_tracklets=answering.provided.are_tracklets,
    )
    draw_open_set = providers.Object(Lazily("reid.adapters.pages.charts:draw_open_set"))
    write_chart = providers.Object(Lazily("reid.adapters.pages.files:write_chart"))
    answers_page = providers.Factory["HtmlAnswersPage"](
        Lazily("reid.adapters.pages.answers:HtmlAnswersPage")
    )
    show_answers = providers.Factory["ShowAnswers"](
        Lazily("reid.application.show_answers:ShowAnswers")
    )
