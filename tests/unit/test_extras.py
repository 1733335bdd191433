from importlib.metadata import metadata, version

from reid.extras import EXTRAS, Extra, describe_extra, installed_version


def test_an_installed_package_is_named_with_its_version() -> None:
    extra = Extra("pillow", "pictures", "decodes", otherwise="nobody does")
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
