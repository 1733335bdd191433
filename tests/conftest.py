"""Settings for all tests."""

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no failure: no test asserts a time.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")


LONGEST = ("test_readme.py", "test_from_scratch.py")
"""Minutes in one piece, which no other process can take over."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that the other process has enough to do until they end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage the modules and tests, which stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave the user's own cache folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_setting_of_that_name() -> Iterator[None]:
    """Hide the folder of real models, whose tests have read it, from the program's settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REID_MODELS_ROOT", raising=False)
        yield


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("REID_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system in memory, mounted with the options that are asked for."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        order = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(order, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        return folder

    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    yield mount
    # Lazily: a process that has yet to end would keep the disk, and nobody could tidy its folder.
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.fixture(scope="session", autouse=True)
def _place_for_exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the processes of xdist, whose folders lie in one, share what takes seconds to write."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPORTS_OF_ALL_TESTS", str(shared / "exports"))
        yield
