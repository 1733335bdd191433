"""The page of promises names tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE)))


@cache
def is_slow_by_test(path: Path) -> dict[str, bool]:
    """Tests by name, and whether each is marked slow."""
    return {
        node.name: any("mark.slow" in ast.unparse(mark) for mark in node.decorator_list)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in is_slow_by_test(ROOT / file)


def test_every_promise_names_a_test() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(sections) >= 11
    assert [part.splitlines()[0] for part in sections if "::test_" not in part] == []


def test_slow_tests_are_said_to_be_slow_and_no_others() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("- `tests/")]
    for line in lines:
        file, name = line.split("`")[1].split("::")
        assert is_slow_by_test(ROOT / file)[name] == ("slow" in line.rpartition("`")[2]), line


def test_the_slow_tests_are_run_by_one_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^slow: .*\n\t\$\(PYTEST\) -m slow\b", makefile, flags=re.MULTILINE)
    assert "\n    make slow\n" in PAGE
