"""Settings of `reid demo`."""

from pathlib import Path

from reid.settings.schema import Settings


def demo_settings(settings: Settings, *, folder: Path) -> Settings:
    """Place images and run in one folder."""
    return settings.model_copy(
        update={
            "dataset": settings.dataset.model_copy(update={"root": folder / "data"}),
            "run": settings.run.model_copy(update={"directory": folder / "run"}),
        }
    )
