"""Adapters by the names that settings use, built-in or plugged-in."""

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from reid.adapters.datasets.combined import CombinedDataset
from reid.adapters.datasets.generator import generate_market1501
from reid.adapters.datasets.memory import CachedDataset
from reid.adapters.datasets.pictures import open_pictures
from reid.adapters.devices import name_of_device, resolve_device, resolve_training_precision
from reid.adapters.encoders.exported import ExportedEncoder, is_exported, open_exported_encoder
from reid.adapters.galleries.index_files import can_be_kept
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.runs.filesystem import METRICS, FilesystemRunStore
from reid.adapters.runs.records import FilesystemRunRecords
from reid.adapters.safetensors_file import read_checkpoint, read_header
from reid.application.bench_indexes import BenchIndexes
from reid.application.compare_runs import RecordedEvaluation
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.services.answering import Answering
from reid.domain.services.fine_tuning import image_tower_of
from reid.domain.services.gallery_filling import THUMBNAIL_HEIGHT
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.analyses import MapLayout
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling, Tower
from reid.domain.values.evaluations import EVALUATION
from reid.domain.values.explanations import ExplanationMethod
from reid.domain.values.people import FusionRecipe
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.samples import ImageSize, Split
from reid.extras import EXTRAS, RECORDED_PACKAGES, versions_of
from reid.importing import paused_collection
from reid.plugins import BUILT_IN_KINDS, Factory, PluginGroup, check_kind, choose_factory
from reid.ports.dataset import Dataset, PictureSource
from reid.ports.encoder import Encoder, ImageEncoder
from reid.ports.events import EventListener
from reid.ports.explanation import ExplainableEncoder
from reid.ports.export import ExportPlace
from reid.ports.runs import RunStore
from reid.ports.vector_index import VectorIndex
from reid.settings.loading import plain_settings
from reid.settings.schema import (
    EvaluationSettings,
    HnswSettings,
    IdentifySettings,
    IndexSettings,
    Settings,
    SourceSettings,
)

_NOT_SCORED = ("root", "also", "cache_mib")
"""Settings of the dataset that say where pictures lie or serve training only."""


def create_open_clip(request: EncoderRequest) -> Encoder:
    """Build a built-in encoder; imports open_clip, which takes seconds, only now."""
    with paused_collection():
        from reid.adapters.encoders.openclip import create_openclip_encoder

    _refuse_options("encoder.options", request.kind or "this encoder", request.options)
    return create_openclip_encoder(request)


def create_image_encoder(request: EncoderRequest) -> Encoder | ExportedEncoder:
    """Build the encoder that is asked for, or open it where the weights are an exported encoder.

    Raises:
        ConfigurationError: Nobody offers this kind, or the request makes no sense.
        EncoderError: The weights cannot be had or do not fit.
    """
    if is_exported(Path(request.weights)):
        return open_exported_encoder(request)
    return create_encoder(request)


def require_explainable(encoder: ImageEncoder) -> ExplainableEncoder:
    """Hand on an encoder that shows its work.

    Raises:
        EncoderError: It was exported, or is a plug-in that does not.
    """
    if isinstance(encoder, ExplainableEncoder):
        return encoder
    advice = (
        "explain by the run or weights that it was exported from"
        if isinstance(encoder, ExportedEncoder)
        else "a plugged-in encoder needs the method trace_images of reid/ports/explanation.py"
    )
    raise EncoderError(
        f"{encoder.description.name} ({encoder.description.weights}) does not show how it comes to "
        f"its features: {advice}"
    )


def explanation_method(name: str) -> ExplanationMethod | None:
    """Read a setting; `auto` leaves it to the encoder."""
    return None if name == "auto" else ExplanationMethod(name)


def require_trainable(encoder: Encoder | ExportedEncoder) -> Encoder:
    """Hand on an encoder that can learn.

    Raises:
        EncoderError: It was exported.
    """
    if isinstance(encoder, ExportedEncoder):
        raise EncoderError(
            f"{encoder.description.name} ({encoder.description.weights}) describes pictures only: "
            "train from the weights that it was exported from"
        )
    return encoder


