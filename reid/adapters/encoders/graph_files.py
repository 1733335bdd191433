"""Graphs of other programs, as the runtimes read them from files.

Letters: B batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import DTypeLike, NDArray

ANY = -1  # a length that a graph leaves open

Shape: TypeAlias = tuple[int, ...]
Run: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""From images, in the shape that was compiled, to one row or more axes for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """A graph in a file, as its runtime reads it."""

    inputs: Mapping[str, Shape]  # by name; `ANY` for a length that is open
    outputs: Mapping[str, Shape]
    input_type: DTypeLike  # of the first input
    compile: Callable[[Shape, str], Run]
    """Prepare a run from images of a shape to an output; EncoderError where that is impossible."""
