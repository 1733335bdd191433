"""Damaged and made-up input of every kind: an answer, or an error of our own, and soon."""

import gzip
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from reid.adapters.datasets.csv_dataset import CsvDataset
from reid.adapters.datasets.market1501 import parse_cuhk03_name
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.exported import read_export_header
from reid.adapters.encoders.weights import read_weights_file
from reid.adapters.galleries.archive import FileArchive
from reid.adapters.images import decoding
from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.folders import open_images
from reid.adapters.images.market_names import parse_market_name
from reid.adapters.runs.records import FilesystemRunRecords
from reid.adapters.safetensors_file import (
    HEADER_KEY,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from reid.adapters.vectors_file import read_vectors
from reid.domain.errors import ConfigurationError, DatasetError, ReidError
from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.galleries import EncoderFingerprint, NewImage
from reid.domain.values.samples import ImageSize, Resampling, Split
from reid.settings.loading import load_settings
from tests.fakes.gallery_archive import archived
from tests.images import encode, scene

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

COUNTS = [500, pytest.param(10_000, marks=pytest.mark.slow)]
"""Damaged inputs of each of the two byte-level tests."""

SECONDS = 2.0
"""Most that an input may take: of the processor, since a busy machine is no hang."""

SECONDS_BLOCKED = 60.0
"""Most that an input may take of the clock, for one that waits instead of working."""

SECONDS_BETWEEN_LOOKS = 0.5


class Hang(BaseException):
    """An input took too long; no `except Exception` swallows it."""


@contextmanager
def hang_guard() -> Iterator[None]:
    worked, begun = time.thread_time(), time.monotonic()

    def look(*_: object) -> None:
        work, clock = time.thread_time() - worked, time.monotonic() - begun
        if work > SECONDS or clock > SECONDS_BLOCKED:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Hang(f"{work:.1f} s of work in {clock:.1f} s")

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # One may be on its way still, and by default it ends the process.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Damage a file in one to four ways."""
    damaged = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(damaged) + 1) if draw.random() < 0.5 else draw.randrange(200)
        place = min(place, len(damaged))
        length = min(draw.choice((1, 1, 2, 4, 8, 64)), len(damaged) - place)
        match draw.randrange(7):
            case 0:
                damaged[place : place + 1] = bytes(
                    byte ^ 1 << draw.randrange(8) for byte in damaged[place : place + 1]
                )
            case 1:
                damaged[place : place + length] = draw.randbytes(length)
            case 2:
                extreme = draw.choice((b"\x00", b"\xff", b"\x7f", b"\x80"))
                damaged[place : place + length] = extreme * length
            case 3:
                del damaged[place : place + length]
            case 4:
                damaged[place:place] = draw.randbytes(draw.randint(1, 16))
            case 5:
                damaged[place:place] = damaged[place : place + 256]
            case _:
                del damaged[max(place, len(damaged) // 8) :]
    return mutate(content, draw) if damaged == content else bytes(damaged)


def attack(
    kinds: Mapping[str, tuple[bytes, Callable[[bytes], object]]], *, count: int, seed: int
) -> dict[str, int]:
    """Feed damaged files to their readers in turn; return how many of each kind were read."""
    draw = random.Random(seed)
    num_read = dict.fromkeys(kinds, 0)
    names = list(kinds)
    for number in range(count):
        name = names[number % len(names)]
        content, read = kinds[name]
        damaged = mutate(content, draw)
        try:
            with hang_guard():
                read(damaged)
        except ReidError:
            continue
        except BaseException as error:
            raise AssertionError(f"{name}, input {number} of seed {seed}") from error
        num_read[name] += 1
    return num_read


def test_the_guard_would_notice_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SECONDS", 0.05)
    monkeypatch.setitem(globals(), "SECONDS_BETWEEN_LOOKS", 0.01)

    def spin(_: bytes) -> None:
        while True:
            pass

    with pytest.raises(AssertionError, match="endless, input 0") as caught:
        attack({"endless": (bytes(300), spin)}, count=1, seed=0)
    assert isinstance(caught.value.__cause__, Hang)


# Images


def images() -> dict[str, bytes]:
    exif = scene().getexif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    return {
        "JPEG": encode(scene(), "JPEG"),
        "progressive JPEG": encode(scene(), "JPEG", progressive=True),
        "JPEG with restarts": encode(scene(), "JPEG", restart_marker_blocks=1),
        "CMYK": encode(scene().convert("CMYK"), "JPEG"),
        "JPEG with Exif": encode(scene(), "JPEG", exif=exif),
        "PNG": encode(scene(), "PNG"),
        "palette": encode(scene().convert("P"), "PNG", transparency=3),
        "PNG with Exif": encode(scene().convert("RGBA"), "PNG", exif=exif),
        "BMP": encode(scene(), "BMP"),
        "WEBP": encode(scene(), "WEBP"),
        "lossless WEBP": encode(scene(), "WEBP", lossless=True, exif=exif),
    }


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("is_fast", [True, False], ids=["simplejpeg", "Pillow alone"])
def test_a_damaged_image_is_read_or_refused_in_our_own_words(
    *, count: int, is_fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IS_FAST", is_fast and decoding.IS_FAST)
    path = tmp_path / "damaged.jpg"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        files = ImageFiles(tmp_path)
        bad = files.find_unreadable([path.name])
        small = files.thumbnails([path.name], height=8)
        assert [content is None for content in small] == [bool(bad)]
        files.read([path.name], size=ImageSize(8, 4), resampling=Resampling.BILINEAR)
        assert not bad

    kinds = {name: (content, read) for name, content in images().items()}
    num_read = attack(kinds, count=count, seed=count)
    assert 0 < sum(num_read.values()) < count


# Checkpoints, weights, galleries, records


def weights_of(folder: Path) -> dict[str, bytes]:
    state = {
        "visual.conv1.weight": torch.arange(48.0).reshape(4, 3, 2, 2),
        "visual.ln_pre.bias": torch.zeros(4, dtype=torch.float16),
    }
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(state, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    torch.jit.script(module).save(folder / "torchscript")  # type: ignore[no-untyped-call]
    save_file(state, folder / "safetensors")
    names = ("zip", "legacy", "torchscript", "safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def checkpoint_in(folder: Path) -> bytes:
    path = folder / "own"
    header: dict[str, Any] = {
        "format": "reid-encoder",
        "encoder": {"name": "vit-tiny", "weights": "random", "options": {"image_size": [32, 16]}},
    }
    tensors = {"image_encoder.conv1.weight": torch.ones(4, 3, 2, 2), "cv_embed": torch.ones(2, 1)}
    write_checkpoint(path, Checkpoint(tensors=tensors, header=header))
    return path.read_bytes()


def archive_in(folder: Path) -> bytes:
    image = NewImage(name="a.jpg", source="here", content="0", label="ann", camera=None)
    fingerprint = EncoderFingerprint(name="vit-tiny", weights="random", digest="0", width=4)
    FileArchive(folder / "archive").write(archived(fingerprint, [image], torch.eye(1, 4)))
    return (folder / "archive").read_bytes()


def queries() -> dict[str, Any]:
    return {
        "query": ["a.jpg", "b.jpg"],
        "average_precision": [0.5, 1.0],
        "inverse_negative_penalty": [0.5, 1.0],
        "first_match_rank": [1, 1],
        "num_matches": [1, 2],
        "query_digest": "0",
        "weights_digest": "0",
    }


def exported() -> dict[str, Any]:
    size = {"height": 32, "width": 16}
    return {"format": "reid-exported-encoder", "runtime": "onnx", "geometry": {"image_size": size}}


def stored_in(folder: Path, name: str, read: Callable[[], object]) -> Callable[[bytes], object]:
    def write_and_read(content: bytes) -> object:
        (folder / name).write_bytes(content)
        return read()

    return write_and_read


@pytest.mark.parametrize("count", COUNTS)
def test_a_damaged_checkpoint_is_read_or_refused_in_our_own_words(
    count: int, tmp_path: Path
) -> None:
    whole, place = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    place.mkdir()
    run = FilesystemRunRecords(place)
    own = place / "own.safetensors"
    np.save(whole / "vectors.npy", np.ones((3, 4), dtype=np.float32))
    manifest = {"version": 1, "fingerprint": {"seed": 1}, "environment": {}}
    kinds: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        name: (content, stored_in(place, name, lambda n=name: read_weights_file(place / n)))  # type: ignore[misc]
        for name, content in weights_of(whole).items()
    }
    kinds |= {
        "checkpoint": (
            checkpoint_in(whole),
            stored_in(place, own.name, lambda: (read_header(own), read_checkpoint(own))),
        ),
        "encoder of a run": (
            checkpoint_in(whole),
            stored_in(place, own.name, lambda: read_weights_file(own)),
        ),
        "gallery archive": (
            archive_in(whole),
            stored_in(place, "archive", lambda: FileArchive(place / "archive").read()),
        ),
        "vectors": (
            (whole / "vectors.npy").read_bytes(),
            stored_in(place, "v.npy", lambda: read_vectors(place / "v.npy")),
        ),
        "manifest": (
            json.dumps(manifest).encode(),
            stored_in(place, "run.json", run.manifest),
        ),
        "compressed scores": (
            gzip.compress(json.dumps(queries()).encode()),
            stored_in(
                place, "evaluation.queries.json.gz", lambda: run.report("evaluation.queries")
            ),
        ),
        "log": (b'{"epoch": 1}\n{"epoch": 2}\n', stored_in(place, "metrics.jsonl", run.progress)),
        "exported encoder": (
            json.dumps(exported()).encode(),
            stored_in(place, "encoder.json", lambda: read_export_header(place)),
        ),
    }
    num_read = attack(kinds, count=count, seed=count)
    assert num_read["checkpoint"] == 0, "every damage shows in the digest"
    assert num_read["encoder of a run"] == num_read["gallery archive"] == 0
    assert 0 < sum(num_read.values()) < count


# Settings, names, lists, headers

QUICK = settings(max_examples=150, suppress_health_check=list(HealthCheck))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["seed", "device", "encoder.image_size", "encoder.options", "dataset.also", "finetuning.epochs",
     "index.annoy.recall", "gallery.expire_after", "identify.unknown", "run", "recipe"]
)  # fmt: skip


@QUICK
@given(st.lists(st.tuples(KEYS | st.text(max_size=12), VALUES | st.text(max_size=20)), max_size=3))
def test_any_settings_are_taken_or_refused_in_our_own_words(
    assigned: Sequence[tuple[str, object]],
) -> None:
    written = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in assigned
    ]
    with hang_guard():
        try:
            load_settings(assignments=written)
        except ConfigurationError:
            return


@QUICK
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8")))
def test_any_settings_file_is_taken_or_refused_in_our_own_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, hang_guard():
        path = Path(folder) / "settings.toml"
        path.write_bytes(content)
        try:
            load_settings(config=path)
        except ConfigurationError:
            return


NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & {0, ord("/")})


@QUICK
@given(st.sets(NAMES, min_size=1, max_size=5))
def test_a_folder_of_any_names_is_listed_and_each_is_read_or_refused(names: set[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder, hang_guard():
        for name in names:
            parse_market_name(os.fsdecode(name))
            parse_cuhk03_name(os.fsdecode(name))
            Path(folder, os.fsdecode(name + b".png")).write_bytes(encode(scene(), "PNG"))
        source = open_images(Path(folder))
        try:
            listed = [image.name for image in source.images()]
        except DatasetError:
            return  # all are dot files, or junk
        for found in listed:
            assert found.encode("utf-8")
        bad = {image.name for image in source.reader.find_unreadable(listed)}
        good = [found for found in listed if found not in bad]
        size = ImageSize(4, 2)
        assert len(source.reader.read(good, size=size, resampling=Resampling.BILINEAR)) == len(good)


CELLS = st.text(max_size=6) | st.sampled_from(["a.png", "../a.png", "/a.png", "1", "-1", "train"])


@QUICK
@given(
    st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=5).map("\n".join)
    | st.binary(max_size=60).map(lambda content: content.decode("latin-1"))
)
def test_any_list_is_read_or_refused_and_leads_nowhere_else(rows: str) -> None:
    with tempfile.TemporaryDirectory() as folder, hang_guard():
        Path(folder, "a.png").write_bytes(encode(scene(), "PNG"))
        for header in ("path,label\n", "path,pid,camid,split\n", ""):
            path = Path(folder) / "list.csv"
            path.write_text(header + rows, encoding="utf-8", errors="surrogatepass")
            try:
                listed = [image.name for image in open_images(path).images()]
            except DatasetError:
                listed = []
            assert set(listed) <= {"a.png"}
            try:
                known = [sample.name for sample in CsvDataset(path).samples(Split.TRAIN)]
            except DatasetError:
                known = []
            assert set(known) <= {"a.png"}


HEADERS = VALUES | st.fixed_dictionaries(
    {"format": st.sampled_from(["reid-encoder", "reid-gallery", 3])},
    optional={
        "encoder": VALUES
        | st.fixed_dictionaries(
            {"name": st.sampled_from(["vit-tiny", "rn-tiny", "x"]) | VALUES},
            optional={
                "options": VALUES
                | st.dictionaries(
                    st.sampled_from(["image_size", "stride", "num_cameras", "activation"]), VALUES
                ),
                "weights": VALUES,
                "is_pretrained": VALUES,
            },
        ),
        "version": VALUES,
        "digest": VALUES,
        "fingerprint": VALUES,
    },
)


@QUICK
@given(HEADERS)
def test_any_header_of_a_checkpoint_is_read_or_refused_in_our_own_words(header: object) -> None:
    tensors = {"image_encoder.conv1.weight": torch.zeros(4, 3, 2, 2)}
    with tempfile.TemporaryDirectory() as folder, hang_guard():
        path = Path(folder) / "a.safetensors"
        save_file(tensors, path, {HEADER_KEY: json.dumps(header)})
        request = EncoderRequest(kind=None, weights=str(path))
        readers: list[Callable[[], object]] = [
            lambda: read_header(path),
            lambda: read_checkpoint(path),
            lambda: read_weights_file(path),
            lambda: create_clip_encoder(request),
            lambda: FileArchive(path).read(),
        ]
        for read in readers:
            try:
                read()
            except ReidError:
                continue
