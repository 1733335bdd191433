"""Files of models: downloads that are continued, copies of the user, and digests."""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request

import pytest

from reid.adapters.model_files import PART, PINS, CachedModelFiles
from reid.application.fetch_models import FetchModel
from reid.domain.errors import EncoderError
from reid.domain.values.models import ModelEntry
from reid.known_models import entry_named, folder_of
from tests.models import entry_text, ship

CONTENT = bytes(range(256)) * 40


class Answer(BytesIO):
    """What a server sends, perhaps not to its end."""

    def __init__(self, content: bytes, *, status: int) -> None:
        super().__init__(content)
        self.status = status


class Server:
    """Serves files by address, with ranges unless told not to; breaks off once if told to."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        has_ranges: bool = True,
        breaks_after: int | None = None,
    ) -> None:
        self.files = files
        self.asked: list[str | None] = []
        self._has_ranges = has_ranges
        self._breaks_after = breaks_after

    def open(self, request: Request) -> Answer:
        content = self.files[request.full_url.rpartition("/")[2]]
        asked = request.get_header("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if self._has_ranges and start:
            if start >= len(content):
                raise HTTPError(request.full_url, 416, "no rest", request.headers, None)  # type: ignore[arg-type]
            return Answer(content[start:], status=206)
        end, self._breaks_after = self._breaks_after, None
        return Answer(content[:end], status=200)


def fetching(server: Server, *, identities: int | None = None) -> FetchModel:
    files = CachedModelFiles(open_address=server.open, advance=lambda _: None)
    return FetchModel(files=files, count_identities=lambda _: identities)


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    ship(
        tmp_path / "shipped",
        entry_text("known", file="known.bin", content=CONTENT),
        entry_text("unpinned", file="unpinned.bin"),
        entry_text("mine", file="mine.bin", by_hand="Ask for it.\nThen copy it.", identities=7),
        patch=monkeypatch,
    )
    return entry_named("known")


def test_a_shipped_file_that_is_gone_is_not_downloaded(entry: ModelEntry) -> None:
    shipped = replace(entry, files=tuple(replace(file, url=None) for file in entry.files))
    with pytest.raises(EncoderError, match=r"comes with the program.*install the program again"):
        fetching(Server({})).run(shipped)


def test_a_download_is_verified_and_found_again(entry: ModelEntry) -> None:
    server = Server({"known.bin": CONTENT})
    outcome = fetching(server).run(entry)
    assert Path(outcome.place).read_bytes() == CONTENT
    assert outcome.num_downloaded == 1
    assert outcome.files[0].is_as_published
    assert sorted(path.name for path in folder_of(entry).iterdir()) == ["known.bin"]
    assert fetching(server).run(entry).num_downloaded == 0
    assert server.asked == [None]


def test_an_interrupted_download_goes_on_where_it_stopped(entry: ModelEntry) -> None:
    server = Server({"known.bin": CONTENT}, breaks_after=1000)
    with pytest.raises(EncoderError, match=r"ended after 1000 bytes.*goes on where it stopped"):
        fetching(server).run(entry)
    assert not (folder_of(entry) / "known.bin").exists()
    assert Path(fetching(server).run(entry).place).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(entry: ModelEntry) -> None:
    server = Server({"known.bin": CONTENT}, has_ranges=False, breaks_after=1000)
    with pytest.raises(EncoderError):
        fetching(server).run(entry)
    assert Path(fetching(server).run(entry).place).read_bytes() == CONTENT


def test_a_download_that_was_complete_but_not_renamed_is_taken(entry: ModelEntry) -> None:
    part = folder_of(entry) / f"known.bin{PART}"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    server = Server({"known.bin": CONTENT})
    assert Path(fetching(server).run(entry).place).read_bytes() == CONTENT
    assert not part.exists()


def test_another_file_than_the_known_one_is_refused_and_deleted(entry: ModelEntry) -> None:
    server = Server({"known.bin": CONTENT[::-1]})
    with pytest.raises(EncoderError, match=r"its digest is sha256:.*, and should be sha256:"):
        fetching(server).run(entry)
    assert list(folder_of(entry).iterdir()) == []


def test_without_a_network_it_says_where_a_copy_belongs(entry: ModelEntry) -> None:
    def fail(request: Request) -> Answer:
        raise URLError(f"no host {request.host}")

    files = CachedModelFiles(open_address=fail, advance=lambda _: None)
    with pytest.raises(EncoderError, match=r"no host example\.org") as told:
        FetchModel(files=files, count_identities=lambda _: None).run(entry)
    place = folder_of(entry) / "known.bin"
    assert f"copy it to {place}" in str(told.value)
    place.write_bytes(CONTENT)
    assert fetching(Server({})).run(entry).place == str(place)


def test_the_first_digest_is_kept_where_none_is_published(entry: ModelEntry) -> None:
    assert entry.name == "known"
    unpinned = entry_named("unpinned")
    outcome = fetching(Server({"unpinned.bin": CONTENT})).run(unpinned)
    assert not outcome.files[0].is_as_published
    assert (folder_of(unpinned) / PINS).is_file()
    Path(outcome.place).write_bytes(b"another")
    with pytest.raises(EncoderError, match="is not the file of unpinned that was first fetched"):
        fetching(Server({})).run(unpinned)


def test_what_only_the_user_can_fetch_says_how(entry: ModelEntry, tmp_path: Path) -> None:
    assert entry.name == "known"
    mine = entry_named("mine")
    with pytest.raises(EncoderError, match=r"by you:\nAsk for it.\nThen copy it.\nOr copy it to"):
        fetching(Server({})).run(mine)
    copy = tmp_path / "downloaded.pth"
    copy.write_bytes(CONTENT)
    outcome = fetching(Server({}), identities=7).run(mine, origin=str(copy))
    assert Path(outcome.place).read_bytes() == CONTENT
    assert outcome.num_identities == 7
    assert copy.is_file()


@pytest.mark.parametrize(("found", "words"), [(8, "8 identities"), (None, "no classifier")])
def test_another_classifier_than_the_model_s_is_refused(
    entry: ModelEntry, tmp_path: Path, found: int | None, words: str
) -> None:
    assert entry.name == "known"
    copy = tmp_path / "downloaded.pth"
    copy.write_bytes(CONTENT)
    with pytest.raises(EncoderError, match=f"holds {words}, and mine has one of 7"):
        fetching(Server({}), identities=found).run(entry_named("mine"), origin=str(copy))


def test_a_copy_of_the_user_is_compared_before_it_is_taken(
    entry: ModelEntry, tmp_path: Path
) -> None:
    wrong, right = tmp_path / "wrong.bin", tmp_path / "right.bin"
    wrong.write_bytes(b"wrong")
    right.write_bytes(CONTENT)
    with pytest.raises(EncoderError, match="look for the right one"):
        fetching(Server({})).run(entry, origin=str(wrong))
    assert wrong.is_file()
    with pytest.raises(EncoderError, match=r"does not exist; known consists of known.bin"):
        fetching(Server({})).run(entry, origin=str(tmp_path / "none"))
    outcome = fetching(Server({})).run(entry, origin=str(right))
    # The file that is there already may be named, too.
    assert fetching(Server({})).run(entry, origin=outcome.place).place == outcome.place
