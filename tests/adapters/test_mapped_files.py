"""Files of indexes in memory."""

from pathlib import Path

import numpy as np
import pytest

from reid.adapters.indexes.index_files import map_file, read_anew


@pytest.fixture(params=[1, 5000, 5 * 2**20 + 3])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "file"
    size: int = request.param
    path.write_bytes(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes())
    return path


def test_a_file_is_mapped_as_it_is_also_when_it_was_read_anew(file: Path) -> None:
    content = file.read_bytes()
    assert map_file(file, len(content)).tobytes() == content
    read_anew(file)
    assert map_file(file, len(content)).tobytes() == content
    assert map_file(file, 1).tobytes() == content[:1]
    assert file.read_bytes() == content


def test_what_is_written_to_the_array_does_not_reach_the_file(file: Path) -> None:
    content = file.read_bytes()
    mapped = map_file(file, len(content))
    mapped[:] = 0
    assert file.read_bytes() == content


def test_a_file_may_go_while_it_is_mapped(file: Path) -> None:
    content = file.read_bytes()
    mapped = map_file(file, len(content))
    file.unlink()
    assert mapped.tobytes() == content


def test_a_file_that_is_too_short_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="greater than file size"):
        map_file(file, file.stat().st_size + 1)
