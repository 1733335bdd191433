"""What is peculiar to records in folders."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reid.adapters.events.jsonl_log import JsonlLog
from reid.adapters.runs.records import FilesystemRunRecords, collect_records
from reid.domain.errors import CheckpointError
from reid.domain.events import Stage, StageFinished


@pytest.mark.parametrize(("file", "name"), [("run.json", None), ("evaluation.json", "evaluation")])
@pytest.mark.parametrize("text", ["{", "[]", '"text"'])
def test_a_damaged_record_is_an_error_that_names_it(
    tmp_path: Path, file: str, name: str | None, text: str
) -> None:
    (tmp_path / file).write_text(text)
    records = FilesystemRunRecords(tmp_path)
    with pytest.raises(CheckpointError, match=f"{file} cannot be read"):
        records.manifest() if name is None else records.report(name)


def test_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"version": 1, "fingerprint": 1}')
    with pytest.raises(CheckpointError, match="not the manifest of a run"):
        FilesystemRunRecords(tmp_path).manifest()


def test_the_log_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "a"}\n{"event": "b"}\n')
    events = [line["event"] for line in FilesystemRunRecords(tmp_path).progress()]
    assert events == ["a", "b"]


@pytest.mark.parametrize("text", ['{"event"\n', "3\n"])
def test_a_damaged_log_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl cannot be read"):
        FilesystemRunRecords(tmp_path).progress()


def test_collected_records_hold_neither_weights_nor_folders_of_this_machine(
    tmp_path: Path,
) -> None:
    run, folder = tmp_path / "run", tmp_path / "docs" / "run"
    run.mkdir()
    settings = {"root": "/home/me/Market", "directory": "runs/one", "paths": ["C:\\data\\Duke"]}
    manifest = {"version": 1, "fingerprint": {"seed": 1}, "environment": {"settings": settings}}
    (run / "run.json").write_text(json.dumps(manifest))
    (run / "evaluation.json").write_text('{"mAP": 0.5}')
    (run / "evaluation-reranked.queries.json").write_text('{"query": ["query/a.jpg"]}')
    (run / "demo.json").write_text("{}")
    (run / "metrics.jsonl").write_text('{"event": "a", "losses": {"total": 0.1}}\n')
    (run / "encoder.safetensors").write_bytes(b"weights")
    collect_records(FilesystemRunRecords(run), folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluation-reranked.queries.json.gz", "evaluation.json", "metrics.jsonl", "run.json",
    ]  # fmt: skip
    copied = FilesystemRunRecords(folder)
    assert copied.names() == ("evaluation", "evaluation-reranked.queries")
    assert copied.report("evaluation-reranked.queries") == {"query": ["query/a.jpg"]}
    kept = json.loads((folder / "run.json").read_text())["environment"]["settings"]
    assert kept == {"root": "Market", "directory": "runs/one", "paths": ["Duke"]}
    assert (folder / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    collect_records(copied, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_scores_of_queries_are_compressed_and_nothing_is_lost(tmp_path: Path) -> None:
    queries = {"query": ["a.jpg"] * 999, "average_precision": [n / 7 for n in range(999)]}
    run, folder = tmp_path / "run", tmp_path / "kept"
    run.mkdir()
    folder.mkdir()
    (run / "run.json").write_text('{"version": 1, "fingerprint": {}, "environment": {}}')
    (run / "evaluation.queries.json").write_text(json.dumps(queries))
    (folder / "evaluation.queries.json").write_text('{"of": "an earlier collection"}')
    collect_records(FilesystemRunRecords(run), folder)
    assert FilesystemRunRecords(folder).report("evaluation.queries") == queries
    kept = folder / "evaluation.queries.json.gz"
    assert 2 * kept.stat().st_size < (run / "evaluation.queries.json").stat().st_size


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content[:20] + b"nonsense" + content[28:],
        lambda _: b"",
        lambda _: b"{}",
        lambda _: gzip.compress(b"[]"),
    ],
)
def test_a_damaged_compressed_record_is_an_error_that_names_it(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    content = gzip.compress(json.dumps({"query": [str(n) for n in range(99)]}).encode())
    (tmp_path / "evaluation.queries.json.gz").write_bytes(damage(content))
    with pytest.raises(CheckpointError, match=r"evaluation\.queries\.json\.gz cannot be read"):
        FilesystemRunRecords(tmp_path).report("evaluation.queries")


def test_records_that_cannot_be_kept_are_an_error_that_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        collect_records(FilesystemRunRecords(tmp_path), tmp_path / "file" / "run")


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "stage_started"}\n{"event"')
    assert FilesystemRunRecords(tmp_path).progress() == ({"event": "stage_started"},)


def test_a_log_that_was_cut_short_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "stage_started"}\n{"event": "epo')
    JsonlLog(path, clock=lambda: 1.0)(StageFinished(Stage.PROMPTS))
    finished = {"event": "stage_finished", "time": 1.0, "stage": "prompts"}
    assert FilesystemRunRecords(tmp_path).progress() == ({"event": "stage_started"}, finished)
