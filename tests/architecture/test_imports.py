"""The import contracts hold, and each of them breaks when it is violated."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

VIOLATIONS = {
    "reid/settings/schema.py": "import reid.container",
    "reid/domain/losses.py": "import json\nimport reid.ports.image_encoder",
    "reid/domain/values/samples.py": "import reid.domain.losses",
    "reid/domain/new_module.py": "",
    "reid/adapters/indexes/exact.py": "import reid.adapters.runs.filesystem\nimport open_clip",
    "reid/adapters/runs/filesystem.py": (
        "import annoy, faiss, huggingface_hub, pgvector, PIL, psycopg, pymilvus\n"
        "import onnxruntime, openvino, resvg_py, rich\n"
        "import safetensors, simplejpeg, sklearn, sqlite3, threadpoolctl\n"
        "import fastapi, h11, prometheus_client, python_multipart, starlette, uvicorn"
    ),
    "reid/application/evaluate.py": "import pydantic, dependency_injector, typer",
    "reid/cli/app.py": "import torch",
    "reid/plugins.py": "import torch",
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def verdicts(output: str) -> dict[str, str]:
    lines = [line.rsplit(maxsplit=1) for line in output.splitlines()]
    return {words[0]: words[1] for words in lines if words and words[-1] in ("KEPT", "BROKEN")}


def test_every_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert set(verdicts(done.stdout).values()) == {"KEPT"}


def test_every_contract_notices_a_violation(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "reid", tmp_path / "reid", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, statement in VIOLATIONS.items():
        path = tmp_path / name
        before = path.read_text() if path.exists() else '"""New."""\n'
        path.write_text(f"{before}\n{statement}\n")
    found = verdicts(lint(tmp_path).stdout)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(found) == {contract["name"] for contract in declared["contracts"]}
    assert [name for name, verdict in found.items() if verdict == "KEPT"] == []


@pytest.mark.parametrize(
    "module", ["reid", "reid.settings.loading", "reid.plugins", "reid.cli.app"]
)
def test_it_imports_without_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
