"""A service in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.program import clean_environment, run

ENCODER = ("--recipe", "tiny", "--weights", "random")


@dataclass(frozen=True)
class Service:
    """A running service."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def call(self, method: str, path: str, **named: Any) -> httpx.Response:
        return httpx.request(method, f"{self.address}{path}", timeout=60, **named)

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


def build_gallery(place: Path, images: Path) -> Path:
    run("gallery", "build", place, images, *ENCODER)
    return place


@contextmanager
def serving(gallery: Path, *arguments: str, log: Path) -> Iterator[Service]:
    command = ["serve", "--gallery", str(gallery), *ENCODER, "--port", "0", *arguments]
    code = "from reid.cli.app import main; main()"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *command],
            env=clean_environment() | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), log.read_text()
            yield Service(process, address, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
