"""All settings, with types, ranges and defaults.

The container converts them to recipes and plain values for everything inside.
"""

from pathlib import Path
from typing import Annotated, Literal

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
from reid.domain.values.samples import Resampling
from reid.settings.fields import ByKind, Count, Device, Duration, Name, Options, Section, Unsettable
from reid.settings.tasks import (
    EvaluationSettings,
    ExplainSettings,
    ExportSettings,
    IdentifySettings,
    RunSettings,
    ServiceSettings,
)

ENVIRONMENT_PREFIX = "REID_"
ENVIRONMENT_DELIMITER = "__"
Deviation = Annotated[float, Field(gt=0)]
WEIGHTS_BY_NAME = ("openai", "pretrained", "random")


class GraphSettings(Section):
    """How a graph that `reid export` did not write takes its images; unset: as presets have it."""

    channels: Unsettable[Literal["rgb", "bgr"]] = None
    range: Unsettable[Deviation] = None  # of the brightest pixel: 255 or 1
    mean: Unsettable[tuple[float, float, float]] = None
    """Subtracted from pixels in that range, in the order of `channels`; then `std` divides them.
    `[0, 0, 0]` and `[1, 1, 1]` where the graph does that itself."""
    std: Unsettable[tuple[Deviation, Deviation, Deviation]] = None
    resampling: Unsettable[Resampling] = None  # `bilinear` or `bicubic`; unset: bilinear
    batch: Unsettable[PositiveInt] = None
    """Images in each run; unset: any number, or as many as the graph fixes."""
    runtime: Unsettable[Literal["openvino", "onnx"]] = None
    """Executes the graph; unset: OpenVINO for IR, ONNX Runtime for ONNX where it is installed."""
    output: Unsettable[Name] = None  # name of the descriptor's, where there are several


class EncoderSettings(Section):
    """Which encoder to build and from which weights."""

    kind: Unsettable[Name] = None  # set by the recipe; unset where a weights file determines it
    weights: Name = "openai"
    """`openai` for CLIP's own kinds, `pretrained` for the usual download of a family such as timm,
    `random`, a tag of open_clip such as `laion2b_s34b_b79k` for its models, the path of a file, or
    else a model that `reid models list` names."""
    text_weights: Unsettable[Name] = None
    """Weights of the text tower of CLIP's own kinds, `openai` or a file; unset: as `weights`. So
    prompts can be learned for weights that have no text tower."""
    image_size: Unsettable[tuple[PositiveInt, PositiveInt]] = None
    """Height and width; unset: those of the weights file, else the kind's default."""
    stride: Unsettable[PositiveInt] = None
    """Pixels between patches of a ViT; unset: as in the weights file, else the patch size."""
    camera_embedding: bool = False  # whether every camera gets an embedding (SIE)
    camera_views: Unsettable[PositiveInt] = None
    """Embeddings of each camera in a foreign file, one for each view (CLIP-ReID on VeRi-776: 8);
    their mean is used. Unset: 1, and a file with very many is refused."""
    camera_scale: float = 1.0  # weight of the camera embedding in the sum (SIE's lambda)
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    """Activation of the transformers in both towers of `vit-b16`; a run's file overrides it. Kinds
    `open_clip:NAME` know their own.

    `quick_gelu` is right for OpenAI's weights, CLIP-ReID's, and those that open_clip tags `openai`,
    `dfn2b`, `metaclip_*`, `yfcc15m` or `cc12m`; `gelu` for its tags `laion*`, `datacomp_*` and
    `commonpool_*`, and for what open_clip trained without `-quickgelu` in the model's name.
    """
    pooling: Literal["average", "gem"] = "average"
    """How a ResNet's maps become its penultimate and final feature: by their mean, or by the
    generalised mean with exponent 3 (GeM); a run's file overrides it. A ViT has no maps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of image and prompt features; bf16 is bfloat16 autocast."""
    training_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the image encoder in stage 2; `auto`: bf16 if the accelerator multiplies in it,
    else as `precision`. Losses, weights and Adam are always in fp32."""
    compile: bool = False
    """Compile the image encoder (torch.compile) on its first run: minutes once per process, faster
    batches afterwards. Needs a C++ compiler on a CPU."""
    options: Options = Field(default_factory=dict)
    """Options of a family (timm: `width` of the descriptor) or of a plugged-in encoder."""
    graph: GraphSettings = GraphSettings()

    @property
    def has_weights_file(self) -> bool:
        """Whether `weights` is a path, or a model of the catalogue, which has a file."""
        return self.weights not in WEIGHTS_BY_NAME and not self.has_tag

    @property
    def has_tag(self) -> bool:
        """Whether `weights` is a tag of open_clip: no file, and no name of one."""
        path = Path(self.weights)
        is_name = path.name == self.weights and not path.suffix
        return is_name and (self.kind or "").startswith("open_clip:") and not path.exists()

    @model_validator(mode="after")
    def _kind_known(self) -> "EncoderSettings":
        if self.kind is None and not self.has_weights_file:
            raise ValueError("kind must be named unless weights is a file that says it")
        return self


class TeacherSettings(EncoderSettings):
    """Which encoder stage 2 learns from besides the labels (distillation)."""

    weights: Name = "none"
    """As the encoder's, of any kind, also one that cannot be trained; `none`: no teacher."""

    @property
    def is_named(self) -> bool:
        """Whether there is a teacher."""
        return self.weights.lower() != "none"

    @model_validator(mode="after")
    def _kind_known(self) -> "TeacherSettings":
        return self


