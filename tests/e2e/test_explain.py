"""`reid explain` through the real command, on both kinds of encoder."""

from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.program import as_json, run
from tests.exports import exported

SMALL = ("--set", "encoder.image_size=[64,32]")


@pytest.fixture(scope="module")
def pair(people: Path) -> tuple[Path, Path]:
    query = min((people / "query").glob("*_c1*.jpg"))
    person = query.name.split("_")[0]
    return query, min((people / "bounding_box_test").glob(f"{person}_c2*.jpg"))


def test_a_run_explains_a_pair_as_an_image(
    trained: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "pair.png"
    text = run("explain", *pair, "--run", trained, "--output", out).stdout
    assert text.startswith("Similarity: ")
    assert "Method: grad-cam; cameras left out" in text
    assert "Without 20% of the query" in text
    assert text.rstrip().endswith(f"Wrote {out}")
    with Image.open(out) as image:
        assert image.width > image.height > 64


def test_the_similarity_is_the_one_that_identify_tells(
    people: Path, trained: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    explained = as_json(
        run("explain", *pair, "--run", trained, "--output", tmp_path / "p.html", "--json")
    )
    answers = as_json(
        run(
            "identify", pair[0], "--gallery", people / "bounding_box_test", "--run", trained,
            "--top-k", "100", "--json",
        )
    )["identifications"][0]["images"]  # fmt: skip
    found = next(answer for answer in answers if answer["name"] == pair[1].name)
    assert explained["similarity"] == pytest.approx(found["similarity"], abs=1e-5)


@pytest.mark.parametrize("method", ["auto", "rollout", "gradient-rollout"])
def test_a_vit_with_overlapping_patches_explains_by_attention(
    pair: tuple[Path, Path], tmp_path: Path, method: str
) -> None:
    outcome = as_json(
        run(
            "explain", *pair, "--encoder", "vit-tiny", "--weights", "random", *SMALL,
            "--set", "encoder.stride=12", "--method", method, "--output", tmp_path / "pair.html",
            "--json",
        )
    )  # fmt: skip
    assert outcome["method"] == ("gradient-rollout" if method == "auto" else method)
    assert outcome["query"]["check"]["share"] == 0.2
    assert "data:image/png" in (tmp_path / "pair.html").read_text()


def test_what_cannot_be_explained_is_refused_with_advice(
    people: Path, trained: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = ("--output", tmp_path / "pair.png")
    refused = run("explain", *pair, "--run", trained, "--method", "rollout", *out, expect=3)
    assert "does not suit this kind of encoder" in refused.stderr
    refused = run("explain", people / "query", pair[1], "--run", trained, *out, expect=4)
    assert "name a single image" in refused.stderr
    refused = run("explain", *pair, "--run", trained, "--output", tmp_path / "x.gif", expect=3)
    assert "neither an image" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_exported_encoder_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    refused = run(
        "explain", *pair, "--weights", exported("rn-tiny"), "--output", tmp_path / "x.png", expect=5
    )
    assert "explain by the run or weights that it was exported from" in refused.stderr
