import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.folders import open_followed, open_images
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, ListedImage, Resampling, Split
from tests.builders import build_market1501

SIZE = ImageSize(24, 12)
ORIENTATION = 0x0112


def noise(*, height: int = 40, width: int = 20, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise(seed=seed).save(root / name)
    return root


def read_images(paths: Sequence[Path], size: ImageSize, resampling: Resampling) -> Tensor:
    return ImageFiles(Path("/")).read(
        [str(path) for path in paths], size=size, resampling=resampling
    )


def table(root: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = root / "people.csv"
    path.write_text(text, encoding=encoding)
    return path


# Thumbnails


def test_a_wide_image_keeps_its_shape_in_a_small_one(tmp_path: Path) -> None:
    noise(height=50, width=400).save(tmp_path / "wide.png")
    (content,) = ImageFiles(tmp_path).thumbnails(["wide.png"], height=40)
    assert content is not None
    with Image.open(BytesIO(content)) as image:
        assert image.size == (120, 15)


def test_a_small_image_of_one_lying_down_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    noise(height=20, width=40).save(tmp_path / "lying.jpg", exif=exif)
    (content,) = ImageFiles(tmp_path).thumbnails(["lying.jpg"], height=30)
    assert content is not None
    with Image.open(BytesIO(content)) as image:
        assert image.size == (15, 30)
        assert not image.getexif()


# Pixels


@pytest.mark.parametrize("size", [ImageSize(24, 12), ImageSize(256, 128), ImageSize(33, 71)])
@pytest.mark.parametrize(
    ("resampling", "pillow"),
    [
        (Resampling.BILINEAR, Image.Resampling.BILINEAR),
        (Resampling.BICUBIC, Image.Resampling.BICUBIC),
    ],
)
def test_pixels_equal_pillows_own_resize(
    tmp_path: Path, size: ImageSize, resampling: Resampling, pillow: Image.Resampling
) -> None:
    paths = []
    for seed, (height, width) in enumerate([(40, 20), (128, 64), (31, 50)]):
        paths.append(tmp_path / f"{seed}.png")
        noise(height=height, width=width, seed=seed).save(paths[-1])
    batch = read_images(paths, size, resampling)
    for row, path in zip(batch, paths, strict=True):
        with Image.open(path) as image:
            expected = np.asarray(image.resize((size.width, size.height), pillow))
        assert torch.equal(row, torch.from_numpy(expected.copy()).permute(2, 0, 1))


def test_an_image_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    upright = noise()
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned clockwise for display
    upright.save(tmp_path / "upright.png")
    upright.rotate(90, expand=True).save(tmp_path / "lying.png", exif=exif)
    paths = [tmp_path / "upright.png", tmp_path / "lying.png"]
    batch = read_images(paths, ImageSize(40, 20), Resampling.BILINEAR)
    assert torch.equal(batch[0], batch[1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    noise().convert(mode).save(path)
    assert read_images([path], SIZE, Resampling.BILINEAR).shape == (1, 3, 24, 12)


def test_a_truncated_image_is_refused_with_its_name_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    noise(height=128, width=64).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DatasetError, match=r"cut\.jpg cannot be read: image file is truncated"):
        read_images([path], SIZE, Resampling.BILINEAR)


def test_each_kind_of_damage_gets_a_plain_reason(tmp_path: Path) -> None:
    save(tmp_path, "good.jpg")
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    names = ["text.jpg", "good.jpg", "empty.jpg", "folder.jpg", "pipe.jpg", "gone.jpg"]
    found = ImageFiles(tmp_path).find_unreadable(names)
    assert [(one.name, one.reason) for one in found] == [
        ("text.jpg", "not an image that Pillow knows"),
        ("empty.jpg", "not an image that Pillow knows"),
        ("folder.jpg", "not a regular file"),
        ("pipe.jpg", "not a regular file"),
        ("gone.jpg", "no such file"),
    ]


def test_a_damaged_header_of_any_kind_is_reported_rather_than_raised(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    names = []
    for ending in ("jpg", "png", "bmp", "webp"):
        noise().save(tmp_path / f"whole.{ending}")
        whole = bytearray((tmp_path / f"whole.{ending}").read_bytes())
        for trial in range(30):
            damaged = bytearray(whole)
            for place in random.integers(0, min(len(whole), 200), 6):
                damaged[place] = random.integers(0, 256)
            names.append(f"{ending}{trial}.{ending}")
            (tmp_path / names[-1]).write_bytes(damaged)
    found = ImageFiles(tmp_path).find_unreadable(names)
    assert 0 < len(found) <= len(names)


def test_a_decompression_bomb_is_an_error_not_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "large.png")  # 800 pixels: between the limit and twice the limit
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(DatasetError, match=r"large\.png cannot be read: .*decompression bomb"):
        read_images([tmp_path / "large.png"], SIZE, Resampling.BILINEAR)


def test_the_first_unreadable_image_of_a_batch_is_named(tmp_path: Path) -> None:
    save(tmp_path, "a.jpg")
    paths = [tmp_path / "a.jpg", tmp_path / "missing1.jpg", tmp_path / "missing2.jpg"]
    with pytest.raises(DatasetError, match=r"missing1\.jpg"):
        read_images(paths, SIZE, Resampling.BILINEAR)


# Folders


def test_market_names_give_padded_labels_and_cameras_without_junk(tmp_path: Path) -> None:
    save(tmp_path, "0002_c1s1_1.jpg", "0000_c3s1_1.jpg", "-1_c1s1_1.jpg", "visitor.PNG")
    assert open_images(tmp_path).images() == (
        ListedImage("0000_c3s1_1.jpg", label="0000", camera="3"),
        ListedImage("0002_c1s1_1.jpg", label="0002", camera="1"),
        ListedImage("visitor.PNG"),
    )


def test_a_folder_per_person_labels_everything_below_it(tmp_path: Path) -> None:
    save(tmp_path, "bob/1.jpg", "ann/2.webp", "ann/door/1.bmp", "ann/0007_c2.jpg", "loose.jpeg")
    assert open_images(tmp_path).images() == (
        ListedImage("ann/0007_c2.jpg", label="ann", camera="2"),
        ListedImage("ann/2.webp", label="ann"),
        ListedImage("ann/door/1.bmp", label="ann"),
        ListedImage("bob/1.jpg", label="bob"),
        ListedImage("loose.jpeg"),
    )


def test_hidden_files_and_folders_and_other_endings_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path, "a.jpg", "._a.jpg", ".cache/b.jpg")
    (tmp_path / "notes.txt").touch()
    assert [image.name for image in open_images(tmp_path).images()] == ["a.jpg"]


def test_a_single_image_may_be_given(tmp_path: Path) -> None:
    source = open_images(save(tmp_path, "0002_c1s1_1.jpg", "b.jpg") / "0002_c1s1_1.jpg")
    assert source.images() == (ListedImage("0002_c1s1_1.jpg", label="0002", camera="1"),)
    read = source.reader.read(["0002_c1s1_1.jpg"], size=SIZE, resampling=Resampling.BICUBIC)
    assert len(read) == 1


def test_a_single_image_is_nothing_to_follow_for_its_neighbours_would_be_gone(
    tmp_path: Path,
) -> None:
    root = save(tmp_path, "anna/1.png", "anna/2.png")
    (root / "list.csv").write_text("path,label\nanna/1.png,anna\n")
    with pytest.raises(DatasetError, match=r"1\.png is one image.*add it instead"):
        open_followed(root / "anna" / "1.png")
    assert len(open_followed(root).images()) == 2
    assert len(open_followed(root / "list.csv").images()) == 1


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere does not exist"):
        open_images(tmp_path / "nowhere").images()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match=r"notes\.txt is not a folder of images"):
        open_images(tmp_path / "notes.txt").images()


def test_links_in_a_circle_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DatasetError, match=r"loop does not exist"):
        open_images(tmp_path / "loop").images()
    with pytest.raises(DatasetError, match=r"loop does not exist"):
        Market1501(tmp_path / "loop").samples(Split.QUERY)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match=r"holds no image \(\.bmp \.jfif \.jpe \.jpeg"):
        open_images(tmp_path).images()


