"""Prompts become the official code's tokens, for people and for vehicles."""

import numpy as np
import pytest

from reid.adapters.encoders.text_encoder import template_tokens
from tests.golden.loading import BIG, FOLDER, TINY, load_golden

TOKEN_X = 343
CONTEXT = 77


@pytest.mark.parametrize("subject", ["person", "vehicle"])
def test_a_template_has_the_official_tokens(subject: str) -> None:
    prefix, suffix = template_tokens(f"A photo of a {{}} {subject}.")
    tokens = [*prefix, *[TOKEN_X] * 4, *suffix]
    golden = np.load(FOLDER / "misc.npz")[f"tok_{subject}"][0]
    assert tokens == golden[: len(tokens)].tolist()
    assert not golden[len(tokens) :].any()


@pytest.mark.parametrize("name", [*TINY, *BIG])
def test_the_official_suffix_is_ours_and_padding(name: str) -> None:
    prefix, suffix = template_tokens("A photo of a {} person.")
    arrays = load_golden(name).arrays
    padding = CONTEXT - len(prefix) - 4 - len(suffix)
    assert arrays["prefix_shape"].tolist()[1] == len(prefix)
    assert arrays["suffix_shape"].tolist()[1] == len(suffix) + padding
