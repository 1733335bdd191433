"""What commands take beside encoder, dataset, index and gallery."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr

from reid.domain.values.open_set import Fusion
from reid.settings.fields import Moment, Name, Section, Unsettable


class EvaluationSettings(Section):
    """How a ranking is scored."""

    rerank: bool = False
    same_camera_rule: bool = True
    """Leave gallery images of the query's own person and camera out (Market-1501's protocol)."""

    use_cameras: bool = True
    """Tell an encoder with camera embeddings which camera took an image, in identify too."""

    batch_size: PositiveInt = 64


class IdentifySettings(Section):
    """What `identify` answers."""

    top_k: PositiveInt = 5

    fusion: Unsettable[Fusion] = None
    """How similarities to the images of a person become one: that of the `best` image, the one
    to the `mean` of the images, or the nearest images `vote`; unset: `best`."""

    votes: PositiveInt = 5
    """Nearest images that vote."""

    unknown: Annotated[float, Field(ge=-1, le=1)] | Literal["auto", "off"] = "auto"
    """Similarity below which a query is of nobody known; `auto`: the gallery's own where it is
    calibrated; `off`: everybody is somebody."""

    tracklets: bool = False
    """Whether query images of one person (of a sub-folder, else of a label by one camera) are
    asked about as one."""

    seen_by: tuple[Name, ...] = ()
    """Cameras whose gallery images are looked at; empty: all images, also those without one."""

    added_from: Unsettable[Moment] = None
    """Look at gallery images only that were added on this day (`2026-01-31`, UTC) or at this time
    (`2026-01-31T12:00:00Z`), or later."""

    added_until: Unsettable[Moment] = None
    """Likewise, before it."""

    rerank: bool = False
    """Order gallery images by k-reciprocal re-ranking among all queries."""


class ExplainSettings(Section):
    """How `explain` finds and tests what made two images alike."""

    method: Literal["auto", "rollout", "gradient-rollout", "grad-cam"] = "auto"
    """`auto`: gradient-rollout for a ViT, grad-cam for a ResNet. `rollout` is a ViT's too, and does
    not depend on the other image."""

    masked_share: float = Field(default=0.2, gt=0, lt=1)
    """Of an image's pixels that the check of an explanation blots out."""


class ServiceSettings(Section):
    """What `serve` listens to, and what a client may cost."""

    host: Name = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    """0: any that is free; the program says which."""

    token: Unsettable[SecretStr] = None
    """What clients must bring; beyond this machine there must be one."""

    token_file: Unsettable[Path] = None
    """A file that holds the token instead."""

    body_mib: PositiveInt = 16
    """Most MiB of a request's body."""

    held_mib: PositiveInt = 128
    """Most MiB of all bodies together that are in memory at once."""

    images: PositiveInt = 32
    """Most images of a request."""

    pixels: int = Field(default=25_000_000, gt=0, le=89_000_000)
    """Most pixels of an image; Pillow's own limit is a little above the highest."""

    waiting: PositiveInt = 256
    """Most images that wait for the encoder; more are sent away for a moment."""

    connections: PositiveInt = 256
    """Most open connections."""

    header_seconds: PositiveFloat = 10.0
    """How long a client may take to say what it wants, and to stay silent between requests."""

    body_seconds: PositiveFloat = 30.0
    """How long a body may take to arrive."""

    seconds: PositiveFloat = 30.0
    """How long a client waits for its answer once its body has arrived."""


class RunSettings(Section):
    """Where a training run lives."""

    directory: Path = Path("runs/default")
    prompts: Unsettable[Path] = None
    """Another run, whose prompts fine-tuning starts from; unset: this run's own."""

    checkpoint_every: PositiveInt = 1
    """Epochs between the states from which an interrupted run goes on."""
