"""The import contracts hold, and each of them breaks when it is violated."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

VIOLATIONS = {
    "reid/settings/schema.py": "import reid.container.root",
    "reid/domain/training/losses.py": "import json\nimport reid.ports.image_encoder",
    "reid/domain/values/samples.py": "import reid.domain.training.losses",
    "reid/domain/new_module.py": "",
    "reid/adapters/indexes/exact.py": "import reid.adapters.runs.filesystem\nimport open_clip",
    "reid/adapters/runs/filesystem.py": (
        "import annoy, faiss, huggingface_hub, pgvector, PIL, psycopg, pymilvus\n"
        "import jinja2, markupsafe, nncf, onnxruntime, openvino, resvg_py, rich\n"
        "import safetensors, simplejpeg, sklearn, sqlite3, threadpoolctl, timm\n"
        "import fastapi, h11, prometheus_client, starlette, uvicorn"
    ),
    "reid/adapters/images/files.py": "import reid.adapters.datasets.files",
    "reid/application/evaluate.py": "import pydantic, dependency_injector, typer",
    "reid/cli/app.py": "import torch",
    "reid/container/registry.py": "import torch",
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
    found = re.findall(r"^(.+) (KEPT|BROKEN)(?: \(.*\))?$", output, flags=re.MULTILINE)
    return dict(found)


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
    "module",
    [
        "reid",
        "reid.settings.loading",
        "reid.container.registry",
        "reid.container.root",
        "reid.cli.app",
    ],
)
def test_it_imports_without_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NOWHERE = "nowhere-at-all"
RANDOM = ("--encoder", "vit-tiny", "--weights", "random")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("train", "--set", "finetuning.epoch=3"), 3),
        (("train", "--dataset", "market1502"), 3),
        (("train", "--data", NOWHERE), 4),
        (("train", "--data", ".", "--index", "exat"), 3),
        (("evaluate", *RANDOM, "--data", NOWHERE), 4),
        (("evaluate", "--run", NOWHERE), 5),
        (("identify", NOWHERE, "--gallery", ".", *RANDOM), 4),
        (("identify", ".", "--gallery", NOWHERE, *RANDOM), 8),
        (("identify", ".", "--gallery", ".", "--index", "exat", *RANDOM), 3),
        (("gallery", "list", NOWHERE), 8),
        (("gallery", "build", NOWHERE, NOWHERE, *RANDOM), 4),
        (("serve", "--gallery", NOWHERE, *RANDOM), 8),
        (("calibrate", NOWHERE, "--gallery", ".", *RANDOM), 4),
        (("index", "bench", NOWHERE), 8),
        (("dataset", "check", NOWHERE), 4),
        (("explain", NOWHERE, NOWHERE, "--output", "x.html", *RANDOM), 4),
        (("compare", NOWHERE, NOWHERE), 5),
        (("reproduce", NOWHERE), 5),
        (("report", NOWHERE), 5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_that_needs_no_torch_comes_without_it(
    arguments: tuple[str, ...], code: int
) -> None:
    program = (
        "import sys\nfrom reid.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print([m for m in ('torch', 'numpy', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (code, "[]"), done.stderr


def test_the_program_loads_its_container_without_fastapi() -> None:
    program = (
        "import sys\nfrom reid.container.program import load_container\nload_container()\n"
        "print('fastapi' in sys.modules)\nimport fastapi.params"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
