"""Find the unreadable images of a dataset before long work, and name them all or leave them out."""

from collections.abc import Callable, Sequence

from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.services.lists import ListedDataset, ReaderAround
from reid.domain.values.counts import counted
from reid.domain.values.samples import ImageSize, Resampling, SampleList, Split, UnreadableImage
from reid.ports.dataset import Dataset, ImageReader

NUM_NAMED = 20  # bad images that an error lists; it counts all


class ScreenedDataset(ListedDataset):
    """A dataset whose bad images are all named as soon as one is met, or are in no list."""

    def __init__(self, dataset: Dataset, *, skips_bad: bool) -> None:
        """Keep the dataset; nothing is read yet.

        With `skips_bad`, a list's images are decoded in full when it is first needed, and bad ones
        left out; else all are listed, and every bad one is named when the first is met.
        """
        self._dataset = dataset
        self._skips_bad = skips_bad
        self._bad: dict[Split, tuple[UnreadableImage, ...]] = {}
        super().__init__(
            dataset.name,
            reader=_NamingReader(dataset.reader, name_all=self._name_all),
            list_split=self._list,
        )

    def left_out(self, splits: Sequence[Split] = tuple(Split)) -> tuple[UnreadableImage, ...]:
        """List the images that were left out of the lists used so far, each once."""
        if not self._skips_bad:
            return ()
        found = (bad for split in splits for bad in self._bad.get(split, ()))
        return tuple({bad.name: bad for bad in found}.values())

    def require_readable(self, splits: Sequence[Split]) -> None:
        """Decode every image in full, so that none fails during long work.

        Raises:
            DatasetError: Some cannot be read and are not to be left out; names them.
        """
        for split in splits:
            self._screen(split)
        if not self._skips_bad and any(self._bad.values()):
            raise self._refusal()

    def _list(self, split: Split) -> SampleList:
        samples = self._dataset.samples(split)
        if self._skips_bad:
            bad = {image.name for image in self._screen(split)}
            samples = tuple(sample for sample in samples if sample.name not in bad)
            if not samples:
                found = self._listed_bad()
                raise DatasetError(
                    f"not one of the {split} images of {self.name} can be read: {found}"
                )
        return SampleList(samples, self._dataset.unparsed_names(split))

    def _name_all(self) -> DatasetError | None:
        """Check every image again; None where the lists fail, or no listed image is bad."""
        self._bad.clear()
        try:
            for split in Split:
                self._screen(split)
        except DatasetError:
            return None
        return self._refusal() if any(self._bad.values()) else None

    def _screen(self, split: Split) -> tuple[UnreadableImage, ...]:
        if split not in self._bad:
            names = [sample.name for sample in self._dataset.samples(split)]
            self._bad[split] = self._dataset.reader.find_unreadable(names)
        return self._bad[split]

    def _refusal(self) -> DatasetError:
        return DatasetError(
            self._listed_bad() + "\nreplace or remove them, or leave them out by dataset.skip_bad"
        )

    def _listed_bad(self) -> str:
        found = {bad.name: bad for images in self._bad.values() for bad in images}
        lines = [f"  {bad.name}: {bad.reason}" for bad in list(found.values())[:NUM_NAMED]]
        if len(found) > NUM_NAMED:
            lines.append(f"  and {len(found) - NUM_NAMED} more (the dataset check lists all)")
        count = counted(len(found), "image")
        return "\n".join([f"{count} of {self.name} cannot be read:", *lines])


class _NamingReader(ReaderAround):
    """Names all bad images where it meets one."""

    def __init__(self, reader: ImageReader, *, name_all: Callable[[], DatasetError | None]) -> None:
        super().__init__(reader)
        self._name_all = name_all

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        try:
            return self._reader.read(names, size=size, resampling=resampling)
        except DatasetError as error:
            refusal = self._name_all()
            if refusal is None:
                raise
            raise refusal from error
