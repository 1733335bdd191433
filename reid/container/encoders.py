"""Encoders, from settings or from a weights file's description."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.adapters.encoders.kinds import FAMILIES, KINDS
from reid.container import registry
from reid.container.datasets import Datasets
from reid.container.foundation import SETTINGS, Foundation
from reid.container.registry import Group
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.graphs import GraphRequest
from reid.domain.values.samples import ImageSize, Split
from reid.importing import Lazily
from reid.known_models import resolve_weights

if TYPE_CHECKING:
    from reid.domain.services.embedding import Embedder
    from reid.domain.services.explaining import PairExplainer
    from reid.domain.values.explanations import ExplanationMethod
    from reid.domain.values.json_values import JsonValue
    from reid.ports.dataset import Dataset
    from reid.ports.image_encoder import Encoder, ExplainableEncoder, ImageEncoder, TrainableEncoder
    from reid.settings.schema import EncoderSettings, Settings

_WITHOUT_KIND = "vit-b16"  # its factory reads weights files that name their encoder


def create_image_encoder(request: EncoderRequest) -> "Encoder":
    """Build the requested encoder, or open it if the weights are an exported encoder or a graph.

    Raises:
        ConfigurationError: No distribution offers this kind, or the request is inconsistent.
        EncoderError: The weights cannot be loaded or do not fit.
    """
    from reid.adapters.encoders.exported import is_exported, open_exported_encoder
    from reid.adapters.encoders.graphs import is_graph, open_graph_encoder

    path = Path(request.weights)
    if is_exported(path):
        return open_exported_encoder(request)
    if is_graph(path):
        return open_graph_encoder(request)
    return create_encoder(request)


def create_encoder(request: EncoderRequest) -> "TrainableEncoder":
    """Build the requested encoder, built-in or plugged-in; raises as `create_image_encoder`."""
    from reid.adapters.encoders.graphs import is_graph
    from reid.adapters.safetensors_file import read_header

    if is_graph(Path(request.weights)):
        raise EncoderError(
            f"{request.weights} is a graph already: give the weights that it was made from"
        )
    trained = read_header(Path(request.weights)).get("encoder")
    author = str(trained.get("name")) if isinstance(trained, dict) else None
    kind = request.kind or author
    if author not in (None, kind):
        raise EncoderError(
            f"{request.weights} was written by the encoder {author!r}, but the one asked for is "
            f"{kind!r}: leave the encoder's kind out, or pass other weights"
        )
    found = registry.find(Group.ENCODERS, kind or _WITHOUT_KIND)
    if registry.is_built_in(found):
        if request.options and found.name not in FAMILIES:
            raise ConfigurationError(f"encoder.options: {kind or 'this encoder'} takes none")
        encoder: TrainableEncoder = registry.load(found)(request)
        return encoder
    return _create_plugged_in(
        registry.load(found),
        replace(request, kind=kind),
        trained=trained if isinstance(trained, dict) else None,
    )


def _create_plugged_in(
    factory: registry.Factory, request: EncoderRequest, *, trained: Mapping[str, "JsonValue"] | None
) -> "TrainableEncoder":
    """Build the architecture that a run's checkpoint describes, and load its image tower."""
    from reid.adapters.safetensors_file import read_checkpoint
    from reid.domain.services.fine_tuning import image_tower_of

    checkpoint = request.weights
    if trained is not None:
        options = trained.get("options")
        known = options if isinstance(options, dict) else {}
        request = replace(request, weights="random", options={**known, **request.options})
    encoder: TrainableEncoder = factory(request)
    # Checkpoints name their encoder, so another name would make its runs unreadable.
    if encoder.description.name != request.kind:
        raise ConfigurationError(
            f"encoder.kind: the plug-in {request.kind!r} calls itself "
            f"{encoder.description.name!r}; its description must carry the entry point's name"
        )
    if trained is not None:
        encoder.load_state(image_tower_of(read_checkpoint(Path(checkpoint))))
    return encoder


def require_trainable(encoder: "Encoder") -> "TrainableEncoder":
    """Return the encoder if it can be trained; EncoderError if something else executes it."""
    from reid.ports.image_encoder import FrozenEncoder

    if isinstance(encoder, FrozenEncoder):
        raise EncoderError(
            f"{encoder.description.name} ({encoder.description.weights}) describes images only: "
            "train from the weights that it was exported from"
        )
    return encoder