def create_encoder(request: EncoderRequest) -> Encoder:
    """Build the encoder that is asked for, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers this kind, or the request makes no sense.
        EncoderError: The weights cannot be had or do not fit.
    """
    trained = read_header(Path(request.weights)).get("encoder")
    author = str(trained.get("name")) if isinstance(trained, dict) else None
    kind = request.kind or author
    if author not in (None, kind):
        raise EncoderError(
            f"{request.weights} was written by the encoder {author!r}, but the one asked for is "
            f"{kind!r}: leave the encoder's kind out, or pass other weights"
        )
    open_clip_kinds = BUILT_IN_KINDS[PluginGroup.ENCODERS]
    if kind is None or kind in open_clip_kinds:
        return create_open_clip(request)
    built_in = dict.fromkeys(open_clip_kinds, create_open_clip)
    factory = choose_factory(PluginGroup.ENCODERS, kind, built_in=built_in)
    request = replace(request, kind=kind)
    if isinstance(trained, dict):
        return _restore_plugged_in(factory, request, trained)
    return _plugged_in(factory, request)


def _plugged_in(factory: Factory, request: EncoderRequest) -> Encoder:
    encoder: Encoder = factory(request)
    # Checkpoints name their encoder, so another name would make its runs unreadable.
    if encoder.description.name != request.kind:
        raise ConfigurationError(
            f"encoder.kind: the plug-in {request.kind!r} calls itself "
            f"{encoder.description.name!r}; its description must carry the entry point's name"
        )
    return encoder


def _restore_plugged_in(
    factory: Factory, request: EncoderRequest, trained: Mapping[str, JsonValue]
) -> Encoder:
    """Build the architecture that a run's checkpoint tells of, then fill its image tower."""
    options = trained.get("options")
    known = options if isinstance(options, dict) else {}
    encoder = _plugged_in(
        factory, replace(request, weights="random", options={**known, **request.options})
    )
    encoder.load_state_of(Tower.IMAGE, image_tower_of(read_checkpoint(Path(request.weights))))
    return encoder


def create_dataset(
    settings: SourceSettings, built_in: dict[str, Factory], *, key: str = "dataset"
) -> Dataset:
    """Open the dataset that is asked for, built-in or plugged-in.

    Args:
        settings: What to open.
        built_in: Factories by kind: of the root, and of what the kind's own section holds.
        key: Where the settings stand, for messages.

    Raises:
        ConfigurationError: Nobody offers this kind, or a built-in one has no root.
    """
    factory = choose_factory(PluginGroup.DATASETS, settings.kind, built_in=built_in)
    if settings.kind not in built_in:
        plugged_in: Dataset = factory(settings.root, settings.options)
        return plugged_in
    _refuse_options(f"{key}.options", settings.kind, settings.options)
    if settings.root is None:
        raise ConfigurationError(
            f"{key}.root: must be set for {settings.kind}; name the folder by "
            + ("--data ROOT, REID_DATASET__ROOT or [dataset] root" if key == "dataset" else "root")
        )
    built: Dataset = factory(settings.root, **settings.kind_options)
    return built


def screen_combined(
    combined: Dataset, *, single: Dataset, screened: ScreenedDataset, skips_bad: bool
) -> ScreenedDataset:
    """Screen what is trained on, unless it is what is screened already."""
    if combined is single:
        return screened
    return ScreenedDataset(combined, skips_bad=skips_bad)


def combine_datasets(
    dataset: Dataset, also: Sequence[SourceSettings], built_in: dict[str, Factory]
) -> Dataset:
    """Join the training lists of other datasets, if there are any, to a dataset's.

    Raises:
        ConfigurationError: One of them cannot be opened; see `create_dataset`.
    """
    others = [
        create_dataset(settings, built_in, key=f"dataset.also[{number}]")
        for number, settings in enumerate(also)
    ]
    return CombinedDataset(dataset, others=others) if others else dataset


def cache_pictures(dataset: Dataset, cache_mib: int, *, listener: EventListener) -> Dataset:
    """Keep a dataset's decoded pictures in memory, unless the memory is to be none."""
    if cache_mib == 0:
        return dataset
    return CachedDataset(dataset, num_bytes=cache_mib * 2**20, listener=listener)


