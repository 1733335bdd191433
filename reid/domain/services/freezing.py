"""Which parameters of an encoder stand still while others learn."""

import re
from collections.abc import Sequence

from torch import nn

from reid.domain.errors import ConfigurationError
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


def frozen_parameters(encoder: TrainableEncoder, patterns: Sequence[str]) -> list[nn.Parameter]:
    """List the image tower's parameters whose names match a pattern.

    Patterns are regular expressions that are searched for anywhere in a name.

    Raises:
        ConfigurationError: A pattern matches no name, or together they leave nothing to learn.
    """
    named = dict(encoder.named_parameters())
    matched = {
        pattern: [name for name in named if re.search(pattern, name)] for pattern in patterns
    }
    for pattern, names in matched.items():
        if not names:
            raise ConfigurationError(
                f"finetuning.frozen: {pattern!r} matches no parameter of the encoder; they have "
                f"names such as {', '.join(list(named)[:3])}"
            )
    frozen = {name for names in matched.values() for name in names}
    if frozen == named.keys():
        raise ConfigurationError(
            "finetuning.frozen: every parameter of the encoder is frozen; leave out a pattern"
        )
    return [named[name] for name in sorted(frozen)]
