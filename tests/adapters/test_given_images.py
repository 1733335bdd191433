"""Images handed over by programs and by untrusted clients."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from reid.adapters.images.given import GivenImages, ImageIntake, give_images
from reid.domain.errors import DatasetError
from reid.domain.services.enrolment import THUMBNAIL_HEIGHT
from reid.domain.values.samples import ImageSize, ListedImage, Resampling

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
    source = give_images([path, png(), pixels()], place="here")
    names = [image.name for image in source.images()]
    read = source.reader.read(names, size=SIZE, resampling=Resampling.BILINEAR)
    assert torch.equal(read[0], read[1])
    assert torch.equal(read[0], read[2])
    digests = source.reader.content_digests(names)
    assert digests[0] == digests[1] != digests[2]
    assert source.reader.find_unreadable(names) == ()
    assert all(source.reader.thumbnails(names, height=8))


def test_what_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    source = give_images([tmp_path / "none.png", b"no image"], place="here")
    names = [image.name for image in source.images()]
    assert [bad.name for bad in source.reader.find_unreadable(names)] == names
    assert source.reader.content_digests(names)[0] == ""
    with pytest.raises(DatasetError, match=r"none\.png cannot be read: no such file"):
        source.reader.read(names[:1], size=SIZE, resampling=Resampling.BILINEAR)


def test_an_unknown_person_s_image_waits_in_the_encoder_s_size_and_is_the_same_there() -> None:
    content = png(height=300, width=100)
    intake = ImageIntake(size=SIZE, max_pixels=30_000, keeps_thumbnails=True)
    taken = intake.take(content, ListedImage(name="a", label="anna"))
    whole = give_images([content], place="here")
    names = [image.name for image in whole.images()]
    source = GivenImages([taken], place="an unknown person")
    assert torch.equal(
        source.reader.read(["a"], size=SIZE, resampling=Resampling.BILINEAR),
        whole.reader.read(names, size=SIZE, resampling=Resampling.BILINEAR),
    )
    assert source.reader.content_digests(["a"]) == whole.reader.content_digests(names)
    small = whole.reader.thumbnails(names, height=THUMBNAIL_HEIGHT)
    assert source.reader.thumbnails(["a"], height=THUMBNAIL_HEIGHT) == small
    assert source.images() == (ListedImage(name="a", label="anna"),)


def test_an_image_of_too_many_pixels_is_refused_by_its_header() -> None:
    content = png(height=300, width=100)
    header_only = content[:60]
    with pytest.raises(DatasetError, match="100 x 300 pixels, more than the 29,999"):
        ImageIntake(size=SIZE, max_pixels=29_999).take(header_only, ListedImage(name="a"))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "TGA", "EPS"])
def test_unknown_people_may_send_few_kinds_of_images(kind: str) -> None:
    content = BytesIO()
    Image.fromarray(pixels()).save(content, kind)
    with pytest.raises(DatasetError, match="send an image"):
        ImageIntake(size=SIZE, max_pixels=10_000).take(content.getvalue(), ListedImage(name="a"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    content = BytesIO()
    Image.fromarray(pixels()).save(content, kind)
    cut = content.getvalue()[: len(content.getvalue()) // 2]
    intake = ImageIntake(size=SIZE, max_pixels=10_000)
    intake.take(content.getvalue(), ListedImage(name="a"))
    with pytest.raises(DatasetError, match="a cannot be read"):
        intake.take(cut, ListedImage(name="a"))
