"""Settings of commands that use a trained encoder."""

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.settings.layers import OriginKind
from reid.settings.loading import ResolvedSettings
from reid.settings.schema import Settings

ENCODER_FILE = "encoder.safetensors"


def with_trained_encoder(resolved: ResolvedSettings) -> Settings:
    """Use the run's encoder, which its file describes, unless weights are named.

    Raises:
        CheckpointError: No weights are named and the run has no trained encoder.
        ConfigurationError: The command line names both.
    """
    settings = resolved.settings
    unsaid = {
        name: None
        for name in ("kind", "image_size", "stride")
        if not resolved.origin_of(f"encoder.{name}").is_chosen
    }
    if _names_run(resolved):
        path = settings.run.directory / ENCODER_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{settings.run.directory} holds no trained encoder: train the encoder first, name "
                "its run by `run.directory`, or name weights by `encoder.weights`"
            )
        encoder = settings.encoder.model_copy(update=unsaid | {"weights": str(path)})
    elif settings.encoder.has_weights_file:
        encoder = settings.encoder.model_copy(update=unsaid)
    else:
        encoder = settings.encoder
    return settings.model_copy(update={"encoder": encoder})


def uses_run(settings: Settings) -> bool:
    """Whether the encoder is that of the run in the settings."""
    return settings.encoder.weights == str(settings.run.directory / ENCODER_FILE)


def _names_run(resolved: ResolvedSettings) -> bool:
    """Whether to use the run's encoder; a run on the command line overrides other layers."""
    weights, run = (resolved.origin_of(key).kind for key in ("encoder.weights", "run.directory"))
    if weights is run is OriginKind.OPTION:
        raise ConfigurationError(
            "`run.directory` and `encoder.weights` name two encoders: give one of them"
        )
    return run is OriginKind.OPTION or not resolved.origin_of("encoder.weights").is_chosen
