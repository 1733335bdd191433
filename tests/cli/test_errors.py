"""Exit codes and what is said on standard error."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from reid.cli.errors import EXIT_CODES, ReidGroup, Terminated, describe, exit_code_of
from reid.domain.errors import (
    CheckpointError,
    ConfigurationError,
    DatasetError,
    EncoderError,
    EvaluationError,
    ReidError,
    VectorIndexError,
)


def app_that(does: Callable[[], None]) -> typer.Typer:
    app = typer.Typer(cls=ReidGroup, pretty_exceptions_enable=False, rich_markup_mode=None)

    @app.callback()
    def reid() -> None:
        pass

    @app.command()
    def work() -> None:
        typer.echo("a result")
        does()

    return app


def test_sigterm_ends_with_the_code_that_shells_give_it() -> None:
    result = CliRunner().invoke(raising(Terminated()), ["work"])
    assert result.exit_code == 143
    assert "Terminated." in result.stderr


def raising(error: BaseException) -> typer.Typer:
    def does() -> None:
        raise error

    return app_that(does)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("why"), 3),
        (DatasetError("why"), 4),
        (CheckpointError("why"), 5),
        (EncoderError("why"), 5),
        (VectorIndexError("why"), 6),
        (EvaluationError("why"), 7),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(error: ReidError, code: int) -> None:
    result = CliRunner().invoke(raising(error), ["work"])
    assert result.exit_code == code
    assert result.stdout == "a result\n"
    assert result.stderr == "Error: why\n"


def test_every_class_of_error_has_a_code() -> None:
    assert set(ReidError.__subclasses__()) == set(EXIT_CODES)


def test_a_more_special_error_has_the_code_of_its_class() -> None:
    class OddImageError(DatasetError):
        pass

    assert exit_code_of(OddImageError("why")) == 4


def test_many_problems_are_one_aligned_block() -> None:
    result = CliRunner().invoke(raising(ConfigurationError("seed: a\ndevice: b")), ["work"])
    assert result.stderr == "Error: seed: a\n       device: b\n"


def test_a_usage_error_is_typer_s_own() -> None:
    result = CliRunner().invoke(raising(DatasetError("why")), ["work", "--nonsense"])
    assert result.exit_code == 2
    assert "--nonsense" in result.stderr


def test_a_bug_keeps_its_traceback() -> None:
    error = ZeroDivisionError("a bug")
    result = CliRunner().invoke(raising(error), ["work"])
    assert result.exit_code == 1
    assert result.exception is error


def test_ctrl_c_ends_with_130_and_one_word() -> None:
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["work"])
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"


def test_a_command_that_goes_well_ends_with_0() -> None:
    assert CliRunner().invoke(app_that(lambda: None), ["work"]).exit_code == 0


def test_a_closed_pipe_is_no_error() -> None:
    code = "import sys; from reid.cli.app import main; main()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, "settings"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    said = writer.stderr.read()
    writer.stderr.close()
    assert (writer.wait(timeout=60), said) == (0, "")


def test_results_that_nobody_wants_are_no_error() -> None:
    code = "import sys; from reid.cli.app import main; sys.argv[1:] = ['settings']; main()"
    shell = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code]
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_in_an_error_commands_no_terminal() -> None:
    told = describe(DatasetError("cannot be read:\n  \x1b]0;title\x07a.jpg: empty"))
    assert told == "Error: cannot be read:\n         \\x1b]0;title\\x07a.jpg: empty"
