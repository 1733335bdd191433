"""An encoder's towers, built from a plan and filled with weights."""

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from reid.adapters.encoders.architecture import EncoderPlan
from reid.adapters.encoders.image_tower import ImageTower, WithoutDrawing, resize_positions
from reid.adapters.encoders.text_encoder import TEXT_PREFIX, TextTower
from reid.adapters.encoders.weights import CAMERA_NAME, WeightsFile
from reid.domain.errors import EncoderError

_CAMERA_STD = 0.02
_BATCH_COUNT = ".num_batches_tracked"
"""Missing in files that keep parameters and running statistics only."""


def build_towers(
    plan: EncoderPlan, weights: WeightsFile | None, *, seed: int
) -> tuple[ImageTower, TextTower | None]:
    """Build towers with the weights of a file, or else with random ones.

    Raises:
        EncoderError: The weights do not fit.
    """
    architecture, text = plan.architecture, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - torch's own initialisers take no generator
        with ExitStack() as building:
            if weights is not None:
                # They replace all weights, so none are drawn or stored.
                building.enter_context(torch.device("meta"))
                building.enter_context(WithoutDrawing())
            visual = architecture.build_visual(plan)
            image = ImageTower(visual, camera_scale=plan.camera_scale)
            if architecture.text is not None and (weights is None or weights.text):
                width = architecture.projected_width
                text = TextTower(architecture.text, out_width=width, activation=plan.activation)
        if weights is None:
            visual.redraw()
        if plan.num_cameras:
            cameras = torch.empty(plan.num_cameras, architecture.width)
            image.cv_embed = nn.Parameter(nn.init.trunc_normal_(cameras, std=_CAMERA_STD))
    _fit_positions(image, plan)
    if weights is not None:
        _assign(image, _image_state(plan, weights, image), origin=weights.origin)
        if text is not None:
            if f"{TEXT_PREFIX}token_embedding.weight" not in weights.text:
                text.token_embedding = None
            _assign(text, weights.text, prefix=TEXT_PREFIX, origin=weights.origin)
    return image, text


def _fit_positions(image: ImageTower, plan: EncoderPlan) -> None:
    """Stretch drawn positions over the grid; without storage, set their size only."""
    owner, _, name = plan.architecture.positions_name.rpartition(".")
    module = image.get_submodule(owner)
    positions = module.get_parameter(name).detach()
    if positions.is_meta:
        fitting = positions.new_empty(1 + plan.grid.num_positions, positions.shape[1])
    else:
        source = plan.architecture.pretraining_grid
        fitting = resize_positions(positions, source=source, target=plan.grid)
    setattr(module, name, nn.Parameter(fitting))


def _image_state(plan: EncoderPlan, weights: WeightsFile, image: ImageTower) -> dict[str, Tensor]:
    state = dict(weights.image)
    positions = plan.architecture.positions_name
    state[positions] = resize_positions(state[positions], source=plan.source_grid, target=plan.grid)
    if image.cv_embed is None:
        # The paper's code also writes camera embeddings for a ResNet, which never uses them.
        state.pop(CAMERA_NAME, None)
    else:
        cameras = state.get(CAMERA_NAME, image.cv_embed.detach())
        # A camera with several views gets the mean of their rows: images do not tell their view.
        state[CAMERA_NAME] = cameras.reshape(plan.num_cameras, -1, cameras.shape[-1]).mean(dim=1)
    for name in image.state_dict():
        if name.endswith(_BATCH_COUNT):
            state.setdefault(name, torch.tensor(0))
    return state


def _assign(
    module: nn.Module, state: Mapping[str, Tensor], *, origin: str, prefix: str = ""
) -> None:
    """Assign the tensors to a module that was built without storage."""
    check_state(module.state_dict(prefix=prefix), state, origin=origin)
    own = {name.removeprefix(prefix): value for name, value in state.items()}
    module.load_state_dict(own, assign=True)


def check_state(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, origin: str
) -> None:
    """Compare names and shapes of weights.

    Raises:
        EncoderError: They differ.
    """
    problems = [
        *(f"{name} is missing" for name in expected if name not in given),
        *(f"{name} is unknown" for name in given if name not in expected),
        *(
            f"{name} is {tuple(given[name].shape)}, not {tuple(value.shape)}"
            for name, value in expected.items()
            if name in given and given[name].shape != value.shape
        ),
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise EncoderError(
            f"{origin} does not fit the encoder: {'; '.join(problems[:3])}{more}. "
            "Pass weights of the same architecture"
        )
