"""Encoders whose towers torch executes, behind the ports.

Letters: B batch, D width, N cameras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid.adapters.encoders.image_tower import ImageTower, check_inputs
from reid.adapters.encoders.text_encoder import ClipTextEncoder, PromptTower
from reid.adapters.encoders.towers import check_state
from reid.domain.errors import ConfigurationError
from reid.domain.memory import to_device
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, EncoderRequest
from reid.domain.values.explanations import ImageTrace
from reid.domain.values.features import ImageFeatures

_PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TowerEncoder:
    """An image tower, and perhaps a text tower; `assemble` makes it."""

    image_tower: ImageTower
    text: ClipTextEncoder | None
    geometry: EncoderGeometry
    description: EncoderDescription
    is_mixed_precision: bool  # runs the image tower under bfloat16 autocast
    trains_in_mixed_precision: bool  # the same in training mode

    @property
    def device(self) -> torch.device:
        """Where inputs must lie and outputs appear."""
        return next(self.image_tower.parameters()).device

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Encode images; see the port."""
        cameras = self._checked(images, camids)
        is_trained = self.image_tower.training
        is_mixed = self.trains_in_mixed_precision if is_trained else self.is_mixed_precision
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=is_mixed):
            return _run(self.image_tower, images, cameras)

    def trace_images(self, images: Tensor, camids: Tensor | None = None) -> ImageTrace:
        """Encode images and show how; see the port. Always in float32."""
        return self.image_tower.trace(images, self._checked(images, camids))

    def _checked(self, images: Tensor, camids: Tensor | None) -> Tensor | None:
        check_inputs(images, camids, geometry=self.geometry, weights=self.description.weights)
        return None if camids is None else to_device(images.device, camids)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Walk the image tower's parameters; see the port."""
        return self.image_tower.named_parameters()

    def set_training(self, *, enabled: bool) -> None:
        """Switch the image tower between batch statistics and running ones."""
        self.image_tower.train(enabled)

    def state(self) -> Mapping[str, Tensor]:
        """All of the image tower's parameters and buffers; see the port."""
        state: dict[str, Tensor] = self.image_tower.state_dict()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Replace the image tower's parameters and buffers; see the port."""
        check_state(self.state(), state, origin="the state given for the image tower")
        self.image_tower.load_state_dict(dict(state))


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


def assemble(
    image: ImageTower,
    text: PromptTower | None,
    *,
    geometry: EncoderGeometry,
    description: EncoderDescription,
    request: EncoderRequest,
) -> TowerEncoder:
    """Put towers on the request's device, in evaluation mode, and behind the ports.

    Raises:
        ConfigurationError: The precision or device is unknown or cannot be used.
    """
    is_mixed = _is_mixed(request.precision)
    trains_mixed = _is_mixed(request.training_precision or request.precision)
    for tower in (image, text):
        if tower is not None:
            _move(tower.eval(), request.device)
    visual = image.image_encoder
    if visual.is_faster_channels_last or (
        visual.suits_channels_last and (is_mixed or trains_mixed)
    ):
        image.to(memory_format=torch.channels_last)
    if request.compile:
        # In place, so that parameters keep their names; compilation waits for the first run.
        image.compile()
    words = description.weights
    return TowerEncoder(
        image_tower=image,
        text=None if text is None else ClipTextEncoder(text, words, is_mixed_precision=is_mixed),
        geometry=geometry,
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


def _move(module: nn.Module, device: str) -> None:
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"device: {device!r} cannot be used ({reason}); choose another, such as cpu"
        ) from error
