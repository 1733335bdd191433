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
    source = give_images([path, png(), pixels()])
    names = [image.name for image in source.images()]
    read = source.reader.read(names, size=SIZE, resampling=Resampling.BILINEAR)
    assert torch.equal(read[0], read[1])
    assert torch.equal(read[0], read[2])
    digests = source.reader.content_digests(names)
    assert digests[0] == digests[1] != digests[2]
    assert source.reader.find_unreadable(names) == ()
    assert all(source.reader.thumbnails(names, height=8))


def test_what_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    source = give_images([tmp_path / "none.png", b"no image"])
    names = [image.name for image in source.images()]
    assert [bad.name for bad in source.reader.find_unreadable(names)] == names
    assert source.reader.content_digests(names)[0] == ""
    with pytest.raises(DatasetError, match=r"none\.png cannot be read: no such file"):
        source.reader.read(names[:1], size=SIZE, resampling=Resampling.BILINEAR)


def test_an_unknown_person_s_image_waits_in_the_encoder_s_size_and_is_the_same_there() -> None:
    content = png(height=300, width=100)
    intake = ImageIntake(size=SIZE, max_pixels=30_000, keeps_thumbnails=True)
    taken = intake.take(content, ListedImage(name="a", label="anna"))
    whole = give_images([content])
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


def read(source: GivenImages, *, size: ImageSize = SIZE) -> torch.Tensor:
    names = [image.name for image in source.images()]
    return source.reader.read(names, size=size, resampling=Resampling.BILINEAR)


def test_every_form_of_an_image_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    with path.open("rb") as opened, Image.open(path) as lazy:
        forms = [
            *(path, str(path), png(), bytearray(png()), memoryview(png()), BytesIO(png()), opened),
            *(lazy, Image.fromarray(pixels()), pixels(), pixels() / 255),
            (pixels() / 255).astype(np.float32),
        ]
        together = read(give_images(forms))
    assert len(together) == len(forms) == 12
    assert (together == together[0]).all()
    for form in forms[:5]:
        assert torch.equal(read(give_images(form)), together[:1])


def test_bgr_pixels_are_turned_and_files_are_not() -> None:
    swapped = pixels()[:, :, ::-1]
    expected = read(give_images(pixels()))
    assert torch.equal(read(give_images(swapped, channels="bgr")), expected)
    assert torch.equal(read(give_images(swapped / 255, channels="bgr")), expected)
    assert torch.equal(read(give_images(png(), channels="bgr")), expected)
    assert torch.equal(read(give_images(Image.fromarray(pixels()), channels="bgr")), expected)
    assert not torch.equal(read(give_images(swapped)), expected)


def test_a_pil_image_is_turned_upright_and_to_rgb() -> None:
    content = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(content, "PNG", exif=exif)
    lying = Image.open(BytesIO(content.getvalue()))
    expected = read(give_images(np.ascontiguousarray(np.rot90(pixels(), k=-1))))
    assert torch.equal(read(give_images(lying)), expected)
    grey = Image.fromarray(pixels()[:, :, 0])
    assert torch.equal(
        read(give_images(grey)), read(give_images(np.stack([np.asarray(grey)] * 3, axis=2)))
    )


def test_an_array_of_many_images_is_many() -> None:
    many = np.stack([pixels(seed=seed) for seed in range(3)])
    assert torch.equal(read(give_images(many)), read(give_images(list(many))))
    assert torch.equal(read(give_images(many / 255)), read(give_images(many)))
    assert len(read(give_images(many[:1]))) == 1


def test_equal_images_are_two_unless_they_are_wanted_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    taken = tmp_path / "a.png (2)"
    taken.write_bytes(png(seed=1))
    listed = [path, taken, path, pixels(), pixels(), pixels()]
    source = give_images(listed)
    names = [image.name for image in source.images()]
    assert names[:3] == [str(path), str(taken), f"{path} (3)"]
    assert names[4:] == [f"{names[3]} (2)", f"{names[3]} (3)"]
    assert torch.equal(read(source)[[0, 3]], read(source)[[2, 5]])
    assert len(give_images(listed, once=True).images()) == 3


class Text:
    def read(self) -> str:
        return "text"


class Tensor:
    """As torch's, which is no array."""

    permute = numpy = None


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (None, "the image is None: cv2.imread returns None for a file that it cannot read"),
        ([pixels(), None], "image 1 is None"),
        (7, "the image is of the type int: give a path"),
        ({"a": 1}, "the image is of the type dict"),
        ([pixels(), [pixels()]], "image 1 is of the type list"),
        (Tensor(), r"torch\.Tensor: give an array, \(H, W, 3\)"),
        (torch.zeros(3, 8, 4), "torch.Tensor"),
        (pixels()[:, :, 0], r"array of \(40, 20\) uint8: .*repeat grey"),
        (pixels().transpose(2, 0, 1), r"channels come last: transpose\(1, 2, 0\)"),
        (np.zeros((8, 4, 4), dtype=np.uint8), "alpha"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((2, 2, 8, 4, 3), dtype=np.uint8), r"\(2, 2, 8, 4, 3\)"),
        (pixels().astype(np.int64), "array of int64: pixels must be uint8"),
        (pixels().astype(np.float32), r"floats in 0\.\.255"),
        (np.full((8, 4, 3), np.nan), r"floats in nan\.\.nan"),
        (Text(), "opened as text: open it as 'rb'"),
        (BytesIO(b""), r"nothing left to read: seek\(0\)"),
        ([], "no image was given"),
        (np.zeros((0, 8, 4, 3), dtype=np.uint8), "no image was given"),
    ],
)
def test_what_is_no_image_is_refused_with_advice(image: object, why: str) -> None:
    with pytest.raises(DatasetError, match=why):
        give_images(image)


