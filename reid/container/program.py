"""Containers for the `reid` program, which shows progress and starts fast."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reid.container import registry
from reid.container.registry import Group

if TYPE_CHECKING:
    from reid.container.root import Container
    from reid.settings.loading import ResolvedSettings
    from reid.settings.schema import Settings


@contextmanager
def wired(settings: "Settings", **providers: object) -> Iterator["Container"]:
    """Yield a container that shows progress on standard error; `providers` replace its own.

    Raises:
        ConfigurationError: No distribution offers the kind of index.
    """
    from reid.adapters.events.rich_progress import RichProgress

    # The index is created last: an unknown one is refused here, before any work.
    registry.find(Group.INDEXES, settings.index.kind)
    _warn_of_slow_precision(settings)
    container = load_container()
    with RichProgress() as listener:
        yield container(settings=settings, listener=listener, **providers)


def _warn_of_slow_precision(settings: "Settings") -> None:
    names = ("precision", "training_precision")
    asked = [f"encoder.{name}" for name in names if getattr(settings.encoder, name) == "bf16"]
    if not asked:
        return
    from reid.adapters.devices import measure_bf16, resolve_device

    if resolve_device(settings.device) == "cpu" and (speed := measure_bf16()).is_slow:
        sys.stderr.write(
            f"Warning: {' and '.join(asked)}: {speed} on this processor, as measured just now; "
            "leave it out to compute in fp32\n"
        )


def settings_to_answer(resolved: "ResolvedSettings", *, describes: bool = True) -> "Settings":
    """Choose the encoder by `with_trained_encoder`, and describe a model of the catalogue.

    The description, on standard error, says how good the model is known to be; without `describes`
    the command's own output does.

    Raises:
        CheckpointError, ConfigurationError: As `with_trained_encoder` does.
    """
    from reid.known_models import model_named_by
    from reid.settings.loading import with_trained_encoder

    settings = with_trained_encoder(resolved)
    if describes and (model := model_named_by(settings.encoder.weights)) is not None:
        sys.stderr.write(f"{model.words}\n")
    return settings


def with_shipped_encoder(settings: "Settings") -> "Settings | None":
    """Choose the encoder that comes with the program; None where none does."""
    from reid.known_models import default_model

    entry = default_model()
    if entry is None:
        return None
    unsaid = {"kind": None, "image_size": None, "stride": None}
    encoder = settings.encoder.model_copy(update={**unsaid, "weights": entry.name})
    return settings.model_copy(update={"encoder": encoder})


def load_container() -> "type[Container]":
    """Import the container without FastAPI, which takes half a second.

    `dependency_injector.wiring` imports FastAPI, if installed, to mark endpoints; this program
    wires by constructors only. The library and the tests import the container as usual, since
    other parts of their process may use those marks.
    """
    is_first = not {"fastapi", "dependency_injector.wiring"} & set(sys.modules)
    if is_first:
        # None marks a module that cannot be imported; FastAPI itself stays untouched.
        sys.modules["fastapi.params"] = None  # type: ignore[assignment]
    try:
        from reid.container.root import Container
    finally:
        if is_first:
            del sys.modules["fastapi.params"]
    return Container
