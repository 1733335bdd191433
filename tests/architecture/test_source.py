"""Rules on the source that no linter we use can express."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "reid").rglob("*.py"))
CORE = [
    path
    for path in SOURCES
    if path.relative_to(ROOT).parts[1] in ("domain", "ports", "application")
]
FRONT = ROOT / "reid" / "__init__.py"
PACKAGES = [path for path in SOURCES if path.name == "__init__.py" and path != FRONT]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def device_literals(tree: ast.AST) -> Iterator[str]:
    """Find `.cuda(...)`, and `.to(...)`, `device=...` or `torch.device(...)` of a fixed device."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        devices = [word.value for word in call.keywords if word.arg == "device"]
        if name in ("to", "device"):
            devices.extend(call.args)
        if name == "cuda" or any(_is_accelerator(device) for device in devices):
            yield f"line {call.lineno}: {ast.unparse(call)}"


def _is_accelerator(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).startswith(("cuda", "mps"))


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_core_never_picks_an_accelerator(path: Path) -> None:
    assert list(device_literals(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    ["x.cuda()", 'x.to("cuda")', 'x.to("cuda:1")', 'f(device="cuda")', 'torch.device("mps")'],
)
def test_a_picked_accelerator_would_be_found(line: str) -> None:
    assert list(device_literals(ast.parse(line)))


@pytest.mark.parametrize("line", ["x.to(device)", 'x.to("cpu")', "f(device=x.device)"])
def test_a_device_from_the_arguments_is_fine(line: str) -> None:
    assert list(device_literals(ast.parse(line))) == []


@pytest.mark.parametrize("path", PACKAGES, ids=named)
def test_a_package_file_holds_a_docstring_only(path: Path) -> None:
    (statement,) = ast.parse(path.read_text()).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Constant)
    assert isinstance(statement.value.value, str)


def test_the_front_of_the_library_imports_nothing_before_it_is_asked() -> None:
    statements = ast.parse(FRONT.read_text()).body
    kinds = [type(statement) for statement in statements]
    # A docstring, names for type checkers, the list of them, and who fetches them.
    assert kinds == [ast.Expr, ast.ImportFrom, ast.If, ast.Assign, ast.FunctionDef]
    assert ast.unparse(statements[1]) == "from typing import TYPE_CHECKING"
    assert ast.unparse(statements[2]).startswith("if TYPE_CHECKING:")


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_names_tell_what_a_module_is_about(path: Path) -> None:
    vague = {"utils", "helpers", "common", "base", "manager", "model", "misc"}
    assert vague.isdisjoint(path.relative_to(ROOT).with_suffix("").parts)


PRINTS_ITS_OWN_COMMAND = "adapters/pages/markdown.py"
"""The results page states the command that writes it."""


def option_names(tree: ast.AST) -> Iterator[str]:
    """Find options of the command line in texts; docstrings count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"(?<!pip install )(?<![-\w])--[a-z][a-z-]*", node.value)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.relative_to(ROOT).parts[1] != "cli"], ids=named
)
def test_only_the_command_line_names_its_options(path: Path) -> None:
    found = list(option_names(ast.parse(path.read_text())))
    is_exception = path.relative_to(ROOT / "reid").as_posix() == PRINTS_ITS_OWN_COMMAND
    assert is_exception or not found


def test_an_option_in_a_message_would_be_found() -> None:
    line = 'raise ReidError(f"{place} is gone: name another by --run DIR")'
    assert list(option_names(ast.parse(line))) == ["--run"]