def test_closed_files_and_damaged_images_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as opened:
        opened.write(png()[:-200])
    lazy = Image.open(BytesIO(png()[:-200]))
    with pytest.raises(DatasetError, match="an open file, cannot be read"):
        give_images(opened)
    with pytest.raises(DatasetError, match="a PIL image, cannot be read"):
        give_images(lazy)
    with pytest.raises(DatasetError, match="channels='BGR' is no order of colours"):
        give_images(pixels(), channels="BGR")


class Detections:
    """As supervision has them."""

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        self.xyxy = np.array(boxes, dtype=np.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, row: int) -> "Detections":
        return Detections(tuple(self.xyxy[row]))


FRAME = pixels(height=100, width=80)


@pytest.mark.parametrize(
    "boxes",
    [
        [[10, 20, 30, 60], [-5.5, 70.2, 20.4, 400]],
        np.array([[10, 20, 30, 60], [-5.5, 70.2, 20.4, 400]]),
        Detections((10, 20, 30, 60), (-5.5, 70.2, 20.4, 400)),
        torch.tensor([[10, 20, 30, 60], [-5.5, 70.2, 20.4, 400]]),
    ],
    ids=["list", "array", "detections", "tensor"],
)
def test_boxes_are_cut_out_and_clipped(boxes: object) -> None:
    crops = [FRAME[20:60, 10:30], FRAME[70:100, 0:21]]
    assert torch.equal(read(give_images(FRAME, boxes=boxes)), read(give_images(crops)))
    assert torch.equal(read(give_images([FRAME], boxes=[boxes])), read(give_images(crops)))


def test_padding_widens_boxes_and_stays_in_the_frame() -> None:
    padded = give_images(FRAME, boxes=[10, 20, 30, 60], padding=0.5)
    assert torch.equal(read(padded), read(give_images(FRAME[0:80, 0:40])))
    for padding in (-0.1, float("nan"), float("inf")):
        with pytest.raises(DatasetError, match="padding="):
            give_images(FRAME, boxes=[10, 20, 30, 60], padding=padding)


def test_many_frames_have_a_list_of_boxes_each() -> None:
    other = pixels(height=100, width=80, seed=1)
    boxes = [[[0, 0, 8, 16], [8, 0, 16, 16]], [], [4, 4, 12, 20]]
    expected = read(give_images([FRAME[:16, :8], FRAME[:16, 8:16], other[4:20, 4:12]]))
    assert torch.equal(read(give_images([FRAME, FRAME, other], boxes=boxes)), expected)
    many = np.stack([FRAME, other])
    assert len(read(give_images(many, boxes=np.array([[0, 0, 8, 16], [0, 0, 8, 16]])))) == 2


def test_a_crop_of_a_file_is_named_by_the_file_and_the_box(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    Image.fromarray(FRAME).save(path)
    source = give_images(path, boxes=[[10, 20, 30, 60]])
    assert [image.name for image in source.images()] == [f"{path}#10,20,30,60"]
    assert torch.equal(read(source), read(give_images(FRAME[20:60, 10:30])))


def test_a_frame_without_people_gives_no_image() -> None:
    nobody: list[object] = [[], np.empty((0, 4)), Detections()]
    for boxes in nobody:
        assert give_images(FRAME, boxes=boxes).images() == ()
    with pytest.raises(DatasetError, match="no image was given"):
        give_images([], boxes=[])


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        ([[0, 0, 8, 8], [5, 5, 5, 9]], r"box 1 of the image, 5 5 5 9, is empty: a box is x1"),
        ([60, 20, 30, 60], "is empty: .* not x, y, width, height"),
        ([90, 20, 99, 60], "outside the frame of 80 x 100 pixels"),
        ([-9, 20, -1, 60], "outside the frame"),
        ([0.1, 0.1, 0.9, 0.9], "not shares of the frame"),
        ([0, 0, float("nan"), 8], "not made of numbers"),
        ([[1, 2, 3]], r"boxes of the image are an array of \(1, 3\)"),
        ([["a", 2, 3, 4]], "no table of numbers"),
        ([[0, 0, 8, 8], [1, 2]], "no table of numbers"),
    ],
)
def test_a_box_that_holds_nothing_is_refused(boxes: object, why: str) -> None:
    with pytest.raises(DatasetError, match=why):
        give_images(FRAME, boxes=boxes)


@pytest.mark.parametrize("boxes", [[[0, 0, 8, 8]], Detections((0, 0, 8, 8), (0, 0, 9, 9)), 3])
def test_boxes_of_many_frames_are_a_list_of_as_many(boxes: object) -> None:
    with pytest.raises(DatasetError, match="a list of one entry for each image"):
        give_images([FRAME, FRAME], boxes=boxes)
    with pytest.raises(DatasetError, match="boxes of image 1 are None"):
        give_images([FRAME, FRAME], boxes=[[0, 0, 8, 8], None])


def test_boxes_of_a_folder_and_of_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no image: boxes are of images"):
        give_images(tmp_path, boxes=[0, 0, 8, 8])
    with pytest.raises(DatasetError, match=r"none\.png cannot be read"):
        give_images(tmp_path / "none.png", boxes=[0, 0, 8, 8])
