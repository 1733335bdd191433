"""Models of the catalogue: fetching one."""

import sys
from pathlib import Path

from reid.domain.errors import ConfigurationError
from reid.domain.values.models import FetchOutcome, ModelEntry


def fetch_model(entry: ModelEntry, *, origin: str | None) -> FetchOutcome:
    """Fetch a model, with progress on standard error; see `FetchModel.run`."""
    from reid.adapters.model_files import CachedModelFiles
    from reid.application.fetch_models import FetchModel

    shown = _Progress(entry.size)
    files = CachedModelFiles(advance=shown.advance)
    use_case = FetchModel(files=files, count_identities=count_identities)
    try:
        return use_case.run(entry, origin=origin)
    finally:
        shown.end()


def pixels_of(entry: ModelEntry) -> str | None:
    """Say how a graph takes its images; None for a model that is no graph, or without a preset."""
    from reid.adapters.encoders.graph_contracts import contract_of, over_preset
    from reid.domain.values.graphs import GraphRequest

    name = entry.files[0].name
    if not name.endswith((".xml", ".onnx")):
        return None
    try:
        contract = contract_of(over_preset(GraphRequest(), name=name), name=name)
    except ConfigurationError:
        return None
    return (
        f"{contract.channels.upper()} in 0..{contract.range:g}, mean {list(contract.mean)}, "
        f"std {list(contract.std)}, {contract.resampling} resampling"
    )


def count_identities(path: str) -> int | None:
    """Count the rows of the classifier in a weights file of CLIP's kinds."""
    from reid.adapters.encoders.weights import read_weights_file

    return read_weights_file(Path(path)).num_identities


class _Progress:
    """Bytes that have come, in one line of a terminal."""

    def __init__(self, total: int | None) -> None:
        self._of = "" if total is None else f" of {total / 1e6:.1f}"
        self._received = 0

    def advance(self, num_bytes: int) -> None:
        self._received += num_bytes
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"\r{self._received / 1e6:.1f}{self._of} MB")

    def end(self) -> None:
        if self._received and sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write("\n")
