"""CLIP-ReID's encoders behind the ports, and their factory.

Letters: B batch, D width, N cameras.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from reid.adapters.encoders.architecture import EncoderPlan
from reid.adapters.encoders.image_tower import ImageTower, WithoutDrawing, resize_positions
from reid.adapters.encoders.input_checks import check_cameras, check_images
from reid.adapters.encoders.plans import plan_encoder
from reid.adapters.encoders.registry import architecture_named
from reid.adapters.encoders.text_encoder import TEXT_PREFIX, ClipTextEncoder, TextTower
from reid.adapters.encoders.weights import (
    CAMERA_NAME,
    WeightsFile,
    download_openai_weights,
    read_weights_file,
)
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.transfers import to_device
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, EncoderRequest
from reid.domain.values.explanations import ImageTrace
from reid.domain.values.features import ImageFeatures

_PRECISIONS = ("fp32", "bf16")
_CAMERA_STD = 0.02
_BATCH_COUNT = ".num_batches_tracked"
"""Left out by writers that keep parameters and running statistics only."""


class ClipEncoder:
    """An image tower, and perhaps a text tower; `create_clip_encoder` makes it."""

    def __init__(
        self,
        image: ImageTower,
        text: ClipTextEncoder | None,
        *,
        geometry: EncoderGeometry,
        description: EncoderDescription,
        is_mixed_precision: bool = False,
        trains_in_mixed_precision: bool = False,
    ) -> None:
        """Put towers together that lie on one device.

        Args:
            image: Image tower.
            text: Text encoder; None where the weights have none.
            geometry: Sizes of the image tower.
            description: Name and origin.
            is_mixed_precision: Run the image tower under bfloat16 autocast.
            trains_in_mixed_precision: Likewise, while it is in training mode.
        """
        self._image = image
        self._text = text
        self._geometry = geometry
        self._description = description
        self._is_mixed = is_mixed_precision
        self._trains_mixed = trains_in_mixed_precision

    @property
    def geometry(self) -> EncoderGeometry:
        """Sizes and pixel statistics, fixed for the encoder's life."""
        return self._geometry

    @property
    def description(self) -> EncoderDescription:
        """Name and origin of the weights."""
        return self._description

    @property
    def device(self) -> torch.device:
        """Where inputs must lie and outputs appear."""
        return next(self._image.parameters()).device

    @property
    def image_tower(self) -> ImageTower:
        """The module, for an exporter to trace."""
        return self._image

    @property
    def text(self) -> ClipTextEncoder | None:
        """The text encoder that shares the space of projected features; None without one."""
        return self._text

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Encode images; see the port."""
        cameras = self._checked(images, camids)
        is_mixed = self._trains_mixed if self._image.training else self._is_mixed
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=is_mixed):
            return _run(self._image, images, cameras)

    def trace_images(self, images: Tensor, camids: Tensor | None = None) -> ImageTrace:
        """Encode images and show how; see the port. Always in float32."""
        return self._image.trace(images, self._checked(images, camids))

    def _checked(self, images: Tensor, camids: Tensor | None) -> Tensor | None:
        check_images(images, geometry=self._geometry)
        check_cameras(images, camids, geometry=self._geometry, description=self._description)
        return None if camids is None else to_device(images.device, camids)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Walk the image tower's parameters; see the port."""
        return self._image.named_parameters()

    def set_training(self, *, enabled: bool) -> None:
        """Switch the image tower between batch statistics and running ones."""
        self._image.train(enabled)

    def state(self) -> Mapping[str, Tensor]:
        """All of the image tower's parameters and buffers; see the port."""
        state: dict[str, Tensor] = self._image.state_dict()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Replace the image tower's parameters and buffers; see the port."""
        _check_state(self.state(), state, origin="the state given for the image tower")
        self._image.load_state_dict(dict(state))


def _run(image: ImageTower, images: Tensor, cameras: Tensor | None) -> ImageFeatures:
    try:
        features: ImageFeatures = image(images, cameras)
    except RuntimeError as error:
        # torch.compile's exceptions have no public name.
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"encoder.compile: torch cannot compile the image encoder here ({reason}); install a "
            "C++ compiler, or set encoder.compile to false"
        ) from error
    return features