def create_index(settings: IndexSettings, built_in: dict[str, Factory]) -> VectorIndex:
    """Make the index that is asked for, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers this kind.
    """
    factory = choose_factory(PluginGroup.INDEXES, settings.kind, built_in=built_in)
    if settings.kind not in built_in:
        plugged_in: VectorIndex = factory(settings.options)
        return plugged_in
    _refuse_options("index.options", settings.kind, settings.options)
    built: VectorIndex = factory()
    return built


def create_hnsw(settings: HnswSettings) -> VectorIndex:
    """Make an HNSW index; imports faiss, which not everybody has, only now.

    Raises:
        ConfigurationError: It is not installed.
    """
    with needed_for("index.kind: hnsw", package="faiss-cpu", extra="hnsw"):
        from reid.adapters.indexes.hnsw import HnswIndex
    return HnswIndex(
        recall=settings.recall, connectivity=settings.connectivity, expansion=settings.expansion
    )


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


def create_index_bench(
    settings: Settings, built_in: dict[str, Factory], kinds: Sequence[str] | None = None
) -> BenchIndexes:
    """Compare the built-in indexes, or those named, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers a kind that is named.
    """
    wanted = tuple(kinds or BUILT_IN_KINDS[PluginGroup.INDEXES])
    for kind in wanted:
        check_kind(PluginGroup.INDEXES, kind)
    return BenchIndexes(
        kinds={
            kind: partial(create_index, settings.index.model_copy(update={"kind": kind}), built_in)
            for kind in wanted
        },
        exact=ExactIndex,
        clock=time.perf_counter,
        size_of=size_in_file,
        seed=settings.seed,
    )


def size_in_file(index: VectorIndex) -> int | None:
    """Count the bytes of an index in a file; None where it is kept in none."""
    if not can_be_kept(index):
        return None
    with tempfile.TemporaryDirectory(prefix="reid-bench-") as folder:
        path = Path(folder) / "index"
        index.save(str(path))
        return path.stat().st_size


@contextmanager
def needed_for(setting: str, *, package: str, extra: str) -> Iterator[None]:
    """Turn a failing import into what to install.

    Raises:
        ConfigurationError: Something imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{setting} needs {package}, which is not installed: pip install 'clip-reid[{extra}]'"
        ) from error


def encoder_request(settings: Settings, num_cameras: int) -> EncoderRequest:
    """Put settings as an encoder's factory wants them."""
    encoder = settings.encoder
    return EncoderRequest(
        kind=encoder.kind,
        weights=encoder.weights,
        image_size=ImageSize(*encoder.image_size) if encoder.image_size else None,
        stride=encoder.stride,
        num_cameras=num_cameras,
        camera_scale=encoder.camera_scale,
        activation=Activation(encoder.activation),
        pooling=Pooling(encoder.pooling),
        precision=encoder.precision,
        training_precision=training_precision(settings),
        compile=encoder.compile,
        device=resolve_device(settings.device),
        seed=settings.seed,
        options=encoder.options,
    )


def training_precision(settings: Settings) -> str:
    """Say what stage 2 runs the image encoder in on this machine: fp32 or bf16."""
    return resolve_training_precision(
        settings.encoder.training_precision,
        precision=settings.encoder.precision,
        device=resolve_device(settings.device),
    )


def reference_request(settings: Settings) -> EncoderRequest:
    """Ask for the encoder that an exported one is held to: in float32 on the CPU."""
    return replace(
        encoder_request(settings, 0),
        precision="fp32",
        training_precision=None,
        compile=False,
        device="cpu",
    )


def open_export_folder(
    folder: Path, *, runtime: str, precision: str, overwrite: bool
) -> ExportPlace:
    """Name the place of an exported encoder; imports open_clip, which takes seconds, only now."""
    from reid.adapters.encoders.exporting import ExportFolder

    return ExportFolder(folder, runtime=runtime, precision=precision, overwrite=overwrite)


def count_cameras(wanted: bool, dataset: Callable[[], Dataset]) -> int:  # noqa: FBT001
    """Count the cameras that get an embedding, of all splits; opens the dataset only if wanted."""
    if not wanted:
        return 0
    opened = dataset()
    return 1 + max(sample.camid for split in Split for sample in opened.samples(split))


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
    )


