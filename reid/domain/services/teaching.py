"""A stronger encoder whose descriptors another one learns in stage 2.

Letters: N training images, T the teacher's descriptor width.
"""

from dataclasses import dataclass

from torch import Tensor

from reid.domain.services.embedding import Embedder
from reid.domain.values.checkpoints import TEACHER_FORMAT, Checkpoint
from reid.domain.values.samples import Split, digest_of_samples
from reid.ports.dataset import Dataset
from reid.ports.runs import RunStore

_CHECKPOINT = "teacher"
_DESCRIPTORS = "descriptors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Describes the training images once per run; a resumed run finds the descriptors there."""

    embedder: Embedder
    runs: RunStore

    def describe(self, dataset: Dataset) -> Tensor:
        """Return the teacher's descriptors of the training images, not augmented.

        Returns:
            (N, T) float32 on the CPU, rows of unit L2 norm.

        Raises:
            CheckpointError: The run store cannot be read or written.
            DatasetError: An image cannot be read.
        """
        samples = dataset.samples(Split.TRAIN)
        description = self.embedder.encoder.description
        header = {
            "format": TEACHER_FORMAT,
            "encoder": description.name,
            "weights": description.weights,
            "dataset": digest_of_samples(samples),
        }
        kept = self.runs.load(_CHECKPOINT)
        if kept is not None and all(kept.header.get(key) == header[key] for key in header):
            return kept.tensors[_DESCRIPTORS]
        found = self.embedder.embed_samples(dataset.reader, samples, subset="teacher").vectors
        self.runs.save(_CHECKPOINT, Checkpoint(tensors={_DESCRIPTORS: found}, header=header))
        return found
