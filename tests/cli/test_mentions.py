"""Settings in messages of the core, as options of the command that prints them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reid
from reid.cli.mentions import HINTS, in_options, mentioning
from reid.cli.options import SETTING_OPTIONS
from reid.domain.errors import GalleryError, NoAnswerError
from reid.service.http_errors import http_error_of
from reid.settings.catalogue import known_settings

FLAGS = {setting: option.flags for setting, option in SETTING_OPTIONS.items()}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("name it by `dataset.root`", "name it by --data"),
        ("name it by dataset.root.", "name it by --data."),
        ("use `encoder.weights = random`", "use --weights random"),
        ("learn (encoder.weights = random)", "learn (--weights random)"),
        ("by `index.kind = exact`; index.kind", "by --index exact; --index"),
        ("leave `identify.rerank` out", "leave --rerank out"),
        ("(`gallery.use_cache = false`)", "(--no-cache)"),
        ("(gallery.use_cache=true does)", "(--cache does)"),
        ("another `gallery.cache = DIR`", "another --set gallery.cache=DIR"),
        ("another `gallery.cache`", "another gallery.cache"),
        ("finetuning.epochs is 3, but", "finetuning.epochs is 3, but"),
        ("(index.annoy.trees = 50)", "(--set index.annoy.trees=50)"),
        ("(evaluation.same_camera_rule=false compares)", "(--no-same-camera-rule compares)"),
        ("in another run.directory (by run.prompts):\n x", "in another --run (by --prompts):\n x"),
        ("seed: out of range; `seed`", "seed: out of range; --seed"),
        ("run.prompts: other than run.directory", "run.prompts: other than --run"),
        ("dataset.also[0].rot: did you mean dataset.root?",) * 2,
        ("settings:\n  encoder.kind: rn50 (option)",) * 2,
        ("`openssl rand -hex 32`, `nothing.such`",) * 2,
        ("my/run.directory, run.directory.txt, a-run.directory",) * 2,
    ],
)
def test_a_setting_is_shown_as_the_option_that_sets_it(message: str, shown: str) -> None:
    with mentioning(FLAGS):
        assert in_options(message) == shown


def test_only_options_of_the_running_command_are_shown() -> None:
    with mentioning({"dataset.root": "--data"}):
        assert in_options("dataset.root, `run.directory`") == "--data, run.directory"
        assert in_options("`run.directory = DIR`") == "--set run.directory=DIR"


def test_what_is_no_setting_gets_a_hint() -> None:
    told = in_options("people holds a run: resume it, or overwrite it")
    assert told == "people holds a run: resume it (--resume), or overwrite it (--overwrite)"


def test_an_error_keeps_its_class_and_its_parts() -> None:
    error = NoAnswerError(place="people", name="a.jpg", advice="ask `identify.seen_by`")
    with pytest.raises(NoAnswerError, match=r"a\.jpg: ask --seen-by") as caught, mentioning(FLAGS):
        raise error
    assert caught.value is error


def test_a_client_reads_parameters() -> None:
    refusal = http_error_of(GalleryError("widen `identify.seen_by`, or change `identify.unknown`"))
    told = "widen seen_by, or change identify.unknown"
    assert (refusal.status_code, refusal.detail) == (409, told)


def test_every_hinted_phrase_is_one_of_the_core() -> None:
    package = Path(reid.__file__).parent
    core = [path for path in package.rglob("*.py") if "cli" not in path.parts]
    said = "\n".join(text for path in core for text in texts_of(ast.parse(path.read_text())))
    assert [phrase for phrase in HINTS if phrase not in said] == []


def test_every_option_stands_for_a_known_setting() -> None:
    assert set(FLAGS) <= set(known_settings())


def texts_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
