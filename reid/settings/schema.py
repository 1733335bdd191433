"""Every setting there is, with its type, range and default.

Commands turn these into recipes and plain values before anything inside is called.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_serializer,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reid.domain.values.durations import parse_duration, parse_time
from reid.domain.values.people import Fusion
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe, RerankingRecipe

ENVIRONMENT_PREFIX = "REID_"
ENVIRONMENT_DELIMITER = "__"
WEIGHTS_BY_NAME = ("openai", "random")

_Value = TypeVar("_Value")


def _unset(value: object) -> object:
    """Read `none` as no value: TOML and the environment have no other way to say it."""
    return None if isinstance(value, str) and value.lower() == "none" else value


def _checked_duration(text: str) -> str:
    parse_duration(text)
    return text


def _checked_device(name: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name) is None:
        raise ValueError("should be auto, cpu, mps, cuda or cuda:N")
    return name


Unsettable = Annotated[_Value | None, BeforeValidator(_unset)]
Moment = Annotated[str, AfterValidator(parse_time)]
Device = Annotated[str, AfterValidator(_checked_device)]
Duration = Annotated[str, AfterValidator(_checked_duration)]
Name = Annotated[str, Field(min_length=1)]
Options = dict[str, JsonValue]


class Section(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class EncoderSettings(Section):
    """Which encoder to build and from which weights."""

    kind: Unsettable[Name] = None
    """Given by the recipe; stays unset where a weights file is to say it itself."""

    weights: Name = "openai"
    """`openai`, `random`, or the path of a file."""

    image_size: Unsettable[tuple[PositiveInt, PositiveInt]] = None
    """Height and width; unset: what the weights file says, else the kind's own default."""

    stride: Unsettable[PositiveInt] = None
    """Pixels between patches of a ViT; unset: what the weights file says, else the patch size."""

    camera_embedding: bool = False
    """Whether every camera gets an embedding of its own (SIE)."""

    camera_scale: float = 1.0
    """Weight of the camera embedding in the sum (SIE's lambda)."""

    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    """Of the transformers in both towers; a run's own file says it itself, other files cannot.

    `quick_gelu` is right for OpenAI's weights, CLIP-ReID's, and those that open_clip tags `openai`,
    `dfn2b`, `metaclip_*`, `yfcc15m` or `cc12m`; `gelu` for its tags `laion*`, `datacomp_*` and
    `commonpool_*`, and for what open_clip trained without `-quickgelu` in the model's name.
    """

    pooling: Literal["average", "gem"] = "average"
    """How a ResNet's maps become its penultimate and final feature: by their mean, or by the
    generalised mean with exponent 3 (GeM); a run's own file says it itself. A ViT has no maps."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """What pictures and prompts are described in; bf16 is bfloat16 autocast."""

    training_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What stage 2 runs the image encoder in; `auto`: bf16 where the accelerator multiplies in it,
    else as `precision`. Losses, weights and Adam are in fp32 always."""

    compile: bool = False
    """Translate the image encoder into the device's own code (torch.compile) when it first runs:
    minutes once per process, for faster batches after. Needs a C++ compiler on a CPU."""

    options: Options = Field(default_factory=dict)
    """Whatever else a plugged-in encoder takes."""

    @property
    def has_weights_file(self) -> bool:
        """Whether `weights` is a path."""
        return self.weights not in WEIGHTS_BY_NAME

    @model_validator(mode="after")
    def _kind_known(self) -> "EncoderSettings":
        if self.kind is None and not self.has_weights_file:
            raise ValueError("kind must be named unless weights is a file that says it")
        return self


class Msmt17Settings(Section):
    """What MSMT17 takes."""

    train_on_val: bool = True
    """Train on the validation list too, as the paper does."""


class Cuhk03Settings(Section):
    """What CUHK03 takes."""

    boxes: Literal["detected", "labeled"] = "detected"
    """Pictures cut by a detector, or by hand."""


class ViperSettings(Section):
    """What VIPeR takes."""

    split_seed: int = 0
    """Decides which half of the people is trained on."""


class SourceSettings(Section):
    """A dataset: its kind, its place, and what its kind takes in a section of the kind's name."""

    kind: Name = "market1501"
    root: Unsettable[Path] = None
    options: Options = Field(default_factory=dict)
    """Whatever else a plugged-in dataset takes."""

    msmt17: Msmt17Settings = Msmt17Settings()
    cuhk03: Cuhk03Settings = Cuhk03Settings()
    viper: ViperSettings = ViperSettings()

    @property
    def kind_options(self) -> dict[str, JsonValue]:
        """What the section of this kind's name holds; empty where there is none."""
        section = getattr(self, self.kind, None)
        return section.model_dump() if isinstance(section, Section) else {}


class DatasetSettings(SourceSettings):
    """Which pictures to train on and to rank."""

    also: tuple[SourceSettings, ...] = ()
    """Other datasets whose training lists are trained on too."""

    @field_serializer("also")
    def _without_other_kinds(self, also: tuple[SourceSettings, ...]) -> list[dict[str, JsonValue]]:
        """Leave out of each what only other kinds take."""
        return [
            source.model_dump(mode="json", include={"kind", "root", source.kind})
            | ({"options": source.options} if source.options else {})
            for source in also
        ]

    skip_bad: bool = False
    """Leave pictures that cannot be read out of training and evaluation, and name them in the run's
    record; else they are an error that lists them."""

    cache_mib: NonNegativeInt = 2048
    """Memory for decoded training pictures, so that each is decoded once; 0: every epoch anew."""


