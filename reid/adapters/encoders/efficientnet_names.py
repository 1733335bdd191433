"""Names of EfficientNet's weights as the package efficientnet_pytorch writes them, and timm's."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""Blocks without expansion, which are those of the first stage."""

_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(.+)")


def rename_efficientnet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's names to weights that have the package's; return others as they are.

    The package numbers all blocks in one row, timm by stage. A stage begins where the width of a
    block's output changes: no two stages in a row have the same.
    """
    if "_conv_stem.weight" not in tensors:
        return dict(tensors)
    stages = _stages(tensors)
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if block := _BLOCK.fullmatch(name):
            number, part, rest = int(block[1]), block[2], block[3]
            stage, place = stages[number]
            parts = _OTHER_STAGES if f"_blocks.{number}._bn0.weight" in tensors else _FIRST_STAGE
            renamed[f"blocks.{stage}.{place}.{parts.get(part, part)}.{rest}"] = value
        else:
            outer, _, rest = name.partition(".")
            renamed[f"{_OUTER.get(outer, outer)}.{rest}"] = value
    return renamed


def _stages(tensors: Mapping[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Find each block's stage and its place there."""
    numbers: Iterable[int] = sorted({int(b[1]) for b in map(_BLOCK.fullmatch, tensors) if b})
    found: dict[int, tuple[int, int]] = {}
    stage, place, width = -1, 0, None
    for number in numbers:
        out_width = len(tensors[f"_blocks.{number}._project_conv.weight"])
        stage, place = (stage, place + 1) if out_width == width else (stage + 1, 0)
        found[number], width = (stage, place), out_width
    return found
