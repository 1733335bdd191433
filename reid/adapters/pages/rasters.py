"""Charts as PNG.

Text is set in the font that comes with Pillow, so that charts look alike on every machine, even
without fonts. It has the letters of English.
"""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import resvg_py
from PIL import ImageFont

_PIXELS_PER_UNIT = 2  # sharp on high-resolution displays, and in print at half a page's width


def rasterise(svg: str) -> bytes:
    """Turn an SVG document into a PNG, two pixels per unit."""
    font = ImageFont.load_default(size=_PIXELS_PER_UNIT)
    if not isinstance(font, ImageFont.FreeTypeFont) or not isinstance(font.path, BytesIO):
        raise TypeError("Pillow brings no font of its own: install a wheel of it")
    (family, _) = font.getname()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "font.ttf"
        file.write_bytes(font.path.getvalue())
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                zoom=_PIXELS_PER_UNIT,
                skip_system_fonts=True,
                font_files=[str(file)],
                sans_serif_family=family,
            )
        )
