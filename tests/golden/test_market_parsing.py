"""File names as the official code reads them: rows of "name label camid viewid"."""

from pathlib import Path

import numpy as np
import pytest

from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.images.market_names import FOLDERS, parse_market_name
from reid.domain.values.samples import Split, labels_by_pid

GOLDEN = Path(__file__).parent / "misc.npz"
KEYS = {
    Split.TRAIN: "market_train",
    Split.QUERY: "market_query",
    Split.GALLERY: "market_gallery",
}


def golden_rows(split: Split) -> list[tuple[str, int, int]]:
    with np.load(GOLDEN) as arrays:
        rows = [str(row).split() for row in arrays[KEYS[split]]]
    return [(name, int(person), int(camid)) for name, person, camid, _view in rows]


@pytest.fixture
def market(tmp_path: Path) -> Market1501:
    """Files of the golden names, with junk between them, in the official layout."""
    root = tmp_path / "Market-1501-v15.09.15"
    for split, folder in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for name, _, _ in golden_rows(split):
            (root / folder / name).touch()
        (root / folder / "-1_c1s1_000401_03.jpg").touch()
    return Market1501(tmp_path)


@pytest.mark.parametrize("split", [Split.QUERY, Split.GALLERY])
def test_queries_and_gallery_are_read_as_by_the_official_code(
    market: Market1501, split: Split
) -> None:
    samples = market.samples(split)
    assert [
        (Path(sample.name).name, sample.pid, sample.camid) for sample in samples
    ] == golden_rows(split)


def test_training_images_have_the_official_order_and_cameras(market: Market1501) -> None:
    assert [(Path(sample.name).name, sample.camid) for sample in market.samples(Split.TRAIN)] == [
        (name, camid) for name, _, camid in golden_rows(Split.TRAIN)
    ]


def test_training_labels_ascend_where_the_official_ones_follow_a_set(market: Market1501) -> None:
    # Differs from CLIP-ReID, which numbers identities in the order of a Python set: 2, 10, 1500, 7
    # here. On the whole of Market-1501 that order ascends, so the labels there are the same.
    official = {
        parsed.pid: label
        for name, label, _ in golden_rows(Split.TRAIN)
        if (parsed := parse_market_name(name)) is not None
    }
    ours = labels_by_pid(market.samples(Split.TRAIN))
    assert official == {2: 0, 10: 1, 1500: 2, 7: 3}
    assert ours == {2: 0, 7: 1, 10: 2, 1500: 3}
    assert ours.keys() == official.keys()
