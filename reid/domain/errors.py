"""What can go wrong for the person who runs the program.

Every message says what happened, where, and what to do. A programmer's mistake is a `ValueError`
instead. Errors carry no exit codes: the command line maps classes to codes.
"""


class ReidError(Exception):
    """Something the user can mend."""


class ConfigurationError(ReidError):
    """A setting is unknown, out of range, or does not fit another one."""


class DatasetError(ReidError):
    """A folder is missing, an image cannot be read, or a list of images makes no sense."""


class CheckpointError(ReidError):
    """A run directory or checkpoint is missing, damaged, or belongs to another run."""


class EncoderError(ReidError):
    """Weights cannot be obtained or read, or do not fit the encoder."""


class VectorIndexError(ReidError):
    """An index cannot be built or searched."""


class EvaluationError(ReidError):
    """The images do not allow the evaluation asked for."""


class GalleryError(ReidError):
    """A gallery is missing, damaged, in use, or was made by another encoder."""


class NoAnswerError(GalleryError):
    """A gallery holds nobody who could be the answer to a query."""

    def __init__(self, *, place: str, name: str, advice: str) -> None:
        """Keep the parts too: a caller may know the image by another name.

        Args:
            place: The gallery.
            name: First image of the query.
            advice: What to do.
        """
        super().__init__(f"{place} holds no answer for {name}: {advice}")
        self.place = place
        self.name = name
        self.advice = advice
