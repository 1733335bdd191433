"""What is peculiar to each layout; what all datasets promise is in the contract's tests."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reid.adapters.datasets.csv_dataset import CsvDataset
from reid.adapters.datasets.files import FilesDataset
from reid.adapters.datasets.market1501 import Cuhk03, DukeMtmc, FolderPerSplit, parse_cuhk03_name
from reid.adapters.datasets.msmt17 import TEST_PIDS_FROM, Msmt17
from reid.adapters.datasets.viper import Viper, training_half
from reid.domain.errors import DatasetError
from reid.domain.values.samples import Annotation, Sample, Split, SplitStatistics
from tests.builders import SMALL, Painter
from tests.layouts import build_csv, build_cuhk03, build_dukemtmc, build_msmt17, build_viper


def counts(dataset: FilesDataset) -> list[tuple[int, int, int]]:
    """Give identities, images and cameras of training, query and gallery."""
    statistics = [SplitStatistics.of(split, dataset.samples(split)) for split in Split]
    return [(row.num_identities, row.num_images, row.num_cameras) for row in statistics]


# DukeMTMC-reID


@pytest.mark.parametrize("folder", ["", "DukeMTMC-reID", "dukemtmc"])
def test_duke_s_root_or_its_parent_may_be_given(tmp_path: Path, folder: str) -> None:
    build_dukemtmc(tmp_path / folder, people=3)
    assert counts(DukeMtmc(tmp_path)) == [(3, 12, 2), (3, 6, 2), (3, 12, 2)]


def test_duke_s_names_tell_person_camera_and_frame(tmp_path: Path) -> None:
    (first, *_) = DukeMtmc(build_dukemtmc(tmp_path)).samples(Split.TRAIN)
    assert first == Sample("bounding_box_train/0001_c1_f0046158.jpg", pid=1, camid=0)


def test_a_duke_that_is_not_there_is_called_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no DukeMTMC-reID in .*sub-folders DukeMTMC-reID"):
        DukeMtmc(tmp_path).samples(Split.TRAIN)


# CUHK03


@pytest.mark.parametrize(
    ("name", "annotation"),
    [
        ("0001_c1_1.png", Annotation(1, 0)),
        ("1467_c2_10.png", Annotation(1467, 1)),
        ("1_001_1_01.png", Annotation(1001, 0)),
        ("5_049_2_08.png", Annotation(5049, 1)),
        ("1_001_3_01.png", None),
        ("0_001_1_01.png", None),
        ("1_01_1_01.png", None),
        ("holiday.png", None),
    ],
)
def test_a_cuhk03_name_has_one_of_two_forms(name: str, annotation: Annotation | None) -> None:
    assert parse_cuhk03_name(name) == annotation


def test_detected_and_labeled_boxes_are_two_datasets(tmp_path: Path) -> None:
    root = build_cuhk03(tmp_path / "CUHK03-NP")
    detected, labeled = Cuhk03(root), Cuhk03(root, boxes="labeled")
    assert counts(detected) == [(4, 16, 2), (4, 8, 2), (4, 16, 2)]
    assert counts(labeled) == [(4, 17, 2), (4, 8, 2), (4, 16, 2)]
    assert (detected.name, labeled.name) == ("CUHK03-NP (detected)", "CUHK03-NP (labeled)")


def test_cuhk03_is_found_from_above_and_from_within(tmp_path: Path) -> None:
    root = build_cuhk03(tmp_path / "cuhk03")
    expected = Cuhk03(root).samples(Split.TRAIN)
    for given in (tmp_path, root / "detected"):
        assert Cuhk03(given).samples(Split.TRAIN) == expected


def test_boxes_of_the_other_kind_are_not_taken_for_those_asked_for(tmp_path: Path) -> None:
    root = build_cuhk03(tmp_path)
    with pytest.raises(DatasetError, match=r"no CUHK03 \(labeled\) in .*detected"):
        Cuhk03(root / "detected", boxes="labeled").samples(Split.TRAIN)
    shutil.rmtree(root / "labeled")
    with pytest.raises(
        DatasetError, match=r"looked for the folder labeled with bounding_box_train"
    ):
        Cuhk03(root, boxes="labeled").samples(Split.TRAIN)


# MSMT17


@pytest.mark.parametrize("folder", ["", "MSMT17_V1", "MSMT17_V2"])
def test_msmt17_trains_on_its_validation_list_unless_told_otherwise(
    tmp_path: Path, folder: str
) -> None:
    build_msmt17(tmp_path / folder, masked=folder == "MSMT17_V2")
    tested = [(3, 6, 2), (3, 12, 2)]
    assert counts(Msmt17(tmp_path)) == [(4, 16, 2), *tested]
    without = Msmt17(tmp_path, train_on_val=False)
    assert counts(without) == [(3, 12, 2), *tested]
    assert without.name == f"{tmp_path.name} (without val)"


def test_msmt17_numbers_training_and_test_people_apart_and_nobody_zero(tmp_path: Path) -> None:
    dataset = Msmt17(build_msmt17(tmp_path))
    trained, asked, gallery = ({sample.pid for sample in dataset.samples(each)} for each in Split)
    assert trained == {1, 2, 3, 4}
    assert asked == gallery == {TEST_PIDS_FROM + number for number in range(3)}


def test_msmt17_s_cameras_are_the_third_part_of_a_name(tmp_path: Path) -> None:
    root = build_msmt17(tmp_path)
    name = "0002_017_15_0303evening_0015_0.jpg"
    (root / "list_query.txt").write_text(f"0002/{name} 2\n\n")
    assert Msmt17(root).samples(Split.QUERY) == (
        Sample(f"test/0002/{name}", pid=TEST_PIDS_FROM + 2, camid=14),
    )


def test_lines_that_tell_nobody_are_counted_and_lead_nowhere_else(tmp_path: Path) -> None:
    root = build_msmt17(tmp_path, masked=True)
    odd = [
        "0002/0002_017_15_0303evening_0015_0.jpg",
        "0002/0002_017_00_0303evening_0015_0.jpg 2",
        "0002/0002_017_01_0303evening_0015_0.jpg 10000",
        "../0002_017_15_0303evening_0015_0.jpg 2",
        "holiday.jpg 3",
    ]
    before = Msmt17(root).samples(Split.TRAIN)
    with (root / "list_val.txt").open("a") as file:
        file.write("\n".join(odd))
    dataset = Msmt17(root)
    assert dataset.samples(Split.TRAIN) == before
    assert dataset.unparsed_names(Split.TRAIN) == tuple(
        sorted(f"mask_train_v2/{line}" for line in odd)
    )
    assert dataset.unparsed_names(Split.QUERY) == ()


def test_a_missing_list_of_msmt17_is_named_with_what_to_do(tmp_path: Path) -> None:
    root = build_msmt17(tmp_path)
    (root / "list_val.txt").unlink()
    with pytest.raises(DatasetError, match=r"list_val\.txt cannot be read: No such file.*=false$"):
        Msmt17(root).samples(Split.TRAIN)
    assert Msmt17(root, train_on_val=False).samples(Split.TRAIN)
    (root / "list_query.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"list_query\.txt cannot be read: .*utf-8.*lines such"):
        Msmt17(root).samples(Split.QUERY)


def test_msmt17_without_its_images_says_which_folder_it_wants(tmp_path: Path) -> None:
    root = build_msmt17(tmp_path)
    shutil.rmtree(root / "test")
    with pytest.raises(DatasetError, match=r"none of the folders test, mask_test_v2"):
        Msmt17(root).samples(Split.GALLERY)
    shutil.rmtree(root / "train")
    with pytest.raises(DatasetError, match=r"no MSMT17 in .*list_train\.txt"):
        Msmt17(root).samples(Split.TRAIN)


def test_a_folder_with_both_versions_of_msmt17_is_ambiguous(tmp_path: Path) -> None:
    build_msmt17(tmp_path / "MSMT17_V1")
    build_msmt17(tmp_path / "MSMT17_V2", masked=True)
    with pytest.raises(DatasetError, match=r"two versions .*MSMT17_V1 or .*MSMT17_V2$"):
        Msmt17(tmp_path).samples(Split.QUERY)
    assert Msmt17(tmp_path / "MSMT17_V2").samples(Split.QUERY)


# VIPeR


def test_half_of_viper_is_trained_on_and_the_other_half_tested_with(tmp_path: Path) -> None:
    dataset = Viper(build_viper(tmp_path, people=9))
    assert counts(dataset) == [(4, 8, 2), (5, 5, 1), (5, 5, 1)]
    assert all(sample.name.startswith("cam_a/") for sample in dataset.samples(Split.QUERY))
    assert all(sample.name.startswith("cam_b/") for sample in dataset.samples(Split.GALLERY))


def test_viper_has_a_person_0_who_is_no_distractor(tmp_path: Path) -> None:
    dataset = Viper(build_viper(tmp_path))
    pids = {sample.pid for split in Split for sample in dataset.samples(split)}
    assert pids == {1, 4, 7, 10, 13, 16, 19, 22}


def test_the_seed_decides_viper_s_halves_and_is_told(tmp_path: Path) -> None:
    root = build_viper(tmp_path / "VIPeR", people=12)
    halves = {
        seed: {sample.pid for sample in Viper(tmp_path, split_seed=seed).samples(Split.TRAIN)}
        for seed in range(5)
    }
    assert len({frozenset(half) for half in halves.values()}) > 1
    again = Viper(root, split_seed=3)
    assert {sample.pid for sample in again.samples(Split.TRAIN)} == halves[3]
    assert again.name == "VIPeR (split 3)"


def test_a_half_is_the_same_on_every_machine_for_ever() -> None:
    assert training_half(range(1, 9), seed=0) == {1, 2, 4, 6}
    assert training_half([*range(8, 0, -1), 3], seed=0) == {1, 2, 4, 6}


def test_odd_names_in_viper_are_told_once_with_their_camera(tmp_path: Path) -> None:
    root = build_viper(tmp_path)
    Image.new("RGB", (4, 8)).save(root / "cam_b" / "holiday.bmp")
    (root / "cam_a" / "Thumbs.db").touch()
    dataset = Viper(root)
    told = {split: dataset.unparsed_names(split) for split in Split}
    assert told == {Split.TRAIN: (), Split.QUERY: (), Split.GALLERY: ("cam_b/holiday.bmp",)}


def test_viper_needs_both_cameras(tmp_path: Path) -> None:
    root = build_viper(tmp_path)
    shutil.rmtree(root / "cam_b")
    with pytest.raises(DatasetError, match=r"no VIPeR in .*the folders cam_a and cam_b"):
        Viper(root).samples(Split.TRAIN)


# CSV


def test_a_table_s_splits_are_listed_without_junk(tmp_path: Path) -> None:
    dataset = CsvDataset(build_csv(tmp_path / "own people.csv"))
    assert counts(dataset) == [(4, 16, 2), (4, 8, 2), (5, 18, 2)]
    assert dataset.name == "own people.csv"
    assert dataset.samples(Split.QUERY)[0] == Sample("query/4/0-0.png", pid=5, camid=0)


def test_a_table_without_training_rows_still_serves_for_evaluation(tmp_path: Path) -> None:
    path = build_csv(tmp_path / "people.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if ",train," not in line))
    dataset = CsvDataset(path)
    assert len(dataset.samples(Split.QUERY)) == 8
    with pytest.raises(
        DatasetError, match=r"people\.csv holds no image of the split train; put the train"
    ):
        dataset.samples(Split.TRAIN)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("path,pid,split\na.png,1,train\n", "line 1: no column camid; the header must be path,pid"),
        ("path,pid,camid,split\n", "lists no image"),
        ("path,pid,camid,split\na.png,1,0,val\n", "line 2: the split must be train, query"),
        ("path,pid,camid,split\na.png,ann,0,train\n", "line 2: pid must be .*-1 to .*'ann'"),
        ("path,pid,camid,split\na.png,-2,0,train\n", "line 2: pid must be a whole number"),
        ("path,pid,camid,split\na.png,1,,train\n", "line 2: camid must be .*, got ''"),
        ("path,pid,camid,split\na.png,1,-1,train\n", "line 2: camid must be a whole number"),
        ("path,pid,camid,split\na.png,9999999999,0,train\n", "line 2: pid must be"),
        ("path,pid,camid,split\n../a.png,1,0,train\n", r"line 2: \.\./a\.png does not lie under"),
        ("path,pid,camid,split\nb.png,1,0,train\n", "line 2: there is no image .*b.png"),
        (
            "path,pid,camid,split\na.png,1,0,train\na.png,2,0,train\n",
            "line 3: a.png stands on line 2 already",
        ),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_with_its_line(
    tmp_path: Path, rows: str, problem: str
) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "people.csv").write_text(rows)
    with pytest.raises(DatasetError, match=rf"people\.csv.*{problem}"):
        CsvDataset(tmp_path / "people.csv").samples(Split.TRAIN)


def test_an_image_may_be_a_query_and_in_the_gallery(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    rows = "path,pid,camid,split\na.png,1,0,query\na.png,1,0,gallery\n"
    (tmp_path / "people.csv").write_text(rows)
    dataset = CsvDataset(tmp_path / "people.csv")
    assert dataset.samples(Split.QUERY) == dataset.samples(Split.GALLERY)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is a folder; give the CSV file itself"):
        CsvDataset(tmp_path).samples(Split.TRAIN)


# All of them


@pytest.mark.parametrize(
    ("layout", "emptied", "said"),
    [
        ("dukemtmc", "query", "query holds no image named like 0001_c2_f0046182.jpg; put the"),
        ("cuhk03", "detected/query", "query holds no image named like 0001_c1_1.png; put the"),
        ("msmt17", "list_query.txt", r"list_query.txt holds .* like 0000/0000_000_01_0303.* 0;"),
        ("viper", "cam_a", "cam_a holds no image named like 000_45.bmp; put the query"),
    ],
)
def test_an_empty_split_shows_a_name_of_the_layout_s_own(
    tmp_path: Path, layout: str, emptied: str, said: str
) -> None:
    builds: dict[str, tuple[Callable[[Path], FilesDataset], Callable[[Path], Path]]] = {
        "dukemtmc": (DukeMtmc, build_dukemtmc),
        "cuhk03": (Cuhk03, build_cuhk03),
        "msmt17": (Msmt17, build_msmt17),
        "viper": (Viper, build_viper),
    }
    opened, build = builds[layout]
    place = build(tmp_path) / emptied
    if place.is_dir():
        shutil.rmtree(place)
        place.mkdir()
    else:
        place.write_text("")
    with pytest.raises(DatasetError, match=said):
        opened(tmp_path).samples(Split.QUERY)


class Numbered(FolderPerSplit):
    """A layout of one's own: 12-3-anything.jpg is person 12 in camera 3."""

    title = "Numbered"
    expected = "named like 12-3.jpg"

    def _parse(self, name: str) -> Annotation | None:
        pid, camera, *_ = [*name.partition(".")[0].split("-"), "", ""]
        return Annotation(int(pid), int(camera)) if pid.isdigit() and camera.isdigit() else None


