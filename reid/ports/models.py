"""The files of models on this machine, and how they come here."""

from typing import Protocol

from reid.domain.values.models import FetchedFile, ModelEntry, ModelFile


class ModelFiles(Protocol):
    """Keeps the files of models, each replaced as a whole or not at all."""

    def place_of(self, entry: ModelEntry) -> str:
        """Where the file that is given as weights is, or belongs."""

    def missing(self, entry: ModelEntry) -> tuple[ModelFile, ...]:
        """List the files of a model that are not here."""

    def download(self, entry: ModelEntry, file: ModelFile) -> None:
        """Fetch a missing file from its address; an interrupted download is continued.

        Raises:
            EncoderError: It cannot be fetched, is not what is known of it, or cannot be written.
        """

    def adopt(self, entry: ModelEntry, origin: str) -> None:
        """Copy the files of a model that the user has; `origin` is the first of them.

        The others, if any, lie beside it under their own names.

        Raises:
            EncoderError: A file is missing, is not what is known of it, or cannot be written.
        """

    def verify(self, entry: ModelEntry) -> tuple[FetchedFile, ...]:
        """Compare all files with the known digests, or else with those of their first time.

        Raises:
            EncoderError: A file is missing, or another one.
        """
