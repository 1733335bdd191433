"""What an explanation marks matters: blotted out, it lowers the similarity more than the rest."""

from pathlib import Path

import pytest
import torch

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.images.folders import open_images
from reid.adapters.synthetic.generator import DrawnDataset
from reid.domain.services.explaining import PairExplainer
from reid.domain.services.lists import select_images
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize

ENCODERS = {
    "rn-tiny": EncoderRequest(kind="rn-tiny", image_size=ImageSize(128, 64)),
    "vit-tiny": EncoderRequest(kind="vit-tiny", image_size=ImageSize(128, 64)),
    "vit-tiny-cameras": EncoderRequest(
        kind="vit-tiny", image_size=ImageSize(128, 64), num_cameras=2
    ),
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "people"
    DrawnDataset(
        identities=1,
        test_identities=8,
        images_per_camera=2,
        cameras=2,
        distractors=0,
        junk=0,
        seed=1,
    ).draw(folder)
    return folder


@pytest.mark.parametrize("request_", list(ENCODERS.values()), ids=list(ENCODERS))
def test_masking_what_is_marked_costs_more_similarity_than_masking_anything_else(
    people: Path, request_: EncoderRequest
) -> None:
    queries, gallery = open_images(people / "query"), open_images(people / "bounding_box_test")
    explainer = PairExplainer(encoder=create_clip_encoder(request_), seed=1)
    checks = []
    for query in queries.images():
        match = next(
            image
            for image in gallery.images()
            if image.label == query.label and image.camera != query.camera
        )
        explanation = explainer.explain(
            select_images(queries, [query]), select_images(gallery, [match])
        )
        assert explanation.are_cameras_used == (request_.num_cameras > 0)
        checks += [explanation.query.check, explanation.gallery.check]
    found = torch.tensor([[c.most_marked, c.least_marked, c.random] for c in checks])
    marked, unmarked, random = found.mean(dim=0).tolist()
    assert len(checks) == 32
    assert marked < random
    assert marked < unmarked
    assert (found[:, 0] < found[:, 2]).float().mean() > 0.7
