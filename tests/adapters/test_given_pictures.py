"""Pictures handed over by programs and by strangers."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from reid.adapters.images.given import GivenPictures, PictureIntake, give_pictures
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Picture, Resampling

SIZE = ImageSize(16, 8)


def pixels(*, height: int = 40, width: int = 20, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(*, height: int = 40, width: int = 20, seed: int = 0) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels(height=height, width=width, seed=seed)).save(content, "PNG")
    return content.getvalue()


def test_a_path_a_content_and_pixels_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    source = give_pictures([path, png(), pixels()], place="here")
    images = [picture.image for picture in source.pictures()]
    read = source.reader.read(images, size=SIZE, resampling=Resampling.BILINEAR)
    assert torch.equal(read[0], read[1])
    assert torch.equal(read[0], read[2])
    digests = source.reader.content_digests(images)
    assert digests[0] == digests[1] != digests[2]
    assert source.reader.find_unreadable(images) == ()
    assert all(source.reader.thumbnails(images, height=8))


def test_what_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    source = give_pictures([tmp_path / "none.png", b"no picture"], place="here")
    images = [picture.image for picture in source.pictures()]
    assert [bad.image for bad in source.reader.find_unreadable(images)] == images
    assert source.reader.content_digests(images)[0] == ""
    with pytest.raises(DatasetError, match=r"none\.png cannot be read: no such file"):
        source.reader.read(images[:1], size=SIZE, resampling=Resampling.BILINEAR)


def test_a_stranger_s_picture_waits_in_the_encoder_s_size_and_is_the_same_there() -> None:
    content = png(height=300, width=100)
    intake = PictureIntake(size=SIZE, max_pixels=30_000, thumbnail_height=32)
    taken = intake.take(content, Picture(image="a", label="anna"))
    whole = give_pictures([content], place="here")
    names = [picture.image for picture in whole.pictures()]
    source = GivenPictures([taken], place="a stranger")
    assert torch.equal(
        source.reader.read(["a"], size=SIZE, resampling=Resampling.BILINEAR),
        whole.reader.read(names, size=SIZE, resampling=Resampling.BILINEAR),
    )
    assert source.reader.content_digests(["a"]) == whole.reader.content_digests(names)
    assert source.reader.thumbnails(["a"], height=32) == whole.reader.thumbnails(names, height=32)
    assert source.pictures() == (Picture(image="a", label="anna"),)


def test_a_picture_of_too_many_pixels_is_refused_by_its_header() -> None:
    content = png(height=300, width=100)
    header_only = content[:60]
    with pytest.raises(DatasetError, match="100 x 300 pixels, more than the 29,999"):
        PictureIntake(size=SIZE, max_pixels=29_999).take(header_only, Picture(image="a"))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "TGA", "EPS"])
def test_strangers_may_send_few_kinds_of_pictures(kind: str) -> None:
    content = BytesIO()
    Image.fromarray(pixels()).save(content, kind)
    with pytest.raises(DatasetError, match="send a picture"):
        PictureIntake(size=SIZE, max_pixels=10_000).take(content.getvalue(), Picture(image="a"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    content = BytesIO()
    Image.fromarray(pixels()).save(content, kind)
    cut = content.getvalue()[: len(content.getvalue()) // 2]
    intake = PictureIntake(size=SIZE, max_pixels=10_000)
    intake.take(content.getvalue(), Picture(image="a"))
    with pytest.raises(DatasetError, match="a cannot be read"):
        intake.take(cut, Picture(image="a"))
