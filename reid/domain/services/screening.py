"""Bad pictures of a dataset: found before long work, all of them named, or left out."""

from collections.abc import Sequence

from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted
from reid.domain.values.samples import ImageSize, Resampling, Sample, Split, UnreadableImage
from reid.ports.dataset import Dataset

NUM_NAMED = 20
"""Bad pictures that an error names; it counts all."""


class ScreenedDataset:
    """A dataset that says at once which of its pictures cannot be read, or lists none of them."""

    def __init__(self, dataset: Dataset, *, skips_bad: bool) -> None:
        """Take the dataset; nothing is read yet.

        Args:
            dataset: Lists and reads.
            skips_bad: Decode a list's pictures in full when it is first asked for, and leave out
                those that cannot be read; else list all, and name every bad one as soon as the
                first is met.
        """
        self._dataset = dataset
        self._skips_bad = skips_bad
        self._bad: dict[Split, tuple[UnreadableImage, ...]] = {}

    @property
    def name(self) -> str:
        """The dataset's own name."""
        return self._dataset.name

    def left_out(self, splits: Sequence[Split] = tuple(Split)) -> tuple[UnreadableImage, ...]:
        """Name the pictures that were left out of lists that were asked for, each once."""
        if not self._skips_bad:
            return ()
        found = (bad for split in splits for bad in self._bad.get(split, ()))
        return tuple({bad.image: bad for bad in found}.values())

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split, without bad pictures where they are to be left out.

        Raises:
            DatasetError: It is missing or empty, or not one of its pictures can be read.
        """
        samples = self._dataset.samples(split)
        if not self._skips_bad:
            return samples
        bad = {picture.image for picture in self._screen(split)}
        good = tuple(sample for sample in samples if sample.image not in bad)
        if not good:
            raise DatasetError(
                f"not one of the {split} pictures of {self.name} can be read: " + self._listed()
            )
        return good

    def require_readable(self, splits: Sequence[Split]) -> None:
        """Decode every picture in full, so that none fails in the midst of long work.

        Raises:
            DatasetError: Some cannot be read and are not to be left out; names them.
        """
        for split in splits:
            self._screen(split)
        if not self._skips_bad and any(self._bad.values()):
            raise self._refusal()

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List as the dataset does."""
        return self._dataset.unparsed_names(split)

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Read as the dataset does; see the port.

        Raises:
            DatasetError: A picture cannot be read; names every other one of the dataset too.
        """
        try:
            return self._dataset.read(images, size=size, resampling=resampling)
        except DatasetError as error:
            self._bad.clear()
            try:
                for split in Split:
                    self._screen(split)
            except DatasetError:
                raise error from None
            if not any(self._bad.values()):
                raise
            raise self._refusal() from error

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode as the dataset does."""
        return self._dataset.find_unreadable(images)

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make them as the dataset does."""
        return self._dataset.thumbnails(images, height=height)

    def _screen(self, split: Split) -> tuple[UnreadableImage, ...]:
        if split not in self._bad:
            images = [sample.image for sample in self._dataset.samples(split)]
            self._bad[split] = self._dataset.find_unreadable(images)
        return self._bad[split]

    def _refusal(self) -> DatasetError:
        return DatasetError(
            self._listed()
            + "\nreplace or remove them, or leave them out by --skip-bad (dataset.skip_bad)"
        )

    def _listed(self) -> str:
        found = {bad.image: bad for pictures in self._bad.values() for bad in pictures}
        lines = [f"  {bad.image}: {bad.reason}" for bad in list(found.values())[:NUM_NAMED]]
        if len(found) > NUM_NAMED:
            lines.append(f"  and {len(found) - NUM_NAMED} more (reid dataset check lists all)")
        count = counted(len(found), "picture")
        return "\n".join([f"{count} of {self.name} cannot be read:", *lines])
