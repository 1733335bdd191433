"""The fast ways to pixels give the bytes that Pillow gives."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reid.adapters.images import decoding
from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.decoding import decode_plain_jpeg
from reid.adapters.images.resizing import LARGEST_BATCHED_FACTOR, resize
from reid.domain.values.samples import ImageSize, Resampling

needs_simplejpeg = pytest.mark.skipif(
    not decoding.IS_FAST, reason="the extra `fast` is not installed: pip install 'clip-reid[fast]'"
)
Pixels = NDArray[np.uint8]


def noise(height: int, width: int, *, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_jpeg(pixels: Pixels, *, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def decode_by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


# Resizing


@pytest.mark.parametrize("factor", range(1, LARGEST_BATCHED_FACTOR + 1))
def test_every_pair_of_bytes_is_enlarged_as_by_pillow(factor: int) -> None:
    byte = np.arange(256, dtype=np.uint8)
    pairs = np.stack(np.meshgrid(byte, byte, indexing="ij"), axis=-1).reshape(-1, 2)
    rows = np.repeat(pairs[:, :, None], 3, axis=2)  # (65536, 2, 3): pairs lie side by side
    size = ImageSize(height=len(rows), width=2 * factor)
    (wide,) = resize([rows], size=size, resampling=Resampling.BILINEAR)
    expected = Image.fromarray(rows).resize((size.width, size.height), Image.Resampling.BILINEAR)
    assert np.array_equal(wide, np.asarray(expected))
    columns = rows.transpose(1, 0, 2)  # one above the other
    size = ImageSize(height=2 * factor, width=len(rows))
    (tall,) = resize([columns], size=size, resampling=Resampling.BILINEAR)
    assert np.array_equal(tall, wide.transpose(1, 0, 2))


@pytest.mark.parametrize("resampling", list(Resampling))
@pytest.mark.parametrize(
    "shapes",
    [[(128, 64)] * 5, [(64, 64)] * 3, [(256, 128)] * 2, [(90, 31)] * 3, [(128, 64), (64, 32)]],
    ids=["twice", "4 x 2", "same", "odd", "mixed"],
)
def test_any_images_are_resized_as_by_pillow(
    shapes: list[tuple[int, int]], resampling: Resampling
) -> None:
    images = [noise(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    resized = resize(images, size=ImageSize(256, 128), resampling=resampling)
    filters = {
        Resampling.BILINEAR: Image.Resampling.BILINEAR,
        Resampling.BICUBIC: Image.Resampling.BICUBIC,
    }
    for image, row in zip(images, resized, strict=True):
        expected = Image.fromarray(image).resize((128, 256), filters[resampling])
        assert np.array_equal(row, np.asarray(expected))


# JPEGs


@needs_simplejpeg
@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("shape", [(128, 64), (33, 17), (200, 301)])
def test_a_plain_jpeg_has_pillows_pixels(
    shape: tuple[int, int], quality: int, subsampling: int
) -> None:
    data = as_jpeg(noise(*shape), quality=quality, subsampling=subsampling)
    decoded = decode_plain_jpeg(data)
    assert decoded is not None
    assert np.array_equal(decoded, decode_by_pillow(data))


@needs_simplejpeg
@pytest.mark.parametrize(
    "data",
    [
        as_jpeg(noise(128, 64), progressive=True),
        as_jpeg(noise(128, 64), mode="L"),
        as_jpeg(noise(128, 64), mode="CMYK"),
        as_jpeg(noise(128, 64), exif=Image.Exif()),
        as_jpeg(noise(128, 64), xmp=b"<x:xmpmeta/>"),
        as_jpeg(noise(128, 64))[:-400],
        as_jpeg(noise(128, 64))[:-2],
        b"\xff\xd8\xff\xc0",
        b"",
    ],
    ids=["progressive", "grey", "CMYK", "Exif", "XMP", "cut", "no end", "header", "empty"],
)
def test_everything_else_is_left_to_pillow(data: bytes) -> None:
    assert decode_plain_jpeg(data) is None


@needs_simplejpeg
def test_what_is_decoded_of_damaged_data_is_what_pillow_decodes() -> None:
    whole, random = as_jpeg(noise(64, 32)), np.random.default_rng(7)
    num_decoded = 0
    for _ in range(1000):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(0, 256)
        decoded = decode_plain_jpeg(bytes(damaged))
        if decoded is not None:
            num_decoded += 1
            assert np.array_equal(decoded, decode_by_pillow(bytes(damaged)))
    assert num_decoded > 0


@needs_simplejpeg
def test_a_suspiciously_large_jpeg_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = as_jpeg(noise(40, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 799)
    assert decode_plain_jpeg(data) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_plain_jpeg(data) is not None


def test_without_simplejpeg_pixels_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(as_jpeg(noise(128, 64)))
    files, size = ImageFiles(tmp_path), ImageSize(256, 128)
    fast = files.read(["a.jpg"], size=size, resampling=Resampling.BICUBIC)
    monkeypatch.setattr(decoding, "IS_FAST", False)
    slow = files.read(["a.jpg"], size=size, resampling=Resampling.BICUBIC)
    assert fast.equal(slow)


# Decoding once


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(as_jpeg(noise(8, 4, seed=number)))
    return tmp_path


def readable_after(change: Callable[[Path], object], files: ImageFiles, shelf: Path) -> set[str]:
    """Change the files behind the reader's back and see what it can give all the same."""
    names = [f"{number}.jpg" for number in range(3)]
    for name in names:
        change(shelf / name)
    unreadable = {one.name for one in ImageFiles(shelf).find_unreadable(names)}
    assert unreadable == set(names)
    kept = set()
    for name in names:
        try:
            files.read([name], size=ImageSize(8, 4), resampling=Resampling.BILINEAR)
        except Exception:  # noqa: BLE001 - which error it is, others test
            continue
        kept.add(name)
    return kept


def test_what_was_checked_is_read_without_decoding_again(shelf: Path) -> None:
    files = ImageFiles(shelf, num_kept_bytes=2 * 8 * 4 * 3)
    names = ["0.jpg", "1.jpg", "2.jpg"]
    assert files.find_unreadable(names) == ()
    kept = readable_after(Path.unlink, files, shelf)
    assert len(kept) == 2, "two images fill the memory"


def test_what_is_kept_is_given_once_and_makes_room(shelf: Path) -> None:
    files = ImageFiles(shelf, num_kept_bytes=8 * 4 * 3)
    size = ImageSize(8, 4)
    for name in ("0.jpg", "1.jpg"):
        assert files.find_unreadable([name]) == ()
        with Image.open(shelf / name) as image:
            expected = np.asarray(image)
        for _ in range(2):  # from memory, then from the file
            pixels = files.read([name], size=size, resampling=Resampling.BILINEAR)
            assert np.array_equal(pixels[0].permute(1, 2, 0).numpy(), expected)


def test_nothing_is_kept_unless_asked_for(shelf: Path) -> None:
    files = ImageFiles(shelf)
    assert files.find_unreadable(["0.jpg", "1.jpg", "2.jpg"]) == ()
    assert readable_after(Path.unlink, files, shelf) == set()
