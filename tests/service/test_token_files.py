"""The token that clients must bring, read from a file."""

import os
from pathlib import Path
from threading import Thread

import pytest

from reid.container.service import token_of
from reid.domain.errors import ConfigurationError
from reid.settings.tasks import ServiceSettings

TOKEN = "0123456789abcdef0123456789abcdef"


def read(path: Path) -> str | None:
    return token_of(ServiceSettings(token_file=path))


def test_a_token_is_read_without_the_line_s_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read(tmp_path / "token") == TOKEN


def test_a_token_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "token"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=(TOKEN,))
    writer.start()
    assert read(pipe) == TOKEN
    writer.join()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"x" * 5000, "larger than 4096 bytes"), (b"\xff\xfe", "not text")]
)
def test_what_is_no_token_is_refused_by_file_and_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(
        ConfigurationError, match=rf"token cannot be read \({reason}\): name a file"
    ):
        read(tmp_path / "token")


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="larger than 4096 bytes"):
        read(Path("/dev/zero"))


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent cannot be read \(No such file"):
        read(tmp_path / "absent")
