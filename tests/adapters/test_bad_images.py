"""What each kind of odd or bad image means: used as what, or refused for which reason."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.images import decoding, files
from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.decoding import DECODER_ERRORS
from reid.adapters.images.decoding import decode as decode_strictly
from reid.adapters.images.folders import open_images
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Resampling, Split
from tests.builders import build_market1501
from tests.images import Pixels, bomb, decode, encode, png_chunk, scene, with_chunk

JPEG, PNG = encode(scene(), "JPEG", quality=90), encode(scene(), "PNG")
SCENE = np.asarray(scene())
ODD_NAME = os.fsdecode(b"0002_c1s1_\xff.jpg")
ORIENTATION = 0x0112

Make = Callable[[Path], object]


def written(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def exif(orientation: int) -> Image.Exif:
    marked = Image.Exif()
    marked[ORIENTATION] = orientation
    return marked


def lying() -> bytes:
    turned = scene().transpose(Image.Transpose.ROTATE_90)
    return encode(turned, "PNG", exif=exif(6))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(JPEG)
        file.truncate(files.MOST_BYTES + 1)


def huge_text() -> bytes:
    text = b"Comment\0\0" + zlib.compress(bytes(80 * 2**20), 9)
    return with_chunk(PNG, png_chunk(b"zTXt", text))


def damaged_png() -> bytes:
    place = PNG.index(b"IDAT") + 40
    return PNG[:place] + bytes([PNG[place] ^ 1]) + PNG[place + 1 :]


def with_other_checksum(content: bytes) -> bytes:
    """A PNG whose pixels unpack, but are not those of which it holds the checksum."""
    end = content.index(b"IEND") - 8
    return content[: end - 4] + bytes(byte ^ 1 for byte in content[end - 4 : end]) + content[end:]


REFUSED: dict[str, tuple[Make, str]] = {
    "truncated JPEG": (written(JPEG[:-100]), "truncated"),
    "JPEG without its last bytes": (written(JPEG[:-2]), "truncated"),
    "JPEG cut in the middle, with an end mark": (
        written(JPEG[: len(JPEG) - 60] + b"\xff\xd9"),
        "data end too early",
    ),
    "JPEG whose end is zeros": (written(JPEG[:-100] + bytes(100)), "truncated|cut short"),
    "progressive JPEG cut, with an end mark": (
        written(encode(scene(), "JPEG", progressive=True)[:-30] + b"\xff\xd9"),
        "data end too early",
    ),
    "truncated PNG": (written(PNG[: len(PNG) // 2]), "cut short"),
    "PNG without its last chunk": (written(PNG[:-12]), "cut short"),
    "PNG with a flipped bit": (written(damaged_png()), "checksum"),
    "PNG with another checksum": (written(with_other_checksum(PNG)), "checksum"),
    "truncated WEBP": (written(encode(scene(), "WEBP")[:-20]), "."),
    "truncated BMP": (written(encode(scene(), "BMP")[:-20]), "truncated"),
    "zero bytes": (lambda path: path.touch(), "not an image"),
    "zeros": (written(bytes(1000)), "not an image"),
    "text": (written(b"not an image"), "not an image"),
    "GIF": (written(encode(scene(), "GIF")), "not an image"),
    "PostScript, which starts a program": (written(encode(scene(), "EPS")), "not an image"),
    "decompression bomb": (written(bomb()), "decompression bomb"),
    "PNG that unpacks to 80 MiB of text": (written(huge_text()), "too large"),
    "JPEG followed by half a gigabyte": (huge, "512 MiB, more than any image's"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "named pipe": (lambda path: os.mkfifo(path), "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "dangling link": (lambda path: path.symlink_to("gone.jpg"), "a link to a file that is not"),
    "link to itself": (lambda path: path.symlink_to(path.name), "a link to a file that is not"),
}
"""By kind: how to make it at a path that ends in `.jpg`, and the reason that is given."""


@pytest.mark.parametrize(("make", "reason"), list(REFUSED.values()), ids=list(REFUSED))
@pytest.mark.parametrize("is_fast", [True, False], ids=["simplejpeg", "Pillow alone"])
def test_a_bad_image_is_refused_by_name_and_reason_and_hides_no_other(
    make: Make,
    reason: str,
    *,
    is_fast: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "IS_FAST", is_fast and decoding.IS_FAST)
    make(tmp_path / "bad.jpg")
    (tmp_path / "good.jpg").write_bytes(JPEG)
    files = ImageFiles(tmp_path)
    (found,) = files.find_unreadable(["good.jpg", "bad.jpg"])
    assert found.name == "bad.jpg"
    with pytest.raises(DatasetError, match=rf"bad\.jpg cannot be read: .*({reason})"):
        files.read(["good.jpg", "bad.jpg"], size=ImageSize(8, 4), resampling=Resampling.BILINEAR)
    small = files.thumbnails(["good.jpg", "bad.jpg"], height=8)
    assert [content is None for content in small] == [False, True]


def sixteen_bits() -> Image.Image:
    levels = np.arange(40 * 20, dtype=np.uint16).reshape(40, 20) * 80
    return Image.fromarray(levels)


def transparent() -> Image.Image:
    image = scene().convert("RGBA")
    image.putalpha(0)
    return image


GREY = np.asarray(scene().convert("L").convert("RGB"))
PALETTE = scene().convert("P", palette=Image.Palette.ADAPTIVE)
USED: dict[str, tuple[bytes, Pixels]] = {
    "PNG that is called JPEG": (PNG, SCENE),
    "grey": (encode(scene().convert("L"), "PNG"), GREY),
    "palette": (encode(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "palette with one transparent colour": (
        encode(PALETTE, "PNG", transparency=0),
        np.asarray(PALETTE.convert("RGB")),
    ),
    "transparent: the colours below count": (encode(transparent(), "PNG"), SCENE),
    "16 bits of grey: the upper 8": (
        encode(sixteen_bits(), "PNG"),
        np.repeat((np.asarray(sixteen_bits()) >> 8).astype(np.uint8)[:, :, None], 3, axis=2),
    ),
    "CMYK": (
        encode(scene().convert("CMYK"), "JPEG"),
        decode(encode(scene().convert("CMYK"), "JPEG")),
    ),
    "lying on its side, says Exif: upright": (lying(), SCENE),
    "1 x 1": (encode(scene(height=1, width=1), "PNG"), np.asarray(scene(height=1, width=1))),
    "half a megabyte of text": (
        with_chunk(PNG, png_chunk(b"tEXt", b"Comment\0" + b"x" * 2**19)),
        SCENE,
    ),
    "bytes behind the end": (JPEG + b"more" * 100, decode(JPEG)),
    "JPEG with restarts": (
        encode(scene(), "JPEG", restart_marker_blocks=1),
        decode(encode(scene(), "JPEG", restart_marker_blocks=1)),
    ),
    "progressive": (
        encode(scene(), "JPEG", progressive=True),
        decode(encode(scene(), "JPEG", progressive=True)),
    ),
}
"""By kind: the file's content, and the pixels that are meant."""


