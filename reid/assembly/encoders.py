"""Encoders by the names that settings use, built-in or plugged-in."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from reid.adapters.devices import resolve_device, resolve_training_precision
from reid.adapters.encoders.exported import ExportedEncoder, is_exported, open_exported_encoder
from reid.adapters.safetensors_file import read_checkpoint, read_header
from reid.assembly.requirements import refuse_options
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.services.fine_tuning import image_tower_of
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.explanations import ExplanationMethod
from reid.domain.values.samples import ImageSize, Split
from reid.importing import paused_collection
from reid.plugins import BUILT_IN_KINDS, Factory, PluginGroup, choose_factory
from reid.ports.dataset import Dataset
from reid.ports.explanation import ExplainableEncoder
from reid.ports.export import ExportPlace
from reid.ports.image_encoder import ImageEncoder, TrainableEncoder
from reid.settings.schema import Settings


def create_open_clip(request: EncoderRequest) -> TrainableEncoder:
    """Build a built-in encoder; imports its modules only now."""
    with paused_collection():
        from reid.adapters.encoders.clip import create_clip_encoder

    refuse_options("encoder.options", request.kind or "this encoder", request.options)
    return create_clip_encoder(request)


def create_image_encoder(request: EncoderRequest) -> TrainableEncoder | ExportedEncoder:
    """Build the encoder that is asked for, or open it where the weights are an exported encoder.

    Raises:
        ConfigurationError: Nobody offers this kind, or the request makes no sense.
        EncoderError: The weights cannot be had or do not fit.
    """
    if is_exported(Path(request.weights)):
        return open_exported_encoder(request)
    return create_encoder(request)


def create_encoder(request: EncoderRequest) -> TrainableEncoder:
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


def _plugged_in(factory: Factory, request: EncoderRequest) -> TrainableEncoder:
    encoder: TrainableEncoder = factory(request)
    # Checkpoints name their encoder, so another name would make its runs unreadable.
    if encoder.description.name != request.kind:
        raise ConfigurationError(
            f"encoder.kind: the plug-in {request.kind!r} calls itself "
            f"{encoder.description.name!r}; its description must carry the entry point's name"
        )
    return encoder


def _restore_plugged_in(
    factory: Factory, request: EncoderRequest, trained: Mapping[str, JsonValue]
) -> TrainableEncoder:
    """Build the architecture that a run's checkpoint tells of, then fill its image tower."""
    options = trained.get("options")
    known = options if isinstance(options, dict) else {}
    encoder = _plugged_in(
        factory, replace(request, weights="random", options={**known, **request.options})
    )
    encoder.load_state(image_tower_of(read_checkpoint(Path(request.weights))))
    return encoder


def require_trainable(encoder: TrainableEncoder | ExportedEncoder) -> TrainableEncoder:
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


def reference_request(settings: Settings) -> EncoderRequest:
    """Ask for the encoder that an exported one is held to: in float32 on the CPU."""
    return replace(
        encoder_request(settings, 0),
        precision="fp32",
        training_precision=None,
        compile=False,
        device="cpu",
    )


def training_precision(settings: Settings) -> str:
    """Say what stage 2 runs the image encoder in on this machine: fp32 or bf16."""
    return resolve_training_precision(
        settings.encoder.training_precision,
        precision=settings.encoder.precision,
        device=resolve_device(settings.device),
    )


def open_export_folder(
    folder: Path, *, runtime: str, precision: str, overwrite: bool
) -> ExportPlace:
    """Name the place of an exported encoder; imports the exporter only now."""
    from reid.adapters.encoders.exporting import ExportFolder

    return ExportFolder(folder, runtime=runtime, precision=precision, overwrite=overwrite)


def count_cameras(wanted: bool, dataset: Callable[[], Dataset]) -> int:  # noqa: FBT001
    """Count the cameras that get an embedding, of all splits; opens the dataset only if wanted."""
    if not wanted:
        return 0
    opened = dataset()
    return 1 + max(sample.camid for split in Split for sample in opened.samples(split))