def as_tracklets(answering: Answering, *, are_tracklets: bool) -> Answering:
    """Answer for every picture, or for the pictures of a person together, as each client wants."""
    return replace(answering, are_tracklets=are_tracklets)


def thumbnail_height_of(wanted: bool) -> int | None:  # noqa: FBT001
    """Say how large thumbnails are that a gallery keeps; None where it keeps none."""
    return THUMBNAIL_HEIGHT if wanted else None


def _refuse_options(key: str, kind: str, options: Mapping[str, object]) -> None:
    if options:
        raise ConfigurationError(f"{key}: only plug-ins take options, and {kind} is built in")


def metrics_path(settings: Settings) -> Path:
    """Name the file of a run's metrics."""
    return settings.run.directory / METRICS


def draw_demo_people(root: Path, seed: int) -> None:
    """Draw what `reid demo` trains and tests on, replacing what an earlier demo drew."""
    generate_market1501(
        root,
        identities=64,
        test_identities=32,
        images_per_camera=3,
        cameras=4,
        distractors=60,
        junk=10,
        seed=seed,
        overwrite=True,
    )


def open_earlier_run(directory: Path | None) -> RunStore | None:
    """Open the run that prompts are taken from, if one is named."""
    return None if directory is None else FilesystemRunStore(directory)


def open_evaluation(path: Path) -> RecordedEvaluation:
    """Open a run's own evaluation by its folder, or any of its evaluations by its file."""
    if path.suffix == ".json":
        return RecordedEvaluation(FilesystemRunRecords(path.parent), path.stem)
    return RecordedEvaluation(FilesystemRunRecords(path), EVALUATION)


def open_splits(root: Path) -> tuple[PictureSource, PictureSource]:
    """Open the query and gallery folders of a dataset in Market-1501's layout as pictures."""
    return open_pictures(root / "query"), open_pictures(root / "bounding_box_test")


def decisive_settings(settings: Settings) -> dict[str, JsonValue]:
    """List what decides a run's result, by dotted name: seed, encoder, dataset and both recipes.

    Where the files lie and how the result is scored do not. Of the precision of training, what it
    came to counts: `auto` on another machine may be something else.
    """
    plain = plain_settings(settings)
    plain["encoder"]["training_precision"] = training_precision(settings)
    sections = {name: plain[name] for name in ("encoder", "prompts", "finetuning")}
    return {
        "seed": settings.seed,
        "dataset.kind": settings.dataset.kind,
        **{
            f"{section}.{key}": value
            for section, values in sections.items()
            for key, value in values.items()
        },
    }


def evaluation_settings(settings: Settings) -> dict[str, JsonValue]:
    """List what an evaluation's scores depend on beside pictures and weights, as settings nest.

    Where the pictures lie, what serves training only, and what the weights' file says itself is
    left out.
    """
    plain = plain_settings(settings)
    dataset, encoder = plain["dataset"], plain["encoder"]
    # Left out where it is not used, so that records are what they were before there was a choice.
    not_scored = _NOT_SCORED if settings.dataset.skip_bad else (*_NOT_SCORED, "skip_bad")
    return {
        "seed": settings.seed,
        "dataset": {key: dataset[key] for key in dataset if key not in not_scored},
        "encoder": {key: encoder[key] for key in ("image_size", "stride", "precision", "options")},
        **{section: plain[section] for section in ("index", "evaluation", "reranking")},
    }


def circumstances(settings: Settings) -> dict[str, JsonValue]:
    """Note what a run ran with: versions, machine, and every setting."""
    return {
        **machine(settings),
        "precision": settings.encoder.precision,
        "training_precision": training_precision(settings),
        "settings": plain_settings(settings),
    }


def machine(settings: Settings) -> dict[str, JsonValue]:
    """Note versions and machine: they change rounding at most."""
    return {
        "versions": dict(versions_of((*RECORDED_PACKAGES, *(extra.package for extra in EXTRAS)))),
        "platform": platform.platform(),
        "device": resolve_device(settings.device),
        "device_name": name_of_device(resolve_device(settings.device)),
        "threads": torch.get_num_threads(),
        "tf32": {
            "matrix products": torch.backends.cuda.matmul.allow_tf32,
            "convolutions": torch.backends.cudnn.allow_tf32,
        },
    }
