"""A graph that another program wrote, through the real commands."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.e2e.program import as_json, run
from tests.graphs import GIVEN_RAW_BGR, HEIGHT, WIDTH, draw_ir, draw_onnx

MODELS_ROOT = os.environ.get("REID_MODELS_ROOT")
BGR: list[str | Path] = [part for setting in GIVEN_RAW_BGR for part in ("--set", setting)]


@pytest.fixture(params=["xml", "onnx"])
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "xml":
        return draw_ir(tmp_path / "drawn.xml")
    return draw_onnx(tmp_path / "drawn.onnx")


def mean_colours(folder: Path) -> NDArray[np.float64]:
    """What the graphs make of the images of a folder, of unit norm: (N, 3)."""
    means = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            small = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        means.append(np.asarray(small, dtype=np.float64).mean(axis=(0, 1)))
    found: NDArray[np.float64] = np.stack(means)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def test_a_graph_identifies_and_is_evaluated(people: Path, graph: Path) -> None:
    given: list[str | Path] = ["--weights", graph, *BGR, "--json"]
    answers = as_json(
        run("identify", people / "query", "--gallery", people / "bounding_box_test", *given)
    )
    queries, gallery = (mean_colours(people / name) for name in ("query", "bounding_box_test"))
    got = [answer["similarity"] for answer in answers["identifications"]]
    assert got == pytest.approx((queries @ gallery.T).max(axis=1).tolist(), abs=1e-5)
    scores = as_json(run("evaluate", "--data", people, *given))
    assert scores["encoder"]["name"] == "drawn"
    assert scores["encoder"]["options"]["channels"] == "bgr"
    assert scores["report"]["num_queries"] == len(queries)


def test_a_gallery_knows_the_graph_that_made_it(people: Path, graph: Path, tmp_path: Path) -> None:
    gallery, images = tmp_path / "gallery", people / "bounding_box_test"
    run("gallery", "build", gallery, images, "--weights", graph, *BGR)
    query: list[str | Path] = [
        "identify",
        people / "query",
        "--gallery",
        gallery,
        "--weights",
        graph,
    ]
    assert as_json(run(*query, *BGR, "--json"))["num_correct"] > 0
    refused = run(*query, *BGR, "--set", "encoder.graph.channels=rgb", expect=8)
    assert "was made by drawn" in refused.stderr


def test_an_unknown_graph_asks_for_its_pixel_contract(people: Path, graph: Path) -> None:
    refused = run("evaluate", "--data", people, "--weights", graph, expect=3)
    assert "does not say how it takes its images: set encoder.graph.channels" in refused.stderr


def test_a_graph_cannot_be_exported(graph: Path, tmp_path: Path) -> None:
    refused = run("export", tmp_path / "out", "--weights", graph, *BGR, expect=5)
    assert f"{graph} is a graph already" in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(MODELS_ROOT is None, reason="REID_MODELS_ROOT names no folder of real models")
@pytest.mark.parametrize(
    "name",
    ["person-reidentification-retail-0277.xml", "person-reidentification-retail-0267.onnx"],
)
def test_open_model_zoo_s_own_files_identify(people: Path, name: str) -> None:
    pytest.importorskip("openvino", reason="needs clip-reid[openvino]")
    gallery = people / "bounding_box_test"
    answers = as_json(
        run(
            "identify", people / "query", "--gallery", gallery,
            "--weights", Path(str(MODELS_ROOT)) / name, "--json",
        )
    )  # fmt: skip
    assert answers["encoder"]["name"] == name.partition(".")[0]
    assert answers["encoder"]["options"]["channels"] == "bgr"
    found = answers["identifications"]
    assert len(found) == len(list((people / "query").glob("*.jpg")))
    # Trained on photographs, yet drawn people who wear other colours are others to it.
    assert answers["num_correct"] > len(found) / 2