class Msmt17Settings(Section):
    """Settings of MSMT17."""

    train_on_val: bool = True  # train on the validation list too, as the paper does


class Cuhk03Settings(Section):
    """Settings of CUHK03."""

    boxes: Literal["detected", "labeled"] = "detected"  # images cropped by a detector, or by hand


class ViperSettings(Section):
    """Settings of VIPeR."""

    split_seed: int = 0  # seed that selects the half of the people for training


class SourceSettings(ByKind):
    """A dataset: its kind, its root, and the settings of its kind."""

    kind: Name = "market1501"
    root: Unsettable[Path] = None
    options: Options = Field(default_factory=dict)  # options of a plugged-in dataset
    msmt17: Msmt17Settings = Msmt17Settings()
    cuhk03: Cuhk03Settings = Cuhk03Settings()
    viper: ViperSettings = ViperSettings()


class DatasetSettings(SourceSettings):
    """The images to train on and to rank."""

    also: tuple[SourceSettings, ...] = ()  # other datasets whose training lists are added

    @field_serializer("also")
    def _without_other_kinds(self, also: tuple[SourceSettings, ...]) -> list[dict[str, JsonValue]]:
        return [
            source.model_dump(mode="json", include={"kind", "root", source.kind})
            | ({"options": source.options} if source.options else {})
            for source in also
        ]

    skip_bad: bool = False
    """Leave unreadable images out of training and evaluation, and list them in the run's record;
    otherwise they are an error."""
    cache_mib: NonNegativeInt = 2048
    """Memory for decoded training images, each decoded once; 0: decoded in every epoch."""


class AnnoySettings(Section):
    """Settings of Annoy."""

    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find; determines unset `trees` and `search_k`."""
    trees: Unsettable[Count] = None
    search_k: Unsettable[Count] = None


class HnswSettings(Section):
    """Settings of HNSW."""

    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find; determines an unset `expansion`."""
    connectivity: int = Field(default=32, ge=2, le=512)
    """Links per row; more raise a low recall and take longer to build."""
    expansion: Unsettable[Count] = None


class IndexSettings(ByKind):
    """How the gallery is searched."""

    kind: Name = "exact"
    annoy: AnnoySettings = AnnoySettings()
    hnsw: HnswSettings = HnswSettings()
    options: Options = Field(default_factory=dict)  # options of a plugged-in index


class PostgresSettings(Section):
    """Where galleries in PostgreSQL are, and how they are searched."""

    address: Unsettable[SecretStr] = None
    """`postgresql://user@host/database`; libpq's variables and files complete it, preferably the
    password. Never shown or recorded, since it may contain one."""
    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of nearest neighbours to find by a graph."""
    exact_up_to: NonNegativeInt = 10_000
    """Largest number of images that is searched exactly, without a graph."""


class MilvusSettings(Section):
    """Where galleries in Milvus are, and how they are searched."""

    address: Unsettable[Name] = None  # `http://host:19530`, or the path of a file for Milvus Lite
    token: Unsettable[SecretStr] = None  # `user:password` or a key
    index: Literal["HNSW", "FLAT"] = "HNSW"


class GallerySettings(ByKind):
    """How vectors of known people are stored."""

    kind: Name = "filesystem"
    """`filesystem`, `postgres`, `milvus` or a plug-in; only the first uses folders."""
    tenant: str = ""
    """Owner of the images in a shared database; other owners' images are never visible."""
    postgres: PostgresSettings = PostgresSettings()
    milvus: MilvusSettings = MilvusSettings()
    options: Options = Field(default_factory=dict)  # options of a plugged-in engine
    cache: Unsettable[Path] = None
    """Folder for the galleries that `identify` makes from plain folders and lists; unset: the
    user's cache folder."""
    use_cache: bool = True  # whether to keep these galleries
    thumbnails: bool = False  # keep a small JPEG of each image, for reports after the image is gone
    expire_after: Unsettable[Duration] = None
    """How long to keep images added from now on: `12h`, `30d`, `8w`; unset: until removed."""


class Settings(BaseSettings):
    """All settings, merged and validated by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=False,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=ENVIRONMENT_DELIMITER,
    )

    recipe: Unsettable[Name] = None
    """Name of the recipe that sets the defaults; unset: the encoder's recipe."""
    seed: int = Field(default=1234, ge=0, lt=2**63)
    device: Device = "auto"
    encoder: EncoderSettings
    teacher: TeacherSettings = TeacherSettings()
    dataset: DatasetSettings = DatasetSettings()
    index: IndexSettings = IndexSettings()
    prompts: PromptLearningRecipe = PromptLearningRecipe()
    finetuning: FineTuningRecipe = FineTuningRecipe()
    reranking: RerankingRecipe = RerankingRecipe()
    evaluation: EvaluationSettings = EvaluationSettings()
    identify: IdentifySettings = IdentifySettings()
    explain: ExplainSettings = ExplainSettings()
    export: ExportSettings = ExportSettings()
    gallery: GallerySettings = GallerySettings()
    service: ServiceSettings = ServiceSettings()
    run: RunSettings = RunSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (signature of the base class)
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the values of `load_settings`, which knows the origin of each."""
        return (init_settings,)
