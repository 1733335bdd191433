import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.cli.app import app
from reid.container.root import Container
from reid.settings.loading import load_settings
from tests.galleries import enroll, vectors_of
from tests.milvus import lite_address
from tests.postgres import server_address, unused_name


def test_a_folder_of_vectors_is_measured_by_every_index(tmp_path: Path) -> None:
    for part in range(2):
        np.save(tmp_path / f"{part}.npy", 3 * vectors_of(200, seed=part).numpy())
    result = CliRunner().invoke(app, ["index", "bench", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [found["kind"] for found in report["figures"]] == ["exact", "annoy", "hnsw"]
    assert (report["num_rows"], report["num_queries"], report["width"]) == (320, 80, 16)
    assert report["figures"][0]["recall_at_10"] == 1
    assert all(found["num_bytes"] > 0 for found in report["figures"][1:])
    assert all(found["recall_at_1"] > 0.8 for found in report["figures"])
    assert report["choice"] in ("exact", "annoy", "hnsw")


def test_a_gallery_is_measured_and_one_index_spoken_for(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    with closing(open_filesystem_gallery(folder, create=True, create_index=ExactIndex)) as gallery:
        enroll(gallery, 60)
    np.save(tmp_path / "queries.npy", vectors_of(9, seed=1).numpy())
    options = ["--queries", str(tmp_path / "queries.npy"), "--kind", "exact"]
    result = CliRunner().invoke(app, ["index", "bench", str(folder), *options])
    assert result.exit_code == 0, result.output
    assert "60 vectors of width 16, 9 queries" in result.stdout
    assert "Choose exact" in result.stdout


@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_a_gallery_in_a_database_is_measured(kind: str, tmp_path: Path) -> None:
    address = server_address() if kind == "postgres" else lite_address(tmp_path)
    chosen = [f"gallery.kind={kind}", f"gallery.{kind}.address={address}"]
    options = [*(part for one in chosen for part in ("--set", one)), "--kind", "exact"]
    name = unused_name()
    missing = CliRunner().invoke(app, ["index", "bench", name, *options])
    assert (missing.exit_code, "does not exist" in missing.output) == (8, True)
    container = Container(settings=load_settings(assignments=chosen).settings)
    with closing(container.open_gallery(name, create=True)) as gallery:
        enroll(gallery, 60)
    result = CliRunner().invoke(app, ["index", "bench", name, *options])
    assert result.exit_code == 0, result.output
    assert "48 vectors of width 16, 12 queries" in result.stdout


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "neither a gallery nor .npy files"),
        (np.zeros((5, 4), np.float32), "zero or not finite"),
        (np.ones(5, np.float32), "should hold a (N, D) array"),
        (np.ones((3, 4), np.float32), "too few to compare"),
    ],
)
def test_what_cannot_be_measured_ends_with_6(
    tmp_path: Path, content: np.ndarray | None, complaint: str
) -> None:
    if content is not None:
        np.save(tmp_path / "vectors.npy", content)
    result = CliRunner().invoke(app, ["index", "bench", str(tmp_path)])
    assert result.exit_code == 6
    assert complaint in " ".join(result.output.split())


def test_a_file_that_holds_no_array_ends_with_6(tmp_path: Path) -> None:
    (tmp_path / "vectors.npy").write_bytes(b"nothing")
    assert CliRunner().invoke(app, ["index", "bench", str(tmp_path)]).exit_code == 6


def test_an_unknown_kind_ends_with_3(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", vectors_of(50).numpy())
    result = CliRunner().invoke(app, ["index", "bench", str(tmp_path), "--kind", "magic"])
    assert result.exit_code == 3
