"""What is peculiar to records in folders."""

from pathlib import Path

import pytest

from reid.adapters.runs.records import FilesystemRunRecords
from reid.domain.errors import CheckpointError


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
    (tmp_path / "run.json").write_text('{"decisive": 1}')
    with pytest.raises(CheckpointError, match="not the manifest of a run"):
        FilesystemRunRecords(tmp_path).manifest()


def test_the_log_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "a"}\n{"event": "b"}\n')
    events = [line["event"] for line in FilesystemRunRecords(tmp_path).progress()]
    assert events == ["a", "b"]


@pytest.mark.parametrize("text", ['{"event"', "3\n"])
def test_a_damaged_log_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl cannot be read"):
        FilesystemRunRecords(tmp_path).progress()
