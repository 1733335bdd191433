"""One bit of any file of a gallery flipped: an answer, or an error that says what is damaged."""

import random
import shutil
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import AuditAction
from tests.adapters.gallery_changes import add, names_of, nearest, open_gallery
from tests.galleries import CALIBRATION, entry


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "gallery"
    with closing(open_gallery(folder)) as gallery:
        add(gallery, names_of(40))
        gallery.calibrate([CALIBRATION], entry=entry(AuditAction.CALIBRATE))
        nearest(gallery, "b-4.jpg")
    return folder


@pytest.mark.parametrize("pattern", ["gallery.sqlite", "keys-1.i64", "vectors-1.f32"])
def test_a_flipped_bit_is_an_error_of_the_gallery_at_most(
    sound: Path, tmp_path: Path, pattern: str
) -> None:
    chance = random.Random(pattern)
    for number in range(25):
        folder = tmp_path / str(number)
        shutil.copytree(sound, folder)
        (path,) = folder.glob(pattern)
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with suppress(GalleryError), closing(open_gallery(folder, create=False)) as gallery:
            faults = gallery.check()
            assert faults or pattern == "gallery.sqlite"  # much of its room is empty
            gallery.describe()
            gallery.audit()
            gallery.images()
            nearest(gallery, "b-4.jpg")
            add(gallery, ["a-new.jpg"])
            gallery.erase([3], entry=entry(AuditAction.FORGET))
