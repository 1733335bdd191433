"""A dataset that is listed in a CSV."""

import re
from functools import cached_property
from pathlib import Path

from reid.adapters.datasets.files import FilesDataset
from reid.adapters.images.tables import Row, read_table
from reid.domain.errors import DatasetError
from reid.domain.values.samples import JUNK_PID, Annotation, SampleList, Split

COLUMNS = ("path", "pid", "camid", "split")  # columns that the CSV must have; others are ignored
MOST_PID, MOST_CAMID = 10**9 - 1, 9_999
"""Larger numbers are mistakes, such as a telephone number or a timestamp."""


class CsvDataset(FilesDataset):
    """The three lists of a CSV with the columns path, pid, camid and split.

    Paths start from the CSV's folder and stay below it. pids are whole numbers, and a person has
    the same one in every split; as in Market-1501, 0 is a distractor (gallery only) and -1 junk,
    which is left out. camids are whole numbers from 0. A split is train, query or gallery; unused
    splits may be missing. An invalid row is an error that names its line.
    """

    def _find_root(self, given: Path) -> Path:
        if given.is_dir():
            raise DatasetError(
                f"{given} is a folder; give the CSV file itself, with the columns "
                f"{','.join(COLUMNS)}"
            )
        return given.parent

    @cached_property
    def _rows(self) -> list[Row]:
        table = self.root / self._given.name
        return read_table(
            table,
            columns=COLUMNS,
            header=",".join(COLUMNS),
            once=lambda row: (_split(row), row.name),
        )

    def _list(self, split: Split) -> SampleList:
        rows = [row for row in self._rows if _split(row) is split]
        return SampleList.sorted_out(
            ((row.name, _annotation(row)) for row in rows),
            place=str(self._given),
            expected=f"of the split {split}",
        )


def _split(row: Row) -> Split:
    try:
        return Split(row.cell("split"))
    except ValueError as error:
        raise DatasetError(
            f"{row.place}: the split must be {', '.join(Split)}, got {row.cell('split')!r}"
        ) from error


def _annotation(row: Row) -> Annotation:
    return Annotation(
        pid=_number(row, "pid", least=JUNK_PID, most=MOST_PID),
        camid=_number(row, "camid", least=0, most=MOST_CAMID),
    )


def _number(row: Row, column: str, *, least: int, most: int) -> int:
    text = row.cell(column)
    is_number = re.fullmatch(r"-?\d{1,12}", text, re.ASCII)
    if not is_number or not least <= int(text) <= most:
        raise DatasetError(
            f"{row.place}: {column} must be a whole number, {least} to {most}, got {text!r}"
        )
    return int(text)
