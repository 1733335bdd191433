"""Settings of single tasks, besides encoder, dataset, index and gallery."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr

from reid.domain.values.open_set import Fusion
from reid.settings.fields import Moment, Name, Section, Unsettable


class EvaluationSettings(Section):
    """How rankings are scored."""

    rerank: bool = False
    same_camera_rule: bool = True
    """Leave out gallery images of the query's own person and camera (Market-1501's protocol)."""
    use_cameras: bool = True
    """Use the images' cameras where the encoder has camera embeddings, in `identify` too."""
    batch_size: PositiveInt = 64


class IdentifySettings(Section):
    """How `identify` answers."""

    top_k: PositiveInt = 5
    fusion: Unsettable[Fusion] = None
    """Similarity of a person: of the `best` image, to the `mean` of the images, or by a `vote` of
    the nearest images; unset: `best`."""
    votes: PositiveInt = 5  # number of nearest images that vote
    unknown: Annotated[float, Field(ge=-1, le=1)] | Literal["auto", "off"] = "auto"
    """Matches below this similarity are rejected; `auto`: as the gallery is calibrated, if it is;
    `off` accepts every match."""
    tracklets: bool = False
    """Whether the query images of a sub-folder, or else of one label and camera, are one query."""
    seen_by: tuple[Name, ...] = ()
    """Cameras whose gallery images are searched; empty: all images, with or without a camera."""
    added_from: Unsettable[Moment] = None
    """Search only gallery images that were added on this day (`2026-01-31`, UTC) or at this time
    (`2026-01-31T12:00:00Z`), or later."""
    added_until: Unsettable[Moment] = None
    """Search only gallery images that were added before this day or time."""
    rerank: bool = False  # order gallery images by k-reciprocal re-ranking among all queries


class ExportSettings(Section):
    """How an export in int8 is calibrated, and when it is accepted."""

    calibration: Unsettable[Path] = None
    """Folder or list of images whose ranges decide the quantisation; unset: the dataset's training
    images."""
    calibration_images: PositiveInt = 300  # most of them, drawn by the seed
    max_score_loss: float = Field(default=0.5, ge=0)
    """Points of mAP and of Rank-1 on the dataset that int8 may lose; without a dataset, the angle
    to the original's descriptors decides."""


class ExplainSettings(Section):
    """How `explain` finds and tests the regions that make two images similar."""

    method: Literal["auto", "rollout", "gradient-rollout", "grad-cam"] = "auto"
    """`auto`: gradient-rollout for a ViT, grad-cam for a ResNet. `rollout`, for a ViT, does not
    depend on the other image."""
    masked_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of an image's pixels that the test of an explanation masks."""


class ServiceSettings(Section):
    """Address of `serve`, and limits on the resources of clients."""

    host: Name = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0: any free port, which the program prints
    token: Unsettable[SecretStr] = None
    """Token that clients must send; required to serve other machines."""
    token_file: Unsettable[Path] = None  # file that holds the token instead
    body_mib: PositiveInt = 16  # most MiB of a request's body
    held_mib: PositiveInt = 128  # most MiB of all bodies in memory
    images: PositiveInt = 32  # most images of a request
    pixels: int = Field(default=25_000_000, gt=0, le=89_000_000)
    """Most pixels of an image; Pillow's own limit is slightly above the maximum."""
    waiting: PositiveInt = 256  # most images that wait for the encoder; more are refused
    connections: PositiveInt = 256  # most open connections
    header_seconds: PositiveFloat = 10.0
    """Time for a request's header, and for silence between requests."""
    body_seconds: PositiveFloat = 30.0  # time for a body to arrive
    seconds: PositiveFloat = 30.0  # time for the answer once the body has arrived


class RunSettings(Section):
    """Where a training run is stored."""

    directory: Path = Path("runs/default")
    prompts: Unsettable[Path] = None
    """Another run whose prompts fine-tuning uses; unset: this run's own."""
    parent: Unsettable[Path] = None
    """A finished run that fine-tuning goes on from: its encoder, prompts and settings, which others
    override, and its classifiers where the identities are the same."""
    checkpoint_every: PositiveInt = 1
    """Epochs between the states from which an interrupted run resumes."""
