"""Catalogues of models for tests, in place of the program's own."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from reid import known_models

DATASETS = """
[datasets.home]
name = "Home"
terms = "for research only"
page = "https://example.org/home"

[datasets.away]
name = "Away"
terms = "for research only"
page = "https://example.org/away"
"""


def entry_text(name: str, *, file: str, content: bytes | None = None, **more: Any) -> str:
    """Write an entry of one file; its digest is known where its content is."""
    facts: dict[str, Any] = {
        "about": "an encoder of the tests",
        "licence": "MIT",
        "training_data": "drawn people",
        "trained_on": ["home"],
        "page": "https://example.org/model",
        **more,
    }
    lines = [f"[models.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in facts.items())]
    for on, average, rank in (("home", 81.5, 92.5), ("away", 12.5, 20.5)):
        lines += [
            f"[[models.{name}.scores]]",
            f'on = "{on}"\nmean_average_precision = {average}\nrank_1 = {rank}',
            'source = "a test"\nis_measured = true',
        ]
    lines += [f"[[models.{name}.files]]", f'name = "{file}"']
    if "by_hand" not in more and not more.get("is_default"):  # the default one is shipped
        lines.append(f'url = "https://example.org/{file}"')
    if content is not None:
        lines.append(f'digests = ["sha256:{hashlib.sha256(content).hexdigest()}"]')
        lines.append(f"size = {len(content)}")
    return "\n".join(lines)


def ship(folder: Path, *entries: str, patch: pytest.MonkeyPatch) -> Path:
    """Make a folder the program's own, with a catalogue of these entries and a cache of its own."""
    folder.mkdir(exist_ok=True)
    (folder / known_models.CATALOGUE).write_text("\n".join((DATASETS, "[models]", *entries)))
    patch.setattr(known_models, "SHIPPED", folder)
    patch.setenv("XDG_CACHE_HOME", str(folder.with_name("cache")))
    return folder
