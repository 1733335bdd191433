"""Models with a name: encoders that come with the program or that others publish."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reid.domain.values.counts import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetTerms:
    """Under which terms a data set is given out."""

    name: str
    terms: str
    page: str  # address of what its authors say of it
    training_digest: str | None = None  # of its own training list, by `digest_of_samples`


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model; what is None is not published."""

    name: str
    size: int | None = None  # bytes
    digests: tuple[str, ...] = ()  # `sha256:...` or `sha384:...`, as published or computed here
    url: str | None = None  # None: it comes with the program, or has to be fetched by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScore:
    """How well a model ranks a data set's gallery, in percent, without re-ranking."""

    on: str  # key of `Catalogue.datasets`
    rank_1: float
    mean_average_precision: float | None = None
    source: str
    is_measured: bool = False  # by this project on the whole protocol; else as published

    @property
    def words(self) -> str:
        """The two measures."""
        rank = f"Rank-1 {self.rank_1:g}"
        average = self.mean_average_precision
        return rank if average is None else f"mAP {average:g}, {rank}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model of the catalogue."""

    name: str
    about: str
    licence: str  # of the weights
    training_data: str  # in words, also where its publisher says nothing
    trained_on: tuple[str, ...] = ()  # keys of `Catalogue.datasets`
    page: str  # address of what its publisher says of it, or a file of the program
    files: tuple[ModelFile, ...]  # the first one is given as weights
    parameters: int | None = None
    width: int | None = None  # of the descriptor
    image_size: tuple[int, int] | None = None  # height and width
    scores: tuple[ModelScore, ...] = ()
    by_hand: str | None = None
    """What the user has to do where no program can fetch the file; None: `files` have addresses."""
    identities: int | None = None  # rows of the classifier in the file, to recognise it by
    is_default: bool = False  # whether it answers where neither run nor weights are named

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where one's is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model of the catalogue that answers, and how good it is known to be."""

    name: str
    about: str
    standing: str  # its scores in a line, at home and elsewhere

    @property
    def words(self) -> str:
        """All of it in a line."""
        return f"{self.name} answers, {self.about}. Known of it: {self.standing}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Models by name, and the data sets that their entries refer to, by key."""

    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    datasets: Mapping[str, DatasetTerms] = field(default_factory=dict)

    def standing(self, entry: ModelEntry) -> str:
        """Say in a line how good a model is known to be, at home and elsewhere."""
        away = [
            score for score in entry.scores if entry.trained_on and score.on not in entry.trained_on
        ]
        at_home = self._told([score for score in entry.scores if score not in away])
        elsewhere = self._told(away)
        if at_home:
            return f"{at_home}; on other cameras expect far less: {elsewhere or 'not measured'}"
        where = "on cameras that it was not trained on: " if elsewhere else ""
        return f"{where}{elsewhere or 'no score is known'}"

    def terms(self, entry: ModelEntry) -> tuple[str, ...]:
        """Say under which terms weights and training data are given out."""
        return (
            f"weights: {entry.licence}",
            f"trained on: {entry.training_data}",
            *(
                f"{data.name}: {data.terms} ({data.page})"
                for data in (self.datasets[key] for key in entry.trained_on)
            ),
        )

    def _told(self, scores: list[ModelScore]) -> str:
        measured = {score.on for score in scores if score.is_measured}
        # What was measured here replaces what was published of the same data.
        return "; ".join(
            f"{self.datasets[score.on].name} {score.words}"
            f" ({'measured' if score.is_measured else 'as published'})"
            for score in scores
            if score.is_measured or score.on not in measured
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file of a model on this machine."""

    name: str
    size: int
    sha256: str
    is_as_published: bool
    """Whether it was compared with a known digest; False: its own was kept to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOutcome:
    """A model that is on this machine, and what was verified of it."""

    name: str
    place: str  # of the file that is given as weights
    files: tuple[FetchedFile, ...]
    num_downloaded: int
    num_identities: int | None = None  # found in the file, and as expected

    @property
    def words(self) -> tuple[str, ...]:
        """What was verified, a line for each file."""
        lines = [
            f"{file.name}: {counted(file.size, 'byte')}, sha256:{file.sha256}, "
            + (
                "as known"
                if file.is_as_published
                else "which is kept to compare with: no digest of it is published"
            )
            for file in self.files
        ]
        if self.num_identities is not None:
            lines.append(f"It holds a classifier of {self.num_identities} identities, as it should")
        return tuple(lines)
