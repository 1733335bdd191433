from importlib.metadata import metadata, version

import pytest

from reid import extras
from reid.domain.errors import ConfigurationError
from reid.extras import EXTRAS, Extra, describe_extra, installed_version, needed_for


def test_an_installed_package_is_named_with_its_version() -> None:
    extra = Extra("pillow", "images", "decodes", otherwise="nobody does")
    assert describe_extra(extra) == f"pillow {version('pillow')} decodes"


def test_a_missing_package_comes_with_what_to_install() -> None:
    extra = Extra("no-such-package", "fast", "decodes", otherwise="Pillow does")
    assert installed_version(extra.package) is None
    assert describe_extra(extra) == (
        "no-such-package is not installed (Pillow does): pip install 'clip-reid[fast]'"
    )


def test_every_extra_is_one_of_the_distribution() -> None:
    offered = metadata("clip-reid").get_all("Provides-Extra") or []
    assert {extra.extra for extra in EXTRAS} <= set(offered)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, r"a PNG needs resvg-py, which is not installed: pip install 'clip-reid\[plots\]'"),
        ("0.5", r"which is installed \(0\.5\) and cannot be imported: ImportError: too old: pip"),
    ],
)
def test_a_package_that_is_missing_is_told_from_one_that_is_broken(
    version: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "installed_version", lambda _: version)
    with (
        pytest.raises(ConfigurationError, match=said),
        needed_for("a PNG", package="resvg-py"),
    ):
        raise ImportError("too old")
