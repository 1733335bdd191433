"""Composition root: the one place that knows every name.

To add a provider: a built-in adapter is one more entry in its `providers.Dict`; a service or use
case is one more `providers.Singleton` whose arguments are the providers above it.
"""

from collections.abc import Callable, Mapping

from dependency_injector import containers, providers

from reid.adapters.datasets.generator import generate_market1501
from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.datasets.pictures import open_pictures
from reid.adapters.devices import resolve_device
from reid.adapters.events.silent import Silent
from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.application.check_dataset import CheckDataset
from reid.application.evaluate import Evaluate
from reid.application.identify import Identify
from reid.domain.errors import ConfigurationError
from reid.domain.services.embedding import Embedder
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.prompt_learning import PromptLearning
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.samples import ImageSize, Split
from reid.plugins import Factory, PluginGroup, choose_factory
from reid.ports.dataset import Dataset
from reid.ports.encoder import Encoder
from reid.ports.vector_index import VectorIndex
from reid.settings.schema import DatasetSettings, EvaluationSettings, IndexSettings, Settings

OPEN_CLIP_KINDS = ("rn50", "vit-b16", "rn-tiny", "vit-tiny")


def create_open_clip(request: EncoderRequest) -> Encoder:
    """Build a built-in encoder; imports open_clip, which takes seconds, only now."""
    from reid.adapters.encoders.openclip import create_openclip_encoder

    _refuse_options("encoder.options", request.kind or "this encoder", request.options)
    return create_openclip_encoder(request)


def create_encoder(request: EncoderRequest) -> Encoder:
    """Build the encoder that is asked for, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers this kind, or the request makes no sense.
        EncoderError: The weights cannot be had or do not fit.
    """
    built_in = dict.fromkeys(OPEN_CLIP_KINDS, create_open_clip)
    factory: Factory = create_open_clip
    if request.kind is not None:
        factory = choose_factory(PluginGroup.ENCODERS, request.kind, built_in=built_in)
    encoder: Encoder = factory(request)
    return encoder


def create_dataset(settings: DatasetSettings, built_in: dict[str, Factory]) -> Dataset:
    """Open the dataset that is asked for, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers this kind, or a built-in one has no root.
    """
    factory = choose_factory(PluginGroup.DATASETS, settings.kind, built_in=built_in)
    if settings.kind not in built_in:
        plugged_in: Dataset = factory(settings.root, settings.options)
        return plugged_in
    _refuse_options("dataset.options", settings.kind, settings.options)
    if settings.root is None:
        raise ConfigurationError(
            f"dataset.root: must be set for {settings.kind}; name the folder by --data ROOT, "
            f"REID_DATASET__ROOT or [dataset] root"
        )
    built: Dataset = factory(settings.root)
    return built


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
        precision=encoder.precision,
        device=resolve_device(settings.device),
        seed=settings.seed,
        options=encoder.options,
    )


def count_cameras(wanted: bool, dataset: Callable[[], Dataset]) -> int:  # noqa: FBT001
    """Count the cameras that get an embedding, of all splits; opens the dataset only if wanted."""
    if not wanted:
        return 0
    opened = dataset()
    return 1 + max(sample.camid for split in Split for sample in opened.samples(split))


def reranking_of(evaluation: EvaluationSettings, recipe: RerankingRecipe) -> RerankingRecipe | None:
    """Re-rank only where it is asked for."""
    return recipe if evaluation.rerank else None


def _refuse_options(key: str, kind: str, options: Mapping[str, object]) -> None:
    if options:
        raise ConfigurationError(f"{key}: only plug-ins take options, and {kind} is built in")


class Container(containers.DeclarativeContainer):
    """Everything a command needs, made when it is first asked for.

    `Container(settings=...)` is enough; `listener` is silent unless given. Any provider can be
    given in the same way: `num_cameras=0` leaves cameras to the weights file where there is no
    dataset to count them in.
    """

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)
    listener = providers.Singleton(Silent)

    dataset = providers.Singleton(
        create_dataset,
        settings.provided.dataset,
        providers.Dict(market1501=providers.Object(Market1501)),
    )
    index = providers.Singleton(
        create_index,
        settings.provided.index,
        providers.Dict(
            exact=providers.Factory(ExactIndex).provider,
            annoy=providers.Factory(
                AnnoyIndex,
                recall=settings.provided.index.annoy.recall,
                trees=settings.provided.index.annoy.trees,
                search_k=settings.provided.index.annoy.search_k,
            ).provider,
        ),
    )
    num_cameras = providers.Callable(
        count_cameras, settings.provided.encoder.camera_embedding, dataset.provider
    )
    encoder = providers.Singleton(
        create_encoder, providers.Callable(encoder_request, settings, num_cameras)
    )
    pictures = providers.Object(open_pictures)
    runs = providers.Singleton(FilesystemRunStore, settings.provided.run.directory)
    generate_dataset = providers.Object(generate_market1501)

    embedder = providers.Singleton(
        Embedder,
        encoder=encoder,
        listener=listener,
        batch_size=settings.provided.evaluation.batch_size,
    )
    reidentification = providers.Singleton(Reidentification, embedder=embedder, index=index)
    prompt_learning = providers.Singleton(
        PromptLearning,
        encoder=encoder,
        dataset=dataset,
        embedder=embedder,
        runs=runs,
        listener=listener,
        recipe=settings.provided.prompts,
        seed=settings.provided.seed,
    )
    fine_tuning = providers.Singleton(
        FineTuning,
        encoder=encoder,
        dataset=dataset,
        runs=runs,
        listener=listener,
        recipe=settings.provided.finetuning,
        seed=settings.provided.seed,
    )

    check_dataset = providers.Singleton(CheckDataset, dataset)
    evaluate = providers.Singleton(
        Evaluate,
        encoder=encoder,
        dataset=dataset,
        reidentification=reidentification,
        reranking=providers.Callable(
            reranking_of, settings.provided.evaluation, settings.provided.reranking
        ),
        remove_same_camera=settings.provided.evaluation.same_camera_rule,
    )
    identify = providers.Singleton(
        Identify,
        encoder=encoder,
        reidentification=reidentification,
        top_k=settings.provided.identify.top_k,
    )
