"""Which parameters a stage may change."""

from reid.domain.values.encoders import Tower
from reid.ports.encoder import Encoder


def train_only(encoder: Encoder, *towers: Tower) -> None:
    """Let gradients reach these towers' parameters and no others.

    Differs from CLIP-ReID, which leaves the text tower's gradients on in stage 1: they are computed
    there and never used.
    """
    for tower in Tower:
        for _, parameter in encoder.named_parameters_of(tower):
            parameter.requires_grad_(tower in towers)
