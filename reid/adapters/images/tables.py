"""CSV files that list images."""

import csv
import posixpath
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.domain.errors import DatasetError

PATH = "path"  # the column that every table has


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; `name` is the image's path from the table's folder."""

    name: str
    cells: Mapping[str, str]
    line: int
    table: Path

    def cell(self, column: str) -> str:
        """Return a cell without surrounding blanks; empty where the column is missing."""
        return self.cells.get(column, "").strip()

    @property
    def place(self) -> str:
        """The table and the line, for messages."""
        return f"{self.table}, line {self.line}"


def read_table(
    path: Path, *, columns: Sequence[str], header: str, once: Callable[[Row], Hashable]
) -> list[Row]:
    """Read a table in the order of its lines.

    Paths start from the table's folder, separated by `/`, and stay below it; blanks around cells
    are stripped. The first line names the columns, of which `columns` are required, and others are
    ignored; messages show `header` as the correct one. No two rows may agree in what `once` finds.

    Raises:
        DatasetError: The file cannot be read, its header is wrong, it has no rows, or a row's path
            is absolute, outside the folder, repeated or missing; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in columns if name not in reader.fieldnames]
            if missing:
                raise DatasetError(
                    f"{path}, line 1: no column {' and no column '.join(missing)}; the header "
                    f"must be {header}"
                )
            rows = list(_rows(reader, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{path} cannot be read as UTF-8 CSV: {reason}") from error
    if not rows:
        raise DatasetError(f"{path} lists no image: a header alone, or nothing at all")
    seen: dict[Hashable, Row] = {}
    for row in rows:
        earlier = seen.setdefault(once(row), row)
        if earlier is not row:
            raise DatasetError(f"{row.place}: {row.name} stands on line {earlier.line} already")
    return rows


def _rows(reader: "csv.DictReader[str]", path: Path) -> Iterator[Row]:
    for cells in reader:
        place = f"{path}, line {reader.line_num}"
        if None in cells or None in cells.values():
            raise DatasetError(f"{place}: not as many cells as the header has columns")
        name = _inside(path.parent, cells[PATH].strip(), place=place)
        yield Row(name=name, cells=cells, line=reader.line_num, table=path)


def _inside(folder: Path, written: str, *, place: str) -> str:
    """Normalise a path; links are followed."""
    if not written:
        raise DatasetError(f"{place}: the path is empty")
    name = posixpath.normpath(written.replace("\\", "/"))
    if Path(written).is_absolute() or name.startswith("/"):
        raise DatasetError(
            f"{place}: {written} is an absolute path; write it from the CSV's folder {folder}"
        )
    if name.split("/")[0] == "..":
        raise DatasetError(f"{place}: {written} does not lie under the CSV's folder {folder}")
    if not (folder / name).is_file():
        raise DatasetError(f"{place}: there is no image {folder / name}")
    return name