def create_clip_encoder(request: EncoderRequest) -> ClipEncoder:
    """Build an encoder from random weights, OpenAI's, or a file.

    Random weights, and the camera embeddings that weights without cameras get, depend on the
    request's seed alone.

    Raises:
        ConfigurationError: An unknown kind, precision or device, or sizes that do not fit the kind.
        EncoderError: The weights cannot be had or read, or contradict the request.
    """
    is_mixed = _is_mixed(request.precision)
    trains_mixed = _is_mixed(request.training_precision or request.precision)
    weights = _find_weights(request)
    plan = plan_encoder(request, weights)
    image, text = _build_towers(plan, weights, seed=request.seed)
    for tower in (image, text):
        if tower is not None:
            _move(tower.eval(), request.device)
    if image.suits_channels_last and (is_mixed or trains_mixed):
        # Bfloat16 convolutions are 1.6 times as fast so, those in float32 no faster: they stay as
        # they are, so that results keep their last bits.
        image.to(memory_format=torch.channels_last)
    if request.compile:
        # In place, so that parameters keep their names; nothing is translated before the first run.
        image.compile()
    description = EncoderDescription(
        name=plan.architecture.kind,
        weights=weights.words if weights else f"random (seed {request.seed})",
        is_pretrained=weights.is_pretrained if weights else False,
        is_trained=weights is not None,
        options=plan.options(),
        num_identities=weights.num_identities if weights else None,
    )
    return ClipEncoder(
        image,
        None
        if text is None
        else ClipTextEncoder(text, weights=description.weights, is_mixed_precision=is_mixed),
        geometry=plan.geometry,
        description=description,
        is_mixed_precision=is_mixed,
        trains_in_mixed_precision=trains_mixed,
    )


def _is_mixed(precision: str) -> bool:
    if precision not in _PRECISIONS:
        raise ConfigurationError(
            f"encoder.precision: {precision!r} is unknown; choose one of {', '.join(_PRECISIONS)}"
        )
    return precision == "bf16"


def _find_weights(request: EncoderRequest) -> WeightsFile | None:
    if request.weights == "random":
        return None
    if request.weights == "openai":
        return download_openai_weights(architecture_named(request.kind))
    return read_weights_file(Path(request.weights))


def _build_towers(
    plan: EncoderPlan, weights: WeightsFile | None, *, seed: int
) -> tuple[ImageTower, TextTower | None]:
    architecture = plan.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - torch's own initialisers take no generator
        with ExitStack() as building:
            if weights is not None:
                # They replace all that is drawn here, so nothing is drawn and nothing stored.
                building.enter_context(torch.device("meta"))
                building.enter_context(WithoutDrawing())
            image = architecture.build_image_tower(plan)
            text = _text_tower(plan)
        if weights is None:
            image.redraw()
        if plan.num_cameras:
            cameras = torch.empty(plan.num_cameras, architecture.width)
            image.cv_embed = nn.Parameter(nn.init.trunc_normal_(cameras, std=_CAMERA_STD))
    _fit_positions(image, plan)
    if weights is not None:
        _enroll(image, _image_state(plan, weights, image), origin=weights.origin)
        text = None if text is None else _fill_text(text, weights)
    return image, text


def _text_tower(plan: EncoderPlan) -> TextTower | None:
    architecture = plan.architecture
    if architecture.text is None:
        return None
    return TextTower(
        architecture.text, out_width=architecture.projected_width, activation=plan.activation
    )


def _fit_positions(image: ImageTower, plan: EncoderPlan) -> None:
    """Stretch drawn positions over the grid; those without storage only get its size."""
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
        # The paper's code writes camera embeddings for a ResNet too, which never uses them.
        state.pop(CAMERA_NAME, None)
    else:
        state.setdefault(CAMERA_NAME, image.cv_embed.detach())
    for name in image.state_dict():
        if name.endswith(_BATCH_COUNT):
            state.setdefault(name, torch.tensor(0))
    return state


def _fill_text(text: TextTower, weights: WeightsFile) -> TextTower | None:
    if not weights.text:
        return None
    if f"{TEXT_PREFIX}token_embedding.weight" not in weights.text:
        text.token_embedding = None
    _enroll(text, weights.text, prefix=TEXT_PREFIX, origin=weights.origin)
    return text


def _enroll(
    module: nn.Module, state: Mapping[str, Tensor], *, origin: str, prefix: str = ""
) -> None:
    """Hand the tensors themselves to a module that was built without storage."""
    _check_state(module.state_dict(prefix=prefix), state, origin=origin)
    own = {name.removeprefix(prefix): value for name, value in state.items()}
    module.load_state_dict(own, assign=True)


def _check_state(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, origin: str
) -> None:
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


def _move(module: nn.Module, device: str) -> None:
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"device: {device!r} cannot be used ({reason}); choose another, such as cpu"
        ) from error
