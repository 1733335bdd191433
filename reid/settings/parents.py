"""Settings that a training takes from the finished run it goes on from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.domain.errors import CheckpointError
from reid.settings.catalogue import types_of
from reid.settings.layers import Given, Origin, OriginKind, Source
from reid.settings.recipes import RECIPES
from reid.small_files import MOST_RECORD_BYTES, parse_json, read_bounded

ENCODER_FILE = "encoder.safetensors"
_MANIFEST = "run.json"
_INHERITED = ("encoder", "prompts", "finetuning", "teacher")


def parent_values(directory: Path) -> Source:
    """Yield the settings that a finished run was trained with, its own weights and its recipe.

    Settings that this version does not know are left out.

    Raises:
        CheckpointError: There is no finished run in the folder.
    """
    weights, recorded = directory / ENCODER_FILE, _recorded(directory)
    if not weights.is_file():
        raise CheckpointError(
            f"run.parent: {directory} has no finished encoder ({ENCODER_FILE}): finish its "
            "training, or name another run"
        )
    origin = Origin(OriginKind.PARENT, str(directory))
    for section in _INHERITED:
        for name, value in recorded.get(section, {}).items():
            if types_of(key := f"{section}.{name}") is not None and value is not None:
                yield key, Given(value, origin)
    yield "encoder.weights", Given(str(weights), origin)
    if (recipe := recorded.get("recipe")) in RECIPES:
        yield "recipe", Given(recipe, origin)


def _recorded(directory: Path) -> Mapping[str, Any]:
    path = directory / _MANIFEST
    try:
        content = parse_json(read_bounded(path, most_bytes=MOST_RECORD_BYTES))
        settings = content["environment"]["settings"]
    except OSError as error:
        raise CheckpointError(
            f"run.parent: {directory} holds no run that can be read ({error}): name the folder of "
            "a finished training"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"run.parent: {path} is not the manifest of a run: name the folder of a finished "
            "training, or give its encoder's file as encoder.weights"
        ) from error
    sections = settings if isinstance(settings, dict) else {}
    return {
        name: value
        for name, value in sections.items()
        if isinstance(value, dict) or name == "recipe"
    }
