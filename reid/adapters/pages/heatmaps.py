"""Explanations as an image or as a page, drawn with Pillow.

Letters: H W pixels.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from reid.adapters.pages.documents import PageFile, render
from reid.domain.errors import ConfigurationError
from reid.domain.values.explanations import DeletionCheck, ExplainedImage, Explanation

PAGE_ENDINGS = (".html", ".htm")
IMAGE_ENDING = ".png"

_MARGIN = 16
_LINE = 20
_FONT_SIZE = 14
_STOPS = ((0.0, (150, 20, 60)), (0.5, (230, 90, 30)), (1.0, (255, 230, 80)))
"""Dark red to light yellow, so that it also reads in grey and for the colour-blind."""

_OPACITY = 0.6  # opacity of the colour where the weight is 1
_DIMMED = 0.35  # brightness that remains where the weight is 0
_METHODS = {
    "rollout": "attention roll-out: where the encoder looks, whatever it compares with",
    "gradient-rollout": "attention weighted by what it adds to this similarity",
    "grad-cam": "Grad-CAM: channels weighted by what they add to this similarity",
}


def open_explanation_page(path: Path) -> PageFile[Explanation]:
    """Choose an image or a page by a file's ending.

    Raises:
        ConfigurationError: The ending is unknown, or the folder does not exist.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"the folder {path.parent} of the explanation does not exist; make it first"
        )
    ending = path.suffix.lower()
    if ending not in (*PAGE_ENDINGS, IMAGE_ENDING):
        raise ConfigurationError(
            f"{path} is neither an image ({IMAGE_ENDING}) nor a page "
            f"({', '.join(PAGE_ENDINGS)}); end its name in one of these"
        )
    if ending == IMAGE_ENDING:
        return PageFile(path, render=lambda explanation: _as_png(draw_explanation(explanation)))
    return PageFile(path, render=render_explanation)


def overlay(explained: ExplainedImage) -> Image.Image:
    """Lay the weights over an image: dark where they are 0, coloured where they are high."""
    pixels = _image(explained)
    stretched = Image.fromarray(explained.weights.numpy()).resize(
        pixels.size, Image.Resampling.BILINEAR
    )
    weights = np.asarray(stretched, dtype=np.float32).clip(0, 1)  # (H, W)
    opacity = np.float32(_OPACITY) * weights[..., None]
    dimmed = np.asarray(pixels, dtype=np.float32) * (_DIMMED + (1 - _DIMMED) * weights[..., None])
    mixed = dimmed * (1 - opacity) + _colours(weights) * opacity  # (H, W, 3)
    return Image.fromarray(mixed.round().astype(np.uint8))


def draw_explanation(explanation: Explanation) -> Image.Image:
    """Draw query and gallery image, each plain and marked, and the numbers below."""
    panels = [
        panel
        for explained in (explanation.query, explanation.gallery)
        for panel in (_image(explained), overlay(explained))
    ]
    # What Pillow's own font can draw; control characters would break the line.
    lines = [
        "".join(sign if sign.isprintable() and ord(sign) < 256 else "?" for sign in line)
        for line in _lines(explanation)
    ]
    font = ImageFont.load_default(_FONT_SIZE)
    across = sum(panel.width for panel in panels) + (len(panels) + 1) * _MARGIN
    width = max(across, *(round(font.getlength(line)) + 2 * _MARGIN for line in lines))
    height = panels[0].height + _LINE * len(lines) + 3 * _MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    left = _MARGIN
    for panel in panels:
        canvas.paste(panel, (left, _MARGIN))
        left += panel.width + _MARGIN
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        top = panels[0].height + 2 * _MARGIN + _LINE * number
        draw.text((_MARGIN, top), line, fill="black", font=font)
    return canvas


def render_explanation(explanation: Explanation) -> str:
    """Write the page, with names and labels escaped."""
    heading, *lines = _lines(explanation)
    pair = (("Query", explanation.query), ("Gallery", explanation.gallery))
    return render(
        "explanation.html",
        title="reid explain",
        assets=["page.css", "explanation.css"],
        heading=heading,
        lines=lines,
        images_of_pair=[
            (role, _named(one), _as_png(_image(one)), _as_png(overlay(one))) for role, one in pair
        ],
    )


def _lines(explanation: Explanation) -> Iterator[str]:
    cameras = "used" if explanation.are_cameras_used else "left out"
    encoder = explanation.encoder
    trust = "" if encoder.is_pretrained else " (not pretrained)"
    yield f"Similarity {explanation.similarity:.4f} (cosine)"
    for role, explained in (("query", explanation.query), ("gallery", explanation.gallery)):
        yield f"{role}: {_named(explained)}"
        yield f"  {_checked(explained.check)}"
    yield f"{explanation.method}: {_METHODS[explanation.method]}"
    yield f"{encoder.name}, weights: {encoder.weights}{trust}; cameras {cameras}"


def _named(explained: ExplainedImage) -> str:
    image = explained.image
    label = "" if image.label is None else f", label {image.label}"
    camera = "" if image.camera is None else f", camera {image.camera}"
    return f"{image.name}{label}{camera}"


def _checked(check: DeletionCheck) -> str:
    verdict = "" if check.is_passed else "; do not rely on the marks here"
    return (
        f"similarity without the {check.share:.0%} marked most {check.most_marked:.4f}, "
        f"least {check.least_marked:.4f}, drawn at random {check.random:.4f}{verdict}"
    )


def _image(explained: ExplainedImage) -> Image.Image:
    return Image.fromarray(explained.pixels.permute(1, 2, 0).contiguous().numpy())


def _colours(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colour weights in 0..1: (H, W) to (H, W, 3) in 0..255."""
    places = [place for place, _ in _STOPS]
    channels = zip(*(colour for _, colour in _STOPS), strict=True)
    mixed = [np.interp(weights, places, channel) for channel in channels]
    return np.stack(mixed, axis=-1).astype(np.float32)


def _as_png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
