"""Every setting there is, with its type, range and default.

Commands turn these into recipes and plain values before anything inside is called.
"""

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    field_serializer,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe, RerankingRecipe
from reid.settings.fields import ByKind, Device, Duration, Name, Options, Section, Unsettable
from reid.settings.tasks import (
    EvaluationSettings,
    ExplainSettings,
    IdentifySettings,
    RunSettings,
    ServiceSettings,
)

ENVIRONMENT_PREFIX = "REID_"
ENVIRONMENT_DELIMITER = "__"
WEIGHTS_BY_NAME = ("openai", "random")


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
    """What images and prompts are described in; bf16 is bfloat16 autocast."""

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
    """Images cut by a detector, or by hand."""


class ViperSettings(Section):
    """What VIPeR takes."""

    split_seed: int = 0
    """Decides which half of the people is trained on."""


class SourceSettings(ByKind):
    """A dataset: its kind, its place, and what its kind takes in a section of the kind's name."""

    kind: Name = "market1501"
    root: Unsettable[Path] = None
    options: Options = Field(default_factory=dict)
    """Whatever else a plugged-in dataset takes."""

    msmt17: Msmt17Settings = Msmt17Settings()
    cuhk03: Cuhk03Settings = Cuhk03Settings()
    viper: ViperSettings = ViperSettings()


class DatasetSettings(SourceSettings):
    """Which images to train on and to rank."""

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
    """Leave images that cannot be read out of training and evaluation, and name them in the run's
    record; else they are an error that lists them."""

    cache_mib: NonNegativeInt = 2048
    """Memory for decoded training images, so that each is decoded once; 0: every epoch anew."""


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


class IndexSettings(ByKind):
    """How the gallery is searched."""

    kind: Name = "exact"
    annoy: AnnoySettings = AnnoySettings()
    hnsw: HnswSettings = HnswSettings()
    options: Options = Field(default_factory=dict)
    """What a plugged-in index takes."""


class PostgresSettings(Section):
    """Where galleries in PostgreSQL are, and how they are searched."""

    address: Unsettable[SecretStr] = None
    """`postgresql://user@host/database`; libpq's own variables and files give what it leaves out,
    passwords best of all. Shown to nobody and in no record, since it may hold one all the same."""

    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find where a graph is searched."""

    exact_up_to: NonNegativeInt = 10_000
    """Images that are compared exactly, without a graph."""


class MilvusSettings(Section):
    """Where galleries in Milvus are, and how they are searched."""

    address: Unsettable[Name] = None
    """`http://host:19530`, or the path of a file for Milvus Lite."""

    token: Unsettable[SecretStr] = None
    """`user:password` or a key."""

    index: Literal["HNSW", "FLAT"] = "HNSW"


class GallerySettings(ByKind):
    """How vectors of known people are kept."""

    kind: Name = "filesystem"
    """`filesystem`, `postgres`, `milvus` or a plug-in; all but the first have names, no folders."""

    tenant: str = ""
    """Whose images, in a database that serves several; others' are never seen."""

    postgres: PostgresSettings = PostgresSettings()
    milvus: MilvusSettings = MilvusSettings()
    options: Options = Field(default_factory=dict)
    """What a plugged-in engine takes."""

    cache: Unsettable[Path] = None
    """Where galleries made of plain folders and lists are kept between runs of `identify`; unset:
    the user's cache folder."""

    use_cache: bool = True
    """Keep them at all."""

    thumbnails: bool = False
    """Keep a small JPEG of each image, for reports where the images themselves are gone."""

    expire_after: Unsettable[Duration] = None
    """How long images are kept that are added now: `12h`, `30d`, `8w`; unset: until removed."""


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