def require_explainable(encoder: "ImageEncoder") -> "ExplainableEncoder":
    """Return the encoder if its features can be explained; EncoderError if they cannot."""
    from reid.ports.image_encoder import ExplainableEncoder, FrozenEncoder

    if isinstance(encoder, ExplainableEncoder):
        return encoder
    advice = (
        "explain by the run or weights that it was exported from"
        if isinstance(encoder, FrozenEncoder)
        else "a plugged-in encoder needs the method trace_images of reid/ports/image_encoder.py"
    )
    raise EncoderError(
        f"{encoder.description.name} ({encoder.description.weights}) does not show how it comes to "
        f"its features: {advice}"
    )


def explanation_method(name: str) -> "ExplanationMethod | None":
    """Parse the setting; None (`auto`) leaves the method to the encoder."""
    from reid.domain.values.explanations import ExplanationMethod

    return None if name == "auto" else ExplanationMethod(name)


def weights_of(encoder: "EncoderSettings") -> str:
    """Return the weights as factories take them: models of the catalogue by their files.

    Raises:
        EncoderError: The model is not on this machine, or nothing has that name.
    """
    if not encoder.has_weights_file:
        return encoder.weights
    # Families and plug-ins may have names of their own.
    return resolve_weights(encoder.weights, may_be_unknown=encoder.kind not in (None, *KINDS))


def encoder_request(settings: "Settings", num_cameras: int) -> EncoderRequest:
    """Build the request for an encoder's factory from settings."""
    from reid.adapters.devices import resolve_device

    encoder = settings.encoder
    return EncoderRequest(
        kind=encoder.kind,
        weights=weights_of(encoder),
        text_weights=encoder.text_weights,
        image_size=ImageSize(*encoder.image_size) if encoder.image_size else None,
        stride=encoder.stride,
        num_cameras=num_cameras,
        camera_views=encoder.camera_views,
        camera_scale=encoder.camera_scale,
        activation=Activation(encoder.activation),
        pooling=Pooling(encoder.pooling),
        precision=encoder.precision,
        training_precision=training_precision(settings),
        compile=encoder.compile,
        device=resolve_device(settings.device),
        seed=settings.seed,
        options=encoder.options,
        graph=GraphRequest(**dict(encoder.graph)),
    )


def teacher_request(settings: "Settings") -> EncoderRequest:
    """Request the encoder that stage 2 learns from, without cameras."""
    return encoder_request(settings.model_copy(update={"encoder": settings.teacher}), 0)


def training_precision(settings: "Settings") -> str:
    """Return the image encoder's precision in stage 2 on this machine: fp32 or bf16."""
    from reid.adapters.devices import resolve_device, resolve_training_precision

    return resolve_training_precision(
        settings.encoder.training_precision,
        precision=settings.encoder.precision,
        device=resolve_device(settings.device),
    )


def count_cameras(wanted: bool, dataset: Callable[[], "Dataset"]) -> int:  # noqa: FBT001
    """Count the cameras of all splits that get an embedding; 0 without opening the dataset."""
    if not wanted:
        return 0
    opened = dataset()
    return 1 + max(sample.camid for split in Split for sample in opened.samples(split))


class Encoders(Datasets):
    """The encoder, and its embedding and explanation."""

    num_cameras = providers.Callable(
        count_cameras, SETTINGS.encoder.camera_embedding, Datasets.combined.provider
    )
    encoder = providers.Singleton(
        create_image_encoder, providers.Callable(encoder_request, Foundation.settings, num_cameras)
    )
    trainable = providers.Callable(require_trainable, encoder)
    training_precision = providers.Callable(training_precision, Foundation.settings)
    embedder = providers.Singleton["Embedder"](
        Lazily("reid.domain.services.embedding:Embedder"),
        encoder=encoder,
        listener=Foundation.listener,
        batch_size=SETTINGS.evaluation.batch_size,
        uses_cameras=SETTINGS.evaluation.use_cameras,
    )
    explanation_page = providers.Object(
        Lazily("reid.adapters.pages.heatmaps:open_explanation_page")
    )
    explainer = providers.Singleton["PairExplainer"](
        Lazily("reid.domain.services.explaining:PairExplainer"),
        encoder=providers.Callable(require_explainable, encoder),
        method=providers.Callable(explanation_method, SETTINGS.explain.method),
        uses_cameras=SETTINGS.evaluation.use_cameras,
        masked_share=SETTINGS.explain.masked_share,
        seed=SETTINGS.seed,
    )
