"""What an encoder is, apart from its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reid.domain.values.graphs import GraphRequest
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import ImageSize, Resampling


class Activation(StrEnum):
    """Activation of a transformer's perceptrons; weights fit one of them."""

    QUICK_GELU = "quick_gelu"  # x * sigmoid(1.702 x), as OpenAI's CLIP has it
    GELU = "gelu"  # x * Phi(x), Hendrycks and Gimpel 2016, arXiv:1606.08415, eq. 1


class Pooling(StrEnum):
    """How a ResNet pools its maps into penultimate and final features; weights fit one of them."""

    AVERAGE = "average"  # the mean over all positions, as CLIP-ReID has it
    GEM = "gem"
    """Generalised mean, (mean x^3)^(1/3): Radenovic et al. 2018, arXiv:1711.02512, eq. 3."""


@dataclass(frozen=True, slots=True)
class EncoderGeometry:
    """Sizes and pixel statistics that hold for every batch."""

    image_size: ImageSize
    pixel_mean: tuple[float, float, float]
    """Subtracted from RGB in 0..1, then divided by `pixel_std`."""
    pixel_std: tuple[float, float, float]
    penultimate_width: int  # 0 where the encoder has no such level
    final_width: int
    projected_width: int  # 0 where the encoder shares no space with a text encoder
    num_cameras: int = 0
    """Cameras with an embedding of their own (SIE); 0 where the encoder ignores cameras."""
    resampling: Resampling = Resampling.BILINEAR  # filter that resizes the images to describe

    @property
    def embedding_width(self) -> int:
        """Width of final and projected features side by side."""
        return self.final_width + self.projected_width


@dataclass(frozen=True, slots=True)
class EncoderDescription:
    """Identifies an encoder, in reports and where what does not fit is refused."""

    name: str  # kind as settings name it, for example `vit-b16`
    weights: str  # origin: `random (seed 1)`, `openai`, a file's name
    is_pretrained: bool
    """False for weights that began at random, trained since or not; every report says so."""
    is_trained: bool = True
    """False for random weights: their features mean nothing, so answers come with a warning."""
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    """Arguments with which its factory builds the same architecture again."""
    num_identities: int | None = None
    """Identities that the weights were trained to distinguish; None where unknown."""
    without_text: str = ""  # why there is no text tower, where that is not plain

    def trained(self) -> "EncoderDescription":
        """Describe the same encoder after a training that began with these weights."""
        return replace(self, weights=f"trained from {self.weights}", is_trained=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRequest:
    """What a factory is asked to build; the same for built-in and plugged-in encoders."""

    kind: str | None  # name as in settings; None takes the kind that the weights file names
    weights: str = "random"  # `random`, `openai`, or the path of a file
    text_weights: str | None = None
    """Where the text tower comes from, `openai` or a file; None: from `weights`."""
    image_size: ImageSize | None = None  # None: the weights file's, else the kind's own default
    stride: int | None = None
    """Pixels between patches of a ViT; None: the weights file's, else the patch size."""
    num_cameras: int = 0
    """Cameras that get an embedding of their own; 0: those of the weights file, if any."""
    camera_views: int | None = None
    """Rows of a file's camera embeddings for each camera, of which the mean is taken; None: 1."""
    camera_scale: float = 1.0  # weight of the camera embedding in the sum (SIE's lambda)
    activation: Activation = Activation.QUICK_GELU
    """Of both towers' transformers; a run's own file overrides it."""
    pooling: Pooling = Pooling.AVERAGE
    """Of a ResNet's maps; a run's own file overrides it, a ViT takes `average` only."""
    precision: str = "fp32"  # `fp32`, or `bf16` for bfloat16 autocast inside the encoder
    training_precision: str | None = None
    """Precision of the image tower in training mode; None: as `precision`."""
    compile: bool = False  # compile the image tower for the device when it first runs
    device: str = "cpu"
    seed: int = 0  # of random weights and of a fresh camera embedding
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    """Further arguments of a plugged-in encoder."""
    graph: GraphRequest = field(default_factory=GraphRequest)
    """What is given of how a graph takes its images; other encoders know it themselves."""
