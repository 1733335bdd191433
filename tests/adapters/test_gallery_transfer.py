"""Galleries larger than memory are taken elsewhere, and processes that do so are killed."""

from contextlib import closing
from pathlib import Path

import pytest
import torch

from reid.adapters.galleries.archive import FileArchive
from tests.adapters import gallery_transfers
from tests.adapters.gallery_changes import spawn
from tests.adapters.gallery_transfers import (
    PART,
    WIDTH,
    enroll,
    export,
    export_and_die,
    import_and_die,
    import_into,
    measured,
    open_gallery,
    vectors_of,
)
from tests.galleries import CALIBRATION

NUM_IMAGES = 8 * PART


def files_below(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.skipif(not gallery_transfers.STATUS.exists(), reason="this system does not tell")
def test_neither_export_nor_import_takes_the_memory_of_all_vectors(tmp_path: Path) -> None:
    known, other, file = tmp_path / "known", tmp_path / "other", tmp_path / "known.archive"
    enroll(known, NUM_IMAGES)
    size_of_all = 4 * WIDTH * NUM_IMAGES
    for work, folder in ((export, known), (import_into, other)):
        process = spawn(measured, work, folder, file, tmp_path / "growth")
        process.join()
        assert process.exitcode == 0
        assert int((tmp_path / "growth").read_text()) < size_of_all
    assert file.stat().st_size > size_of_all
    with closing(open_gallery(other)) as gallery:
        *_, kept = gallery.pages(PART)
        assert kept[-1].name == f"{NUM_IMAGES - 1}.jpg"
        last = gallery.vectors([image.key for image in kept])
        assert torch.equal(last, vectors_of(7 * PART, PART))


def test_a_killed_export_leaves_nothing(tmp_path: Path) -> None:
    known, place = tmp_path / "known", tmp_path / "place"
    enroll(known, PART + 1)
    place.mkdir()
    process = spawn(export_and_die, known, place / "known.archive")
    process.join()
    assert process.exitcode == -9
    assert files_below(place) == []


def test_a_killed_import_leaves_whole_parts_and_the_next_finishes_it(tmp_path: Path) -> None:
    known, other, file = tmp_path / "known", tmp_path / "other", tmp_path / "known.archive"
    enroll(known, 9000)
    with closing(open_gallery(known)) as gallery:
        gallery.calibrate([CALIBRATION], entry=gallery.audit()[0])
    export(known, file)
    process = spawn(import_and_die, other, file)
    process.join()
    assert process.exitcode == -9
    with closing(open_gallery(other)) as gallery:
        assert gallery.describe().num_images == 8000
        assert gallery.describe().calibrations == ()
        assert gallery.check() == ()
        assert gallery.audit()[-1].subject == f"{file}, images 4001 to 8000 of 9000"
        (before,) = gallery.pages(8000)
    import_into(other, file)
    with closing(open_gallery(other)) as gallery:
        assert gallery.describe().num_images == 9000
        assert gallery.describe().calibrations == (CALIBRATION,)
        assert gallery.check() == ()
        assert next(gallery.pages(8000)) == before
        assert gallery.audit()[-2].subject == f"{file}, images 8001 to 9000 of 9000"
        (kept,) = gallery.pages(9000)
        vectors = gallery.vectors([image.key for image in kept])
    assert torch.equal(vectors, torch.cat([part for _, part in FileArchive(file).read().parts()]))
