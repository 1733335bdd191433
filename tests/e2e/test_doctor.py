"""`reid doctor`, sound and broken."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.surroundings import private_words
from reid.domain.values.features import Neighbours
from tests.e2e.program import as_json, clean_environment, run

PARTS = {
    "run folder",
    "cache folder",
    "temporary folder",
    "encoder rn-tiny",
    "encoder vit-tiny",
    "device cpu",
    "index exact",
    "index annoy",
    "evaluator",
    "gallery",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_installation_passes_and_tells_what_a_bug_report_needs(folder: Path) -> None:
    told = as_json(run("doctor", "--device", "cpu", "--seed", "7", "--json"))
    checks = {check["name"]: check for check in told["checks"]}
    assert set(checks) >= PARTS
    assert all(check["is_passed"] for check in checks.values())
    facts = told["facts"]
    assert facts["versions"]["python"] == platform.python_version()
    assert {"torch", "clip-reid", "numpy"} <= set(facts["versions"])
    assert facts["torch"]["threads"] >= 1
    assert "times as long as fp32 in matrix products" in facts["precision"]
    assert facts["machine"]["memory MiB"] > 0
    assert set(facts["OpenAI's weights"]) == {"vit-b16", "rn50"}
    assert any(line.startswith("pymilvus") for line in facts["extras"])
    assert facts["settings"] == {
        "recipe": "vit-b16 (default)",
        "seed": "7 (option)",
        "device": "cpu (option)",
    }
    assert "folders" not in facts
    assert list(folder.iterdir()) == []


def test_the_report_holds_no_private_word_unless_asked(folder: Path) -> None:
    home = folder / "home-of-anna"
    arguments = ("doctor", "--device", "cpu", "--run", home / "runs", "--data", home / "data")
    bare = run(*arguments).stdout
    for private in (str(folder), "anna", *(private_words().keys() - {"/"})):
        assert f"{private} " not in bare
        assert f"{private}/" not in bare
    assert "anna" not in bare
    assert "dataset.root: <not shown> (option)" in bare
    full = run(*arguments, "--paths").stdout
    assert f"run: {home / 'runs'}" in full
    assert f"dataset.root: {home / 'data'} (option)" in full


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(folder: Path) -> None:
    (folder / "runs").touch()
    found = run("doctor", "--device", "cpu", "--run", folder / "runs" / "people", expect=9)
    lines = found.stdout.splitlines()
    (place,) = (number for number, line in enumerate(lines) if "FAILED run folder" in line)
    assert "a file stands where the folder should be" in lines[place]
    assert lines[place + 1].strip().startswith("to do: name a writable folder by --run DIR")
    assert found.stderr.strip() == "Error: 1 check failed: run folder"


def test_an_adapter_that_answers_wrongly_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = AnnoyIndex.search

    def shifted(index: AnnoyIndex, queries: object, k: int) -> Neighbours:
        found = real(index, queries, k)  # type: ignore[arg-type]
        return Neighbours(indices=found.indices.roll(1, dims=0), distances=found.distances)

    monkeypatch.setattr(AnnoyIndex, "search", shifted)
    found = run("doctor", "--device", "cpu", "--json", expect=9)
    broken = [check for check in json.loads(found.stdout)["checks"] if not check["is_passed"]]
    assert [check["name"] for check in broken] == ["index annoy"]
    assert "rows find themselves" in broken[0]["finding"]
    assert "index.kind = exact" in broken[0]["advice"]


def test_a_device_that_is_not_there_is_named_with_what_to_do() -> None:
    found = run("doctor", "--device", "cuda:63", expect=9)
    assert "FAILED device cuda:63" in found.stdout
    assert "--device cpu" in found.stdout


def test_a_torch_that_cannot_be_imported_is_a_finding_and_no_traceback(folder: Path) -> None:
    package = folder / "broken" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        f'raise OSError("{folder}/libcudart.so: cannot open shared object file")\n'
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(package.parent), str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", "from reid.cli.app import main; main()", "doctor"],
        env=clean_environment() | {"PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert "FAILED libraries" in done.stdout
    assert "libcudart.so: cannot open shared object file" in done.stdout
    assert str(folder) not in done.stdout
    assert "Traceback" not in done.stderr
