"""Settings of commands that use a trained encoder."""

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.settings.layers import OPTION
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
    weights, run = (resolved.origin_of(key) for key in ("encoder.weights", "run.directory"))
    if weights == run == OPTION:
        raise ConfigurationError(
            "`run.directory` and `encoder.weights` name two encoders: give one of them"
        )
    unsaid: dict[str, object] = {
        name: None
        for name in ("kind", "image_size", "stride")
        if not resolved.origin_of(f"encoder.{name}").is_chosen
    }
    # A run on the command line overrides weights in other sources.
    if run == OPTION or not weights.is_chosen:
        path = settings.run.directory / ENCODER_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{settings.run.directory} holds no trained encoder: train the encoder first, name "
                "its run by `run.directory`, or name weights by `encoder.weights`"
            )
        unsaid["weights"] = str(path)
    elif not settings.encoder.has_weights_file:
        return settings
    encoder = settings.encoder.model_copy(update=unsaid)
    return settings.model_copy(update={"encoder": encoder})


def uses_run(settings: Settings) -> bool:
    """Whether the encoder is that of the run in the settings."""
    return settings.encoder.weights == str(settings.run.directory / ENCODER_FILE)
