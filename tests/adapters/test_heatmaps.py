"""What is peculiar to explanations that are drawn."""

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid.adapters.pages.heatmaps import (
    draw_explanation,
    open_explanation_page,
    overlay,
    render_explanation,
)
from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.explanations import (
    DeletionCheck,
    ExplainedImage,
    Explanation,
    ExplanationMethod,
)
from reid.domain.values.samples import ListedImage

CHECK = DeletionCheck(share=0.2, most_marked=0.3, least_marked=0.8, random=0.5)


def explained(name: str = "a.jpg", *, check: DeletionCheck = CHECK) -> ExplainedImage:
    weights = torch.zeros(8, 4)
    weights[:4] = 1
    return ExplainedImage(
        image=ListedImage(name, "anna", "2"),
        pixels=torch.full((3, 32, 16), 100, dtype=torch.uint8),
        weights=weights,
        check=check,
    )


EXPLANATION = Explanation(
    query=explained(),
    gallery=explained("b.jpg", check=replace(CHECK, most_marked=0.9)),
    similarity=0.8125,
    method=ExplanationMethod.GRAD_CAM,
    encoder=EncoderDescription(name="rn-tiny", weights="random (seed 1)", is_pretrained=False),
    are_cameras_used=False,
)


def test_what_is_marked_is_coloured_and_the_rest_dimmed() -> None:
    pixels = np.asarray(overlay(explained()))
    assert pixels.shape == (32, 16, 3)
    red, green, blue = pixels[2, 8].tolist()
    assert red > 100
    assert red > green > blue
    assert pixels[-2, 8].tolist() == [35, 35, 35]


def test_the_image_holds_all_four_panels_side_by_side() -> None:
    drawn = np.asarray(draw_explanation(EXPLANATION))
    row = drawn[30]
    is_panel = (row != 255).any(axis=1)
    starts = np.flatnonzero(is_panel & ~np.roll(is_panel, 1))
    assert starts.tolist() == [16, 48, 80, 112]


def test_a_png_can_be_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "pair.png"
    assert open_explanation_page(path).write(EXPLANATION) == (str(path),)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == draw_explanation(EXPLANATION).size


def test_a_page_carries_its_images_and_says_the_numbers() -> None:
    page = render_explanation(EXPLANATION)
    urls = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    sizes = [Image.open(BytesIO(base64.b64decode(url))).size for url in urls]
    assert sizes == [(16, 32)] * 4
    for words in ("0.8125", "a.jpg, label anna, camera 2", "not pretrained", "cameras left out"):
        assert words in page
    assert page.count("do not rely on the marks here") == 1


def test_a_page_asks_for_nothing_and_runs_nothing() -> None:
    page = render_explanation(EXPLANATION)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert re.findall(r"https?:|//[a-z]", re.sub(r"base64,[^\"]+", "", page)) == []


def test_names_and_labels_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    hostile = '"><script>alert(1)</script>{0}\n.jpg'
    image = replace(explained(), image=ListedImage(hostile, hostile, hostile))
    page = render_explanation(replace(EXPLANATION, query=image))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    open_explanation_page(tmp_path / "x.png").write(replace(EXPLANATION, query=image))


def test_a_name_beyond_the_fonts_signs_can_be_drawn() -> None:
    draw_explanation(replace(EXPLANATION, query=explained("\u5f20\u4e09\u0000.jpg")))


@pytest.mark.parametrize("name", ["pair.png", "PAIR.PNG"])
def test_png_is_an_image(tmp_path: Path, name: str) -> None:
    open_explanation_page(tmp_path / name).write(EXPLANATION)
    with Image.open(tmp_path / name) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("name", ["pair.html", "pair.htm"])
def test_html_is_a_page(tmp_path: Path, name: str) -> None:
    open_explanation_page(tmp_path / name).write(EXPLANATION)
    assert (tmp_path / name).read_text() == render_explanation(EXPLANATION)


def test_another_ending_or_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"pair\.jpg is neither"):
        open_explanation_page(tmp_path / "pair.jpg")
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_explanation_page(tmp_path / "none" / "pair.png")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "pair.png").mkdir()
    with pytest.raises(CheckpointError, match=r"pair\.png cannot be written"):
        open_explanation_page(tmp_path / "pair.png").write(EXPLANATION)