class AnnoySettings(Section):
    """Annoy's own knobs."""

    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find; decides what `trees` and `search_k` leave open."""

    trees: Unsettable[PositiveInt] = None
    search_k: Unsettable[PositiveInt] = None


class HnswSettings(Section):
    """HNSW's own knobs."""

    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find; decides what `expansion` leaves open."""

    connectivity: int = Field(default=32, ge=2, le=512)
    """Links per row; more find more where recall ends too low, and take longer to build."""

    expansion: Unsettable[PositiveInt] = None


class IndexSettings(Section):
    """How the gallery is searched."""

    kind: Name = "exact"
    annoy: AnnoySettings = AnnoySettings()
    hnsw: HnswSettings = HnswSettings()
    options: Options = Field(default_factory=dict)
    """What a plugged-in index takes."""


class EvaluationSettings(Section):
    """How a ranking is scored."""

    rerank: bool = False
    same_camera_rule: bool = True
    """Leave gallery pictures of the query's own person and camera out (Market-1501's protocol)."""

    use_cameras: bool = True
    """Tell an encoder with camera embeddings which camera took a picture, in identify too."""

    batch_size: PositiveInt = 64


class IdentifySettings(Section):
    """What `identify` answers."""

    top_k: PositiveInt = 5

    fusion: Unsettable[Fusion] = None
    """How similarities to the pictures of a person become one: that of the `best` picture, the one
    to the `mean` of the pictures, or the nearest pictures `vote`; unset: `best`."""

    votes: PositiveInt = 5
    """Nearest pictures that vote."""

    unknown: Annotated[float, Field(ge=-1, le=1)] | Literal["auto", "off"] = "auto"
    """Similarity below which a query is of nobody known; `auto`: the gallery's own where it is
    calibrated; `off`: everybody is somebody."""

    tracklets: bool = False
    """Whether query pictures of one person (of a sub-folder, else of a label by one camera) are
    asked about as one."""

    seen_by: tuple[Name, ...] = ()
    """Cameras whose gallery pictures are looked at; empty: all pictures, also those without one."""

    added_from: Unsettable[Moment] = None
    """Look at gallery pictures only that were added on this day (`2026-01-31`, UTC) or at this time
    (`2026-01-31T12:00:00Z`), or later."""

    added_until: Unsettable[Moment] = None
    """Likewise, before it."""

    rerank: bool = False
    """Order gallery pictures by k-reciprocal re-ranking among all queries."""


class ExplainSettings(Section):
    """How `explain` finds and tests what made two pictures alike."""

    method: Literal["auto", "rollout", "gradient-rollout", "grad-cam"] = "auto"
    """`auto`: gradient-rollout for a ViT, grad-cam for a ResNet. `rollout` is a ViT's too, and does
    not depend on the other picture."""

    masked_share: float = Field(default=0.2, gt=0, lt=1)
    """Of a picture's pixels that the check of an explanation blots out."""


class PostgresSettings(Section):
    """Where galleries in PostgreSQL are, and how they are searched."""

    address: Unsettable[SecretStr] = None
    """`postgresql://user@host/database`; libpq's own variables and files give what it leaves out,
    passwords best of all. Shown to nobody and in no record, since it may hold one all the same."""

    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find where a graph is searched."""

    exact_up_to: NonNegativeInt = 10_000
    """Pictures that are compared exactly, without a graph."""


class MilvusSettings(Section):
    """Where galleries in Milvus are, and how they are searched."""

    address: Unsettable[Name] = None
    """`http://host:19530`, or the path of a file for Milvus Lite."""

    token: Unsettable[SecretStr] = None
    """`user:password` or a key."""

    index: Literal["HNSW", "FLAT"] = "HNSW"


class GallerySettings(Section):
    """How vectors of known people are kept."""

    kind: Name = "filesystem"
    """`filesystem`, `postgres` or `milvus`; the latter two have names and no folders."""

    tenant: str = ""
    """Whose pictures, in a database that serves several; others' are never seen."""

    postgres: PostgresSettings = PostgresSettings()
    milvus: MilvusSettings = MilvusSettings()

    cache: Unsettable[Path] = None
    """Where galleries made of plain folders and lists are kept between runs of `identify`; unset:
    the user's cache folder."""

    use_cache: bool = True
    """Keep them at all."""

    thumbnails: bool = False
    """Keep a small JPEG of each picture, for reports where the pictures themselves are gone."""

    expire_after: Unsettable[Duration] = None
    """How long pictures are kept that are added now: `12h`, `30d`, `8w`; unset: for ever."""


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

    pictures: PositiveInt = 32
    """Most pictures of a request."""

    pixels: int = Field(default=25_000_000, gt=0, le=89_000_000)
    """Most pixels of a picture; Pillow's own limit is a little above the highest."""

    waiting: PositiveInt = 256
    """Most pictures that wait for the encoder; more are sent away for a moment."""

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


class Settings(BaseSettings):
    """All settings, merged and checked; built once by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=False,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=ENVIRONMENT_DELIMITER,
    )

    recipe: Unsettable[Name] = None
    """Name of the recipe that the defaults come from; unset: the one that goes with the encoder."""

    seed: int = Field(default=1234, ge=0, lt=2**63)
    device: Device = "auto"
    encoder: EncoderSettings
    dataset: DatasetSettings = DatasetSettings()
    index: IndexSettings = IndexSettings()
    prompts: PromptLearningRecipe = PromptLearningRecipe()
    finetuning: FineTuningRecipe = FineTuningRecipe()
    reranking: RerankingRecipe = RerankingRecipe()
    evaluation: EvaluationSettings = EvaluationSettings()
    identify: IdentifySettings = IdentifySettings()
    explain: ExplainSettings = ExplainSettings()
    gallery: GallerySettings = GallerySettings()
    service: ServiceSettings = ServiceSettings()
    run: RunSettings = RunSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (signature of the base class)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load_settings` merged and nothing else: it alone knows each key's origin."""
        return (init_settings,)
