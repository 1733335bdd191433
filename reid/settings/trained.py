"""Settings for commands that use a trained encoder instead of training one."""

from reid.domain.errors import CheckpointError
from reid.settings.loading import ResolvedSettings
from reid.settings.schema import Settings

ENCODER_FILE = "encoder.safetensors"


def with_trained_encoder(resolved: ResolvedSettings) -> Settings:
    """Take the run's encoder unless weights were named; its file says what it is.

    Raises:
        CheckpointError: No weights were named and the run has no trained encoder.
    """
    settings = resolved.settings
    unsaid = {
        name: None
        for name in ("kind", "image_size", "stride")
        if not resolved.origin_of(f"encoder.{name}").is_chosen
    }
    if not resolved.origin_of("encoder.weights").is_chosen:
        path = settings.run.directory / ENCODER_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{settings.run.directory} holds no trained encoder: train one first (reid train), "
                "name its run by --run DIR, or name weights by --weights FILE"
            )
        encoder = settings.encoder.model_copy(update=unsaid | {"weights": str(path)})
    elif settings.encoder.has_weights_file:
        encoder = settings.encoder.model_copy(update=unsaid)
    else:
        encoder = settings.encoder
    return settings.model_copy(update={"encoder": encoder})
