"""People cut out of frames by boxes.

Letters: K boxes, H W pixels of a frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid.domain.errors import DatasetError

_FORM = "give (K, 4) numbers x1, y1, x2, y2 in pixels, or supervision's Detections"


class Box(NamedTuple):
    """A box inside a frame, in whole pixels; right and bottom are outside it."""

    left: int
    top: int
    right: int
    bottom: int

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Copy the box's pixels out of a frame."""
        return frame[self.top : self.bottom, self.left : self.right].copy()

    def __str__(self) -> str:
        """Write as part of an image's name."""
        return ",".join(map(str, self))


def boxes_by_image(boxes: object, *, num_images: int, is_single: bool) -> Sequence[object]:
    """Return the boxes of each image, as they were given.

    One image has all the boxes; of many, each has one entry.

    Raises:
        DatasetError: There is not one entry for each image.
    """
    if is_single:
        return [boxes]
    is_list = hasattr(boxes, "__len__") and hasattr(boxes, "__getitem__")
    if hasattr(boxes, "xyxy") or not is_list or len(boxes) != num_images:  # type: ignore[arg-type]
        count = f"{len(boxes)} entries" if is_list else type(boxes).__name__  # type: ignore[arg-type]
        raise DatasetError(
            f"boxes of {num_images} images must be a list of one entry for each image, got "
            f"{count}: {_FORM} in each entry"
        )
    return boxes  # type: ignore[return-value]


def boxes_in(
    frame: NDArray[np.uint8], boxes: object, *, padding: float, what: str
) -> tuple[Box, ...]:
    """Read a frame's boxes, widen each by a share of its size, and clip it to the frame.

    Args:
        frame: (H, W, 3).
        boxes: (K, 4) numbers x1, y1, x2, y2 in pixels, one such box, or an object that has them as
            `xyxy`, such as supervision's Detections. A part of a pixel counts as a whole one.
        padding: Added on each side, as a share of the box's width or height.
        what: What errors call the frame.

    Raises:
        DatasetError: A box is empty, outside the frame, or not made of numbers.
    """
    height, width = frame.shape[:2]
    found = []
    for number, box in enumerate(_table(boxes, what=what)):
        _require_inside(box, f"box {number} of {what}", height=height, width=width)
        x1, y1, x2, y2 = box.tolist()
        across, down = padding * (x2 - x1), padding * (y2 - y1)
        found.append(
            Box(
                left=max(0, int(np.floor(x1 - across))),
                top=max(0, int(np.floor(y1 - down))),
                right=min(width, int(np.ceil(x2 + across))),
                bottom=min(height, int(np.ceil(y2 + down))),
            )
        )
    return tuple(found)


def _table(boxes: object, *, what: str) -> NDArray[np.float64]:
    found = getattr(boxes, "xyxy", boxes)
    on_cpu = getattr(found, "cpu", None)  # detectors return tensors, which may be elsewhere
    try:
        table = np.asarray(on_cpu() if on_cpu else found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"the boxes of {what} are no table of numbers ({error}): {_FORM}"
        ) from error
    if table.ndim in (1, 2) and table.size == 0:
        return np.empty((0, 4))
    if table.shape == (4,):
        table = table[None]
    if table.ndim != 2 or table.shape[1] != 4:
        got = "None" if boxes is None else f"an array of {table.shape}"
        raise DatasetError(f"the boxes of {what} are {got}: {_FORM}")
    return table


def _require_inside(box: NDArray[np.float64], what: str, *, height: int, width: int) -> None:
    x1, y1, x2, y2 = box.tolist()
    text = f"{what}, {x1:g} {y1:g} {x2:g} {y2:g},"
    if not np.isfinite(box).all():
        raise DatasetError(f"{text} is not made of numbers: leave it out")
    if x1 >= x2 or y1 >= y2:
        raise DatasetError(
            f"{text} is empty: a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2, not x, y, width, "
            "height"
        )
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise DatasetError(f"{text} lies outside the frame of {width} x {height} pixels")
    if min(x1, y1) >= 0 and max(x2, y2) <= 1 and min(height, width) > 1:
        raise DatasetError(
            f"{text} is at most one pixel: give pixels, not shares of the frame's width and height"
        )
