"""Milvus Lite: the same client, a file instead of a cluster."""

from pathlib import Path

import pytest


def lite_address(folder: Path) -> str:
    """Name a file in a folder; skip where the wheel is not there."""
    pytest.importorskip("milvus_lite", reason="no Milvus Lite")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / "milvus.db")
