"""Files of models in the user's cache folder, downloaded by urllib.

urllib is enough: one file at a time, continued by a range; a client with pools and retries would be
a dependency more.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from reid.adapters.atomic_files import replace_file, replaced, sync_file, sync_folder
from reid.domain.errors import CheckpointError, EncoderError
from reid.domain.values.models import FetchedFile, ModelEntry, ModelFile
from reid.known_models import (
    digest_of,
    folder_of,
    path_of,
    require_known_content,
)
from reid.small_files import MOST_SETTINGS_BYTES, parse_json, read_bounded

PINS = "digests.json"  # digests of files of which none is published, from their first time
PART = ".part"  # ending of a download that is not complete

_SECONDS = 30  # of silence after which a connection is given up
_BLOCK = 2**20
_ALL, _REST, _NO_REST = 200, 206, 416  # HTTP's status codes

_Open = Callable[[Request], BinaryIO]


def _open(request: Request) -> BinaryIO:
    if not request.full_url.startswith("https://"):
        raise ValueError(f"{request.full_url} is no https address")
    opened: BinaryIO = urlopen(request, timeout=_SECONDS)
    return opened


class CachedModelFiles:
    """Keeps the files of each model in a folder of its own."""

    def __init__(self, *, open_address: _Open = _open, advance: Callable[[int], None]) -> None:
        """Keep the parts; `advance` is told the bytes of each block that arrives."""
        self._open = open_address
        self._advance = advance

    def place_of(self, entry: ModelEntry) -> str:
        """The path of the first file."""
        return str(path_of(entry, entry.files[0]))

    def missing(self, entry: ModelEntry) -> tuple[ModelFile, ...]:
        """List the files that are neither in the program nor in the cache."""
        return tuple(file for file in entry.files if not path_of(entry, file).is_file())

    def download(self, entry: ModelEntry, file: ModelFile) -> None:
        """Download into `NAME.part`, which is continued the next time, and rename it at the end."""
        path = folder_of(entry) / file.name
        part = path.with_name(f"{path.name}{PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._receive(file, part)
            _require_known(file, part, advice="fetch it again")
            sync_file(part)
            part.replace(path)
            sync_folder(path.parent)
        except (URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise EncoderError(
                f"{file.url} cannot be fetched ({reason}): try again, which goes on where it "
                f"stopped; or, on a machine with a network, fetch it and copy it to {path}"
            ) from error
        except OSError as error:
            raise _unwritable(path, error) from error

    def _receive(self, file: ModelFile, part: Path) -> None:
        held = part.stat().st_size if part.is_file() else 0
        request = Request(str(file.url), headers={"User-Agent": "clip-reid"})
        if held:
            request.add_header("Range", f"bytes={held}-")
        try:
            answer = self._open(request)
        except HTTPError as error:
            if not held or error.code != _NO_REST:
                raise
            return  # it was complete already; its digest decides
        with closing(answer):
            continues = held and getattr(answer, "status", _ALL) == _REST
            with part.open("ab" if continues else "wb") as written:
                while block := answer.read(_BLOCK):
                    written.write(block)
                    self._advance(len(block))
        expected = file.size
        if expected is not None and part.stat().st_size < expected:
            raise ConnectionError(f"the connection ended after {part.stat().st_size} bytes")

    def adopt(self, entry: ModelEntry, origin: str) -> None:
        """Copy the user's files into the cache."""
        first = Path(origin)
        given = [first, *(first.with_name(file.name) for file in entry.files[1:])]
        for path, file in zip(given, entry.files, strict=True):
            if not path.is_file():
                raise EncoderError(
                    f"{path} does not exist; {entry.name} consists of "
                    f"{', '.join(one.name for one in entry.files)}"
                )
            _require_known(file, path, advice="look for the right one", keep=True)
        for path, file in zip(given, entry.files, strict=True):
            place = folder_of(entry) / file.name
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists() or not place.samefile(path):
                    with replaced(place) as temporary:
                        shutil.copyfile(path, temporary)
            except OSError as error:
                raise _unwritable(place, error) from error
        _write_pins(entry, {})

    def verify(self, entry: ModelEntry) -> tuple[FetchedFile, ...]:
        """Compare by the catalogue's digests; without any, by those of the first time."""
        pins = _read_pins(entry)
        found = [self._verified(entry, file, pins) for file in entry.files]
        new = {one.name: one.sha256 for one in found if not one.is_as_published}
        if new != pins:
            _write_pins(entry, new)
        return tuple(found)

    def _verified(self, entry: ModelEntry, file: ModelFile, pins: Mapping[str, str]) -> FetchedFile:
        path = path_of(entry, file)
        require_known_content(entry, file)
        sha256 = digest_of(path, "sha256").partition(":")[2]
        if not file.digests and pins.get(file.name, sha256) != sha256:
            raise EncoderError(
                f"{path} is not the file of {entry.name} that was first fetched (its digest was "
                f"sha256:{pins[file.name]}): delete it, and fetch it again"
            )
        return FetchedFile(
            name=file.name,
            size=path.stat().st_size,
            sha256=sha256,
            is_as_published=bool(file.digests),
        )


def _require_known(file: ModelFile, path: Path, *, advice: str, keep: bool = False) -> None:
    """Refuse another file than the one that is known; unless told to keep it, delete it."""
    for known in file.digests:
        found = digest_of(path, known.partition(":")[0])
        if found != known:
            if not keep:
                path.unlink()
            raise EncoderError(
                f"{path} is not {file.name} as it is known: its digest is {found}, and should be "
                f"{known}; {advice}"
            )


def _read_pins(entry: ModelEntry) -> dict[str, str]:
    path = folder_of(entry) / PINS
    try:
        content = parse_json(read_bounded(path, most_bytes=MOST_SETTINGS_BYTES))
        return {str(name): str(digest) for name, digest in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise EncoderError(f"{path} cannot be read ({error}): delete it") from error


def _write_pins(entry: ModelEntry, pins: Mapping[str, str]) -> None:
    path = folder_of(entry) / PINS
    try:
        if not pins:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(pins, indent=2).encode())
    except (OSError, CheckpointError) as error:
        raise EncoderError(f"{path} cannot be written ({error})") from error


def _unwritable(path: Path, error: OSError) -> EncoderError:
    return EncoderError(
        f"{path} cannot be written ({error.strerror or error}): free some space or make its folder "
        "writable; XDG_CACHE_HOME names another cache folder"
    )
