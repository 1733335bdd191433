"""Probes of folders and machine, and what is told of cached weights and settings."""

import hashlib
import os
import platform
from pathlib import Path

import pytest

from reid.adapters.devices import measure_bf16, torch_facts
from reid.adapters.encoders import openai_weights
from reid.adapters.surroundings import (
    machine_facts,
    private_words,
    processor_name,
    try_writing,
)
from reid.domain.errors import ConfigurationError
from reid.settings.loading import NOT_SHOWN, load_settings, told_settings


def test_a_folder_that_can_be_written_passes_and_keeps_nothing(tmp_path: Path) -> None:
    assert try_writing(lambda: tmp_path) == "can be written"
    assert try_writing(lambda: tmp_path / "not" / "made" / "yet") == "can be made and written"
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigurationError, match="a file stands where the folder should be"):
        try_writing(lambda: tmp_path / "runs" / "people")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody can write")
def test_a_folder_that_nobody_can_write_is_found() -> None:
    with pytest.raises(ConfigurationError, match="it cannot be written: "):
        try_writing(lambda: Path("/proc/self"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_we_may_not_write_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        try_writing(lambda: tmp_path)


def test_a_full_disk_is_found_and_the_probe_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        try_writing(lambda: tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_told_as_linux_and_a_container_tell_it(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:  4096 kB\nMemFree: 1 kB\nMemAvailable:  2048 kB\n")
    limit.write_text("1048576\n")
    told = machine_facts(meminfo=meminfo, limit=limit)
    assert {name: value for name, value in told.items() if "MiB" in name} == {
        "memory MiB": 4,
        "free memory MiB": 2,
        "memory limit MiB": 1,
    }


def test_memory_without_either_is_the_whole(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    told = machine_facts(meminfo=tmp_path / "none", limit=tmp_path / "memory.max")
    assert [name for name in told if "MiB" in name] == ["memory MiB"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast 9\nflags\t\t: fpu avx2\n", "Fast 9"),
        ("processor\t: 0\nFeatures\t: fp asimd\n", None),
        ("", None),
    ],
)
def test_a_processor_is_told_as_linux_tells_it(
    tmp_path: Path, content: str, name: str | None
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(content)
    assert processor_name(cpuinfo=cpuinfo) == (name or platform.processor() or platform.machine())


@pytest.mark.parametrize(
    ("products", "convolutions", "is_slow"),
    [(0.3, 0.6, False), (8.3, 0.6, True), (1.1, 98.4, True), (1.2, 1.4, False)],
)
def test_bf16_is_timed_against_fp32(products: float, convolutions: float, *, is_slow: bool) -> None:
    now, spent = 0.0, iter([1.0] * 3 + [products] * 3 + [1.0] * 3 + [convolutions] * 3)

    is_running = False

    def clock() -> float:
        nonlocal now, is_running
        is_running = not is_running
        if not is_running:
            now += next(spent)
        return now

    speed = measure_bf16(clock)
    assert speed == pytest.approx((products, convolutions))
    assert speed.is_slow is is_slow


def test_machine_and_torch_are_told_without_names() -> None:
    told = f"{machine_facts()} {torch_facts()}"
    assert "'threads':" in told
    assert not any(f"'{word}'" in told for word in private_words())


def test_a_deleted_working_folder_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert "<home>" in private_words().values()


def test_cached_archives_are_told_from_damaged_and_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(
        openai_weights,
        "PUBLISHED",
        {
            kind: {"url": f"https://host/{digest}/{kind}.pt", "hf_hub": "none/here/"}
            for kind in ("rn50", "vit-b16")
        },
    )
    resnet, vit = (tmp_path / f"{kind}.pt" for kind in ("rn50", "vit-b16"))
    resnet.write_bytes(content)
    vit.write_bytes(content[:3])
    told = openai_weights.describe_cached_weights(tmp_path)
    assert told["rn50"] == "cached, as OpenAI's archive"
    assert told["vit-b16"] == "cached, but damaged: it will be fetched again"
    resnet.unlink()
    assert openai_weights.describe_cached_weights(tmp_path)["rn50"].startswith("not cached")


def test_chosen_settings_are_told_with_who_chose_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REID_FINETUNING__EPOCHS", "7")
    config = tmp_path / "reid.toml"
    config.write_text('[dataset]\nroot = "images-of-anna"\n')
    resolved = load_settings(config=config, options={"seed": 5, "encoder.kind": "rn50"})
    assert told_settings(resolved, shows_paths=False) == {
        "recipe": "rn50 (default)",
        "seed": "5 (option)",
        "encoder.kind": "rn50 (option)",
        "dataset.root": f"{NOT_SHOWN} (file reid.toml)",
        "finetuning.epochs": "7 (environment REID_FINETUNING__EPOCHS)",
    }
    shown = told_settings(resolved, shows_paths=True)
    assert shown["dataset.root"] == f"images-of-anna (file {config})"


@pytest.mark.parametrize(
    ("key", "value", "is_ever_shown"),
    [
        ("gallery.postgres.address", "postgresql://anna:secret@host/db", False),
        ("gallery.milvus.address", "http://secret", False),
        ("gallery.milvus.token", "anna:secret", False),
        ("service.token", "secretsecretsecretsecret", False),
        ("encoder.weights", "secret/final.pth", True),
        ("encoder.options.place", "secret", True),
        ("gallery.tenant", "secret", True),
        ("service.host", "secret.example", True),
    ],
)
def test_private_settings_are_not_shown_and_secrets_never(
    key: str,
    value: str,
    is_ever_shown: bool,  # noqa: FBT001
) -> None:
    resolved = load_settings(options={key: value})
    told = told_settings(resolved, shows_paths=False)
    assert NOT_SHOWN in told[key]
    assert "secret" not in str(told)
    assert ("secret" in str(told_settings(resolved, shows_paths=True))) == is_ever_shown
