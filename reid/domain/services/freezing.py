"""Which parameters a stage may change."""

from reid.ports.image_encoder import TrainableEncoder


def freeze_text(encoder: TrainableEncoder, *, freezes_images: bool = False) -> None:
    """Let gradients reach the image tower's parameters at most, and none of the text tower's.

    Differs from CLIP-ReID, which leaves the text tower's gradients on in stage 1: they are computed
    there and never used.
    """
    for _, parameter in encoder.named_parameters():
        parameter.requires_grad = not freezes_images
    if encoder.text is not None:
        for _, parameter in encoder.text.named_parameters():
            parameter.requires_grad = False
