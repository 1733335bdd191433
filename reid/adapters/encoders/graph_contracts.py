"""How graphs of other programs take their images: as settings say, or presets by their names."""

import re
from dataclasses import dataclass, fields, replace

from reid.domain.errors import ConfigurationError
from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.graphs import GraphRequest
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import ImageSize, Resampling


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphContract:
    """All of a `GraphRequest` that determines descriptors."""

    channels: str
    range: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resampling: Resampling = Resampling.BILINEAR

    @property
    def is_bgr(self) -> bool:
        """Whether blue comes first."""
        return self.channels == "bgr"

    def geometry(self, *, size: ImageSize, width: int) -> EncoderGeometry:
        """Say the same of an encoder of one level, of RGB in 0..1."""
        mean, std = (
            [value / self.range for value in (statistic[::-1] if self.is_bgr else statistic)]
            for statistic in (self.mean, self.std)
        )
        return EncoderGeometry(
            image_size=size,
            pixel_mean=(mean[0], mean[1], mean[2]),
            pixel_std=(std[0], std[1], std[2]),
            penultimate_width=0,
            final_width=width,
            projected_width=0,
            resampling=self.resampling,
        )

    def options(self) -> dict[str, JsonValue]:
        """Return what determines descriptors, for `EncoderDescription`."""
        return {
            "channels": self.channels,
            "range": self.range,
            "mean": [*self.mean],
            "std": [*self.std],
            "resampling": self.resampling.value,
        }


PRESETS = {  # by regular expressions that a name contains
    r"person-reidentification-retail-0(248|265|267|270|277|286|287|288|300)": GraphRequest(
        channels="bgr",
        range=255,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        # They normalise maps of few positions, in ONNX Runtime 1.32 without an epsilon: 0 / 0.
        runtime="openvino",
    ),
    r"osnet_(ibn_|ain_)?x\d": GraphRequest(
        channels="rgb", range=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
}
"""Open Model Zoo's (github.com/openvinotoolkit/open_model_zoo, models/intel) take BGR in 0..255, as
its decoder gives it: mean and deviation are part of these graphs. torchreid's
(github.com/KaiyangZhou/deep-person-reid) take what its feature extractor gives: ImageNet's
statistics, which its export leaves out."""

REQUIRED = {  # settings of a graph without a preset, and what each is
    "channels": "rgb or bgr",
    "range": "255 or 1, the value of the brightest pixel",
    "mean": "three numbers, subtracted in that range; [0, 0, 0] for none",
    "std": "three numbers, which divide what remains; [1, 1, 1] for none",
}


def over_preset(given: GraphRequest, *, name: str) -> GraphRequest:
    """Complete what is given by the preset of a file's name, if there is one."""
    for pattern, preset in PRESETS.items():
        if re.search(pattern, name):
            unset = [field.name for field in fields(given) if getattr(given, field.name) is None]
            return replace(given, **{field: getattr(preset, field) for field in unset})
    return given


def contract_of(given: GraphRequest, *, name: str) -> GraphContract:
    """Require what no graph works without.

    Raises:
        ConfigurationError: Some of it is not given; the message lists it.
    """
    wanted = (field.name for field in fields(GraphContract))
    known = {name: getattr(given, name) for name in wanted if getattr(given, name) is not None}
    missing = [f"encoder.graph.{name} ({REQUIRED[name]})" for name in REQUIRED if name not in known]
    if missing:
        raise ConfigurationError(
            f"{name} does not say how it takes its images: set {', '.join(missing)}"
        )
    return GraphContract(**known)
