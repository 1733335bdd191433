"""The catalogue of models, and where the files of each are on this machine; loads no torch.

A model's files come with the program, in `reid/models`, or are in the user's cache folder, in
`reid/models/NAME`, where `reid models fetch NAME` or a user's own copy puts them.
"""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.models import (
    Catalogue,
    DatasetTerms,
    KnownModel,
    ModelEntry,
    ModelFile,
    ModelScore,
)
from reid.small_files import MOST_SETTINGS_BYTES, read_bounded

SHIPPED = Path(__file__).parent / "models"  # folder of the catalogue, and of files that come along
CATALOGUE = "catalogue.toml"

_LISTS = ("trained_on", "image_size")


def user_cache() -> Path:
    """Return the program's folder in the user's cache folder."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification ignores relative paths.
    return (Path(named) if Path(named).is_absolute() else Path.home() / ".cache") / "reid"


def catalogue() -> Catalogue:
    """Return the catalogue.

    Raises:
        ConfigurationError: The installation is damaged.
    """
    return _read(SHIPPED / CATALOGUE)


@cache
def _read(path: Path) -> Catalogue:
    try:
        content = tomllib.loads(read_bounded(path, most_bytes=MOST_SETTINGS_BYTES).decode())
        return Catalogue(
            models={name: _entry(name, table) for name, table in content["models"].items()},
            datasets={key: DatasetTerms(**table) for key, table in content["datasets"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"the catalogue {path} cannot be read ({error}): install the program again"
        ) from error


def _entry(name: str, table: Mapping[str, Any]) -> ModelEntry:
    lists = {key: tuple(table[key]) for key in _LISTS if key in table}
    files = [
        ModelFile(**{**file, "digests": tuple(file.get("digests", ()))}) for file in table["files"]
    ]
    scores = [ModelScore(**score) for score in table.get("scores", ())]
    return ModelEntry(
        **{**table, **lists, "name": name, "files": tuple(files), "scores": tuple(scores)}
    )


def entry_named(name: str) -> ModelEntry:
    """Look up a model.

    Raises:
        ConfigurationError: There is none of that name.
    """
    known = catalogue().models
    if name not in known:
        raise ConfigurationError(f"no model is called {name!r}; {_advice(name)}")
    return known[name]


def default_model() -> ModelEntry | None:
    """Return the model that answers where none is named; None where its files are missing."""
    chosen = (entry for entry in catalogue().models.values() if entry.is_default)
    return next((entry for entry in chosen if present_path(entry) is not None), None)


def model_named_by(weights: str) -> KnownModel | None:
    """Describe the model that weights name; None where they are a file, or no model's."""
    entry = catalogue().models.get(weights)
    if entry is None or Path(weights).exists():
        return None
    return KnownModel(name=entry.name, about=entry.about, standing=catalogue().standing(entry))


def folder_of(entry: ModelEntry) -> Path:
    """Return the folder in the cache for a model's files."""
    return user_cache() / "models" / entry.name


def path_of(entry: ModelEntry, file: ModelFile) -> Path:
    """Return where a file of a model is, or belongs."""
    shipped = SHIPPED / file.name
    return shipped if shipped.is_file() else folder_of(entry) / file.name


def present_path(entry: ModelEntry) -> Path | None:
    """Return the file to give as weights; None where a file of the model is missing."""
    paths = [path_of(entry, file) for file in entry.files]
    return paths[0] if all(path.is_file() for path in paths) else None


def resolve_weights(weights: str, *, may_be_unknown: bool) -> str:
    """Return the path of a model of the catalogue, and anything else as it is.

    A file or folder of that name is preferred to a model. `may_be_unknown` says that other names
    mean something to the encoder's family.

    Raises:
        EncoderError: The model is not on this machine or damaged, or nothing has that name.
    """
    if Path(weights).exists():
        return weights
    entry = catalogue().models.get(weights)
    if entry is None:
        if may_be_unknown or Path(weights).name != weights or Path(weights).suffix:
            return weights
        raise EncoderError(
            f"encoder.weights: neither a file nor a model is called {weights!r}; {_advice(weights)}"
        )
    path = present_path(entry)
    if path is None:
        raise EncoderError(
            f"encoder.weights: the model {weights} is not on this machine; fetch it by "
            f"`reid models fetch {weights}`, or copy its files to {folder_of(entry)}"
        )
    for file in entry.files:
        require_known_content(entry, file)
    return str(path)


def require_known_content(entry: ModelEntry, file: ModelFile) -> None:
    """Refuse a file that is not the one whose digests are known, by an `EncoderError`."""
    path = path_of(entry, file)
    for known in file.digests:
        if digest_of(path, known.partition(":")[0]) != known:
            raise EncoderError(
                f"{path} is not the file of {entry.name} that is known (its digest is not "
                f"{known}): delete it, and fetch it again by `reid models fetch {entry.name}`"
            )


def digest_of(path: Path, algorithm: str) -> str:
    """Compute a file's digest, as `sha256:...`."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _advice(name: str) -> str:
    near = get_close_matches(name, catalogue().models, n=3)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{guess}`reid models list` lists all of them"