@pytest.mark.parametrize(("content", "expected"), list(USED.values()), ids=list(USED))
@pytest.mark.parametrize("is_fast", [True, False], ids=["simplejpeg", "Pillow alone"])
def test_an_odd_image_is_used_as_what_it_shows(
    content: bytes,
    expected: Pixels,
    *,
    is_fast: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "IS_FAST", is_fast and decoding.IS_FAST)
    (tmp_path / "odd.jpg").write_bytes(content)
    files = ImageFiles(tmp_path)
    assert files.find_unreadable(["odd.jpg"]) == ()
    size = ImageSize(*expected.shape[:2])
    read = files.read(["odd.jpg"], size=size, resampling=Resampling.BILINEAR)
    assert np.array_equal(read[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("is_fast", [True, False], ids=["simplejpeg", "Pillow alone"])
def test_a_jpeg_cut_anywhere_is_never_used_even_with_an_end_mark(
    options: dict[str, object], *, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IS_FAST", is_fast and decoding.IS_FAST)
    whole = encode(scene(), "JPEG", quality=60, **options)
    shown = decode(whole)
    used = 0
    for place in range(2, len(whole) - 2):
        try:
            read = decode_strictly(whole[:place] + b"\xff\xd9")
        except DECODER_ERRORS:
            continue
        used += 1
        assert np.array_equal(read, shown), f"half decoded: {place} of {len(whole)} bytes"
    assert used <= 2


def test_a_name_that_is_not_utf8_is_listed_as_it_can_be_written_and_refused(
    tmp_path: Path,
) -> None:
    root = build_market1501(tmp_path / "market")
    (root / "bounding_box_train" / ODD_NAME).write_bytes(JPEG)
    dataset = Market1501(root)
    names = [sample.name for sample in dataset.samples(Split.TRAIN)]
    (found,) = dataset.reader.find_unreadable(names)
    assert found.name == r"bounding_box_train/0002_c1s1_\xff.jpg"
    assert found.reason == "its name is not UTF-8; rename it"


def test_images_below_a_folder_whose_name_is_not_utf8_are_listed_and_refused(
    tmp_path: Path,
) -> None:
    home = tmp_path / os.fsdecode(b"J\xf6rg")
    home.mkdir()
    (home / "a.jpg").write_bytes(JPEG)
    source = open_images(tmp_path)
    (image,) = source.images()
    assert image.name == r"J\xf6rg/a.jpg"
    (found,) = source.reader.find_unreadable([image.name])
    assert found.reason == "its name is not UTF-8; rename it"
    assert open_images(home).place.endswith(r"J\xf6rg")


def test_a_sub_folder_that_cannot_be_listed_is_an_error_not_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(JPEG)
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("bob"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"bob cannot be listed: Permission denied"):
        open_images(tmp_path).images()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_no_whole_jpeg_is_taken_for_a_cut_one(
    *, mode: str, progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IS_FAST", False)
    for seed, (height, width) in enumerate([(1, 1), (16, 16), (17, 9), (128, 64), (31, 50)]):
        for subsampling in (0, 1, 2):
            for restarts in (0, 1, 3):
                content = encode(
                    scene(height=height, width=width, seed=seed).convert(mode),
                    "JPEG",
                    quality=30 + 20 * subsampling,
                    subsampling=subsampling,
                    restart_marker_blocks=restarts,
                    progressive=progressive,
                )
                assert np.array_equal(decode_strictly(content), decode(content))
