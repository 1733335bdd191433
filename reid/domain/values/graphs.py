"""What is given of a graph that another program wrote."""

from dataclasses import dataclass

from reid.domain.values.samples import Resampling


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRequest:
    """How a graph takes images and is executed; None where that is not given."""

    channels: str | None = None  # `rgb` or `bgr`
    range: float | None = None  # value of the brightest pixel: 255, or 1
    mean: tuple[float, float, float] | None = None
    """Subtracted from pixels in that range, per channel in that order."""
    std: tuple[float, float, float] | None = None  # divides what remains
    resampling: Resampling | None = None  # None: bilinear
    batch: int | None = None
    """Images in each run; None: any number, or as many as the graph fixes."""
    runtime: str | None = None  # `openvino` or `onnx`; None: the one that suits the file
    output: str | None = None  # the descriptor's; None: the graph has only one
