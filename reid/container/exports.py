"""Exports of encoders, from settings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Union

from dependency_injector import providers

from reid.container.encoders import create_encoder, encoder_request
from reid.container.evaluation import Evaluation
from reid.container.foundation import Foundation
from reid.domain.errors import ConfigurationError
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import Split

if TYPE_CHECKING:
    from reid.application.export import Export, Score
    from reid.domain.services.image_sample import ImageSample
    from reid.domain.values.reports import EvaluationReport
    from reid.ports.dataset import Dataset
    from reid.ports.events import EventListener
    from reid.ports.image_encoder import (
        ExportPlace,
        ImageEncoder,
        TrainableEncoder,
    )
    from reid.ports.vector_index import VectorIndex
    from reid.settings.schema import Settings

FORMATS = {  # the precisions that each takes
    "openvino": ("fp32", "bf16", "int8"),
    "onnx": ("fp32",),
    "safetensors": ("fp32", "fp16"),
}


def reference_request(settings: "Settings") -> EncoderRequest:
    """Request the encoder that exports are compared with: in float32 on the CPU."""
    return replace(
        encoder_request(settings, 0),
        precision="fp32",
        training_precision=None,
        compile=False,
        device="cpu",
    )


def open_export_place(
    path: Path,
    form: str,
    *,
    precision: str,
    overwrite: bool,
    settings: "Settings",
    sample: Callable[[], Union["ImageSample", None]],
) -> "ExportPlace":
    """Open the place of an export: a file of weights alone, or a runtime's folder.

    Raises:
        ConfigurationError: The format does not know the precision.
        DatasetError: The images to quantise on cannot be listed.
    """
    if precision not in FORMATS[form]:
        raise ConfigurationError(
            f"{form} does not take {precision}: choose {' or '.join(FORMATS[form])}, or another "
            "format"
        )
    if form != "safetensors":
        from reid.adapters.encoders.exporting import ExportFolder

        images = sample() if precision == "int8" else None
        return ExportFolder(
            path, runtime=form, precision=precision, overwrite=overwrite, sample=images
        )
    from reid.adapters.encoders.sharing import ExportFile

    def reopen(written: Path) -> "TrainableEncoder":
        request = reference_request(settings)
        return create_encoder(replace(request, kind=None, weights=str(written), options={}))

    return ExportFile(path, precision=precision, overwrite=overwrite, open_encoder=reopen)


def image_sample(
    settings: "Settings", dataset: Callable[[], "Dataset"]
) -> Union["ImageSample", None]:
    """List the images to quantise on; None where the settings name none."""
    from reid.domain.services.image_sample import ImageSample

    count, seed = settings.export.calibration_images, settings.seed
    given = settings.export.calibration
    if given is not None:
        from reid.adapters.images.folders import open_images

        source = open_images(given)
        names = [image.name for image in source.images()]
        return ImageSample(
            reader=source.reader, names=names, origin=given.name, count=count, seed=seed
        )
    if settings.dataset.root is None:
        return None
    opened = dataset()
    names = [sample.name for sample in opened.samples(Split.TRAIN)]
    origin = f"training images of {opened.name}"
    return ImageSample(reader=opened.reader, names=names, origin=origin, count=count, seed=seed)


def score_on(
    settings: "Settings",
    dataset: Callable[[], "Dataset"],
    index: Callable[[], "VectorIndex"],
    listener: Callable[[], "EventListener"],
) -> Union["Score", None]:
    """Return a function that scores an encoder on the dataset; None where none is named."""
    if settings.dataset.root is None:
        return None
    from reid.domain.services.embedding import Embedder
    from reid.domain.services.scoring import score_queries

    def score(encoder: "ImageEncoder") -> "EvaluationReport":
        embedder = Embedder(
            encoder=encoder,
            listener=listener(),
            batch_size=settings.evaluation.batch_size,
            uses_cameras=settings.evaluation.use_cameras,
        )
        opened = dataset()
        queries, gallery = (
            embedder.embed_samples(opened.reader, opened.samples(split), subset=split)
            for split in (Split.QUERY, Split.GALLERY)
        )
        report, _ = score_queries(
            queries,
            gallery,
            index=index(),
            reranking=None,
            remove_same_camera=settings.evaluation.same_camera_rule,
        )
        return report

    return score


def create_export(
    settings: "Settings",
    sample: Callable[[], Union["ImageSample", None]],
    score: Callable[[], Union["Score", None]],
    *,
    precision: str = "fp32",
) -> "Export":
    """Create the export of the settings' encoder; int8 is compared on real images."""
    from reid.application.export import Export

    is_quantised = precision == "int8"
    return Export(
        encoder=create_encoder(reference_request(settings)),
        seed=settings.seed,
        sample=sample() if is_quantised else None,
        score=score() if is_quantised else None,
        max_score_loss=settings.export.max_score_loss,
    )


class Exports(Evaluation):
    """Exports, and what judges them."""

    image_sample = providers.Callable(image_sample, Foundation.settings, Evaluation.listed.provider)
    export_place = providers.Callable(
        open_export_place, settings=Foundation.settings, sample=image_sample.provider
    )
    export = providers.Callable(
        create_export,
        Foundation.settings,
        image_sample.provider,
        providers.Callable(
            score_on,
            Foundation.settings,
            Evaluation.dataset.provider,
            Evaluation.gallery_index.provider,
            Foundation.listener.provider,
        ).provider,
    )