def test_a_whole_market1501_is_not_mistaken_for_three_people(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market")
    with pytest.raises(DatasetError, match=r"give one of its folders, for example .*box_test"):
        open_images(root).images()


# CSV


def test_a_table_gives_labels_and_cameras_sorted_by_path(tmp_path: Path) -> None:
    save(tmp_path, "b.jpg", "in/a.jpg", "c.jpg")
    path = table(
        tmp_path,
        'label,path,note,camera\nAnn,in\\a.jpg,x,\n,./c.jpg,,\n"Bob, jr", b.jpg ,,door\n',
        encoding="utf-8-sig",
    )
    assert open_images(path).images() == (
        ListedImage("b.jpg", label="Bob, jr", camera="door"),
        ListedImage("c.jpg"),
        ListedImage("in/a.jpg", label="Ann"),
    )


def test_a_table_is_known_by_its_ending_in_any_case(tmp_path: Path) -> None:
    save(tmp_path, "b.jpg")
    path = table(tmp_path, "path,label\nb.jpg,Ann\n").rename(tmp_path / "LIST.CSV")
    assert open_images(path).images() == (ListedImage("b.jpg", label="Ann"),)


def test_an_absolute_path_below_the_folder_is_refused_for_being_absolute(tmp_path: Path) -> None:
    image = save(tmp_path, "b.jpg") / "b.jpg"
    with pytest.raises(DatasetError, match="is an absolute path; write it from the CSV's folder"):
        open_images(table(tmp_path, f"path,label\n{image},Ann\n")).images()


def test_blanks_after_the_commas_of_a_table_are_no_part_of_it(tmp_path: Path) -> None:
    save(tmp_path, "b.jpg")
    path = table(tmp_path, 'path, label , camera\nb.jpg, "Bob, jr", door\n')
    assert open_images(path).images() == (ListedImage("b.jpg", label="Bob, jr", camera="door"),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: no column path and no column label"),
        ("b.jpg,Ann\n", "line 1: no column path and no column label"),
        ("path,name\nb.jpg,Ann\n", "line 1: no column label; the header must be path,label"),
        ("path,label\n", "lists no image"),
        ("path,label\nb.jpg,Ann\nb.jpg\n", "line 3: not as many cells"),
        ("path,label\nb.jpg,Ann,door\n", "line 2: not as many cells"),
        ("path,label\n,Ann\n", "line 2: the path is empty"),
        ("path,label\nb.jpg,Ann\n\n./b.jpg,Bob\n", "line 4: b.jpg stands on line 2 already"),
        ("path,label\ngone.jpg,Ann\n", "line 2: there is no image .*gone.jpg"),
        ("path,label\n../b.jpg,Ann\n", r"line 2: \.\./b\.jpg does not lie under"),
        ("path,label\nx/../../b.jpg,Ann\n", "line 2: .* does not lie under"),
        ("path,label\n/etc/b.jpg,Ann\n", "line 2: /etc/b.jpg is an absolute path"),
        ("path,label\n\\etc\\b.jpg,Ann\n", "line 2: .* is an absolute path"),
        ('path,label\n"b.jpg,Ann\n', "cannot be read as UTF-8 CSV: unexpected end of data"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_with_the_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    save(tmp_path, "b.jpg")
    with pytest.raises(DatasetError, match=rf"people\.csv.*{problem}"):
        open_images(table(tmp_path, text)).images()


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\nb.jpg,J\u00f6rg\n", encoding="latin-1")
    with pytest.raises(DatasetError, match="cannot be read as UTF-8 CSV"):
        open_images(path).images()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.csv cannot be read as UTF-8 CSV: No such file"):
        open_images(tmp_path / "gone.csv").images()


# Content


def test_images_are_told_from_each_other_by_their_bytes_whatever_their_names(
    tmp_path: Path,
) -> None:
    save(tmp_path, "a.png", "b.png")
    (tmp_path / "copy of a.png").write_bytes((tmp_path / "a.png").read_bytes())
    source = open_images(tmp_path)
    names = [image.name for image in source.images()]
    first, second, copied = source.reader.content_digests(names)
    assert first == copied
    assert first != second
    assert source.reader.content_digests(names[::-1]) == (copied, second, first)


def test_what_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    source = open_images(tmp_path)
    digests = source.reader.content_digests(["pipe.jpg", "a.png", "gone.jpg"])
    assert [bool(digest) for digest in digests] == [False, True, False]


def test_a_source_s_place_is_the_folder_from_which_names_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "here/a.png")
    (tmp_path / "here" / "list.csv").write_text("path,label\na.png,anna\n")
    monkeypatch.chdir(tmp_path)
    for name in ("here", "here/list.csv", "here/a.png", "./here/../here"):
        assert open_images(Path(name)).place == str(tmp_path.resolve() / "here")
