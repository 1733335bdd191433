"""Bring a model of the catalogue onto this machine, and verify it."""

from collections.abc import Callable
from dataclasses import dataclass

from reid.domain.errors import EncoderError
from reid.domain.values.models import FetchOutcome, ModelEntry
from reid.ports.models import ModelFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchModel:
    """Downloads a model, or takes the user's own copy."""

    files: ModelFiles
    count_identities: Callable[[str], int | None]
    """Counts the rows of the classifier in a weights file; None where it has none."""

    def run(self, entry: ModelEntry, *, origin: str | None = None) -> FetchOutcome:
        """Fetch what is missing, and verify all of it.

        Args:
            entry: The model.
            origin: The user's own copy of its first file, in place of a download.

        Raises:
            EncoderError: It has to be fetched by hand, cannot be fetched, or is another model.
        """
        missing = self.files.missing(entry)
        if origin is not None:
            self.files.adopt(entry, origin)
            missing = ()
        elif missing and entry.by_hand is not None:
            raise EncoderError(
                f"{entry.name} cannot be fetched by a program, but by you:\n"
                f"{entry.by_hand.strip()}\n"
                f"Or copy it to {self.files.place_of(entry)} yourself"
            )
        for file in missing:
            if file.url is None:
                raise EncoderError(
                    f"{file.name} of {entry.name} comes with the program, and is not there: "
                    "install the program again"
                )
            self.files.download(entry, file)
        verified = self.files.verify(entry)
        place = self.files.place_of(entry)
        if entry.identities is not None:
            found = self.count_identities(place)
            if found != entry.identities:
                raise EncoderError(
                    f"{place} holds {'no classifier' if found is None else f'{found} identities'}, "
                    f"and {entry.name} has one of {entry.identities}: it is another model; delete "
                    "it, and fetch the right one"
                )
        return FetchOutcome(
            name=entry.name,
            place=place,
            files=verified,
            num_downloaded=len(missing),
            num_identities=entry.identities,
        )
