"""Settings in messages of the core, as options of the command that prints them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reid
from reid.cli.mentions import HINTS, in_options, mentioning
from reid.cli.options import SETTING_OPTIONS
from reid.domain.errors import GalleryError, NoAnswerError
from reid.service.refusals import refusal_of
from reid.settings.catalogue import known_settings

FLAGS = {option.setting: option.flags for option in SETTING_OPTIONS.values()}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("name it by `dataset.root`", "name it by --data"),
        ("use `encoder.weights = random`", "use --weights random"),
        ("search by `index.kind = exact`, or not", "search by --index exact, or not"),
        ("leave `identify.rerank` out", "leave --rerank out"),
        ("set `gallery.use_cache = false`", "set --no-cache"),
        ("set `gallery.use_cache = true`", "set --cache"),
        ("another `gallery.cache`", "another --set gallery.cache=VALUE"),
        ("try `index.annoy.trees = 50`", "try --set index.annoy.trees=50"),
        ("seed: out of range; `seed`", "seed: out of range; --seed"),
        ("`openssl rand -hex 32`, `nothing.such`", "`openssl rand -hex 32`, `nothing.such`"),
    ],
)
def test_a_setting_is_shown_as_the_option_that_sets_it(message: str, shown: str) -> None:
    with mentioning(FLAGS):
        assert in_options(message) == shown


def test_a_setting_without_an_option_in_this_command_is_shown_by_set() -> None:
    with mentioning({"dataset.root": "--data"}):
        assert in_options("`dataset.root`, `run.directory`") == "--data, --set run.directory=VALUE"


def test_an_error_keeps_its_class_and_its_parts() -> None:
    error = NoAnswerError(place="people", image="a.jpg", advice="ask `identify.seen_by`")
    with pytest.raises(NoAnswerError, match=r"a\.jpg: ask --seen-by") as caught, mentioning(FLAGS):
        raise error
    assert caught.value is error


def test_a_client_reads_parameters() -> None:
    refusal = refusal_of(GalleryError("widen `identify.seen_by`, or change `identify.unknown`"))
    told = "widen seen_by, or change the service's setting identify.unknown"
    assert (refusal.status, refusal.message) == (409, told)


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