def test_a_layout_of_one_s_own_is_a_few_lines(tmp_path: Path) -> None:
    painter = Painter(size=SMALL, seed=1)
    for name in ("12-3.jpg", "4-0-evening.jpg", "cat.jpg"):
        painter.save(tmp_path / "query" / name, 1, 0)
    (tmp_path / "bounding_box_test").mkdir()
    dataset = Numbered(tmp_path)
    assert dataset.samples(Split.QUERY) == (
        Sample("query/12-3.jpg", pid=12, camid=3),
        Sample("query/4-0-evening.jpg", pid=4, camid=0),
    )
    assert dataset.unparsed_names(Split.QUERY) == ("query/cat.jpg",)
    assert dataset.reader.find_unreadable(["query/12-3.jpg"]) == ()
    with pytest.raises(DatasetError, match=r"holds no image named like 12-3\.jpg; put the gallery"):
        dataset.samples(Split.GALLERY)


PUBLISHED: dict[str, tuple[Callable[[Path], FilesDataset], list[tuple[int, int]]]] = {
    # Identities and images of training, queries and gallery.
    "DukeMTMC-reID": (DukeMtmc, [(702, 16_522), (702, 2_228), (1_110, 17_661)]),
    "MSMT17_V1": (Msmt17, [(1_041, 32_621), (3_060, 11_659), (3_060, 82_161)]),
    "MSMT17_V2": (Msmt17, [(1_041, 32_621), (3_060, 11_659), (3_060, 82_161)]),
    "CUHK03-NP": (Cuhk03, [(767, 7_365), (700, 1_400), (700, 5_332)]),
    "CUHK03-NP labeled": (
        lambda root: Cuhk03(root, boxes="labeled"),
        [(767, 7_368), (700, 1_400), (700, 5_328)],
    ),
    "VIPeR": (Viper, [(316, 632), (316, 316), (316, 316)]),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_real_datasets_have_their_published_counts(name: str) -> None:
    opened, published = PUBLISHED[name]
    root = Path(os.environ.get("REID_PUBLIC_DATASETS", "")) / name.split()[0]
    if "REID_PUBLIC_DATASETS" not in os.environ or not root.is_dir():
        pytest.skip("REID_PUBLIC_DATASETS names no folder that holds the real dataset")
    dataset = opened(root)
    assert [(identities, images) for identities, images, _ in counts(dataset)] == published
    assert all(dataset.unparsed_names(split) == () for split in Split)
