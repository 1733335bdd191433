"""The catalogue of models, and what a name given as weights becomes."""

import re
from pathlib import Path

import pytest

from reid import known_models
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.models import ModelEntry
from reid.known_models import catalogue, entry_named, present_path, resolve_weights
from tests.models import entry_text, ship

ENTRIES = list(catalogue().models.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_of_the_program_s_catalogue_says_all_that_a_user_needs(entry: ModelEntry) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert entry.about
    assert entry.licence
    here = known_models.SHIPPED.parents[1] / entry.page
    assert entry.page.startswith("https://") or here.is_file()
    assert {*entry.trained_on, *(score.on for score in entry.scores)} <= catalogue().datasets.keys()
    assert all(score.source for score in entry.scores)
    assert len({file.name for file in entry.files}) == len(entry.files)
    for file in entry.files:
        is_shipped = (known_models.SHIPPED / file.name).is_file()
        if entry.by_hand is None and not is_shipped:
            assert file.url is not None
            assert file.url.startswith("https://")
            assert file.url.endswith(f"/{file.name}")
            assert file.digests
            assert file.size
        for digest in file.digests:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}", digest)


def test_one_model_answers_by_default_and_comes_with_the_program() -> None:
    (entry,) = [entry for entry in ENTRIES if entry.is_default]
    path = present_path(entry)
    assert path is not None
    assert path.parent == known_models.SHIPPED
    card = (known_models.SHIPPED / f"{entry.name}.md").read_text().splitlines()
    assert "is for research only" in card[2]


def test_the_catalogue_comes_with_the_package() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"models/*"' in text
    assert (known_models.SHIPPED / known_models.CATALOGUE).is_file()


def test_a_damaged_catalogue_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ship(tmp_path / "shipped", "[models.one]", patch=monkeypatch)
    with pytest.raises(ConfigurationError, match=f"{folder}.*install the program again"):
        catalogue()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    entries = (
        entry_text("small", file="small.bin", content=b"it"),
        entry_text("big", file="big.bin"),
    )
    return ship(tmp_path / "shipped", *entries, patch=monkeypatch)


def test_the_catalogue_words_how_good_a_model_is(shipped: Path) -> None:
    assert shipped.is_dir()
    assert catalogue().standing(entry_named("small")) == (
        "Home mAP 81.5, Rank-1 92.5 (measured); on other cameras expect far less: "
        "Away mAP 12.5, Rank-1 20.5 (measured)"
    )


def test_a_name_means_the_file_in_the_package(shipped: Path) -> None:
    (shipped / "small.bin").write_bytes(b"it")
    assert resolve_weights("small", may_be_unknown=False) == str(shipped / "small.bin")


def test_a_name_means_the_file_in_the_cache(shipped: Path) -> None:
    assert present_path(entry_named("small")) is None
    place = known_models.folder_of(entry_named("small")) / "small.bin"
    assert place == shipped.with_name("cache") / "reid" / "models" / "small" / "small.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"it")
    assert resolve_weights("small", may_be_unknown=False) == str(place)


def test_a_changed_file_is_not_used(shipped: Path) -> None:
    (shipped / "small.bin").write_bytes(b"at")
    with pytest.raises(EncoderError, match="is not the file of small that is known"):
        resolve_weights("small", may_be_unknown=False)


def test_a_path_that_exists_is_preferred_to_a_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shipped / "small.bin").write_bytes(b"it")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert resolve_weights("small", may_be_unknown=False) == "small"


def test_a_model_that_is_not_here_says_how_to_fetch_it(shipped: Path) -> None:
    with pytest.raises(EncoderError, match="`reid models fetch big`, or copy its files to") as told:
        resolve_weights("big", may_be_unknown=False)
    assert str(shipped.with_name("cache")) in str(told.value)


def test_an_unknown_name_is_answered_by_near_ones(shipped: Path) -> None:
    assert shipped.is_dir()
    with pytest.raises(EncoderError, match=r"did you mean small\? `reid models list`"):
        resolve_weights("smal", may_be_unknown=False)
    with pytest.raises(ConfigurationError, match="no model is called 'smal'; did you mean small"):
        entry_named("smal")


@pytest.mark.parametrize("weights", ["runs/none/encoder.safetensors", "missing.pth"])
def test_a_missing_path_is_left_to_who_reads_it(weights: str) -> None:
    assert resolve_weights(weights, may_be_unknown=False) == weights


def test_a_name_may_belong_to_a_family() -> None:
    assert resolve_weights("laion2b_s34b_b88k", may_be_unknown=True) == "laion2b_s34b_b88k"
