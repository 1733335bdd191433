"""CLIP-ReID's encoders, built from open_clip's models.

Letters: B batch, D width, H W pixels, N prompts, L tokens.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from reid.adapters.encoders.architectures import CONTEXT_LENGTH
from reid.adapters.encoders.image_towers import (
    ImageTower,
    ResNetTower,
    VisionTransformerTower,
    draw_convolutions,
    resize_positions,
)
from reid.adapters.encoders.input_checks import check_cameras, check_images
from reid.adapters.encoders.plans import (
    EncoderPlan,
    architecture_named,
    plan_encoder,
    positions_name,
)
from reid.adapters.encoders.text_tower import TextTower, template_tokens
from reid.adapters.encoders.tracing import trace_resnet, trace_transformer
from reid.adapters.encoders.weights import (
    CAMERA_NAME,
    TEXT_PREFIX,
    WeightsFile,
    download_openai_weights,
    read_weights_file,
)
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.transfers import sent_to
from reid.domain.values.counts import counted
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, EncoderRequest, Tower
from reid.domain.values.explanations import ImageTrace
from reid.domain.values.features import ImageFeatures
from reid.domain.values.prompts import PromptEmbedding

_PRECISIONS = ("fp32", "bf16")
_PREFIXES = {Tower.IMAGE: "", Tower.TEXT: TEXT_PREFIX}
_CAMERA_STD = 0.02
_BATCH_COUNT = ".num_batches_tracked"
"""Left out by writers that keep parameters and running statistics only."""


class OpenClipEncoder:
    """CLIP's towers behind the encoder port; `create_openclip_encoder` makes them."""

    def __init__(
        self,
        *,
        image: ImageTower,
        text: TextTower | None,
        geometry: EncoderGeometry,
        description: EncoderDescription,
        is_mixed_precision: bool = False,
        trains_in_mixed_precision: bool | None = None,
    ) -> None:
        """Put towers together that lie on one device.

        Args:
            image: Image tower.
            text: Text tower; None where the weights file had none.
            geometry: Sizes of both.
            description: Name and origin.
            is_mixed_precision: Run both towers under bfloat16 autocast.
            trains_in_mixed_precision: Run the image tower so while it is in training mode; None:
                as at other times.
        """
        self._image = image
        self._text = text
        self._geometry = geometry
        self._description = description
        self._is_mixed = is_mixed_precision
        self._trains_mixed = (
            is_mixed_precision if trains_in_mixed_precision is None else trains_in_mixed_precision
        )

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
        """What an exporter traces."""
        return self._image

    @property
    def text_tower(self) -> TextTower:
        """The other half of CLIP.

        Raises:
            EncoderError: The weights file had none.
        """
        if self._text is None:
            raise self._lacking("text encoder")
        return self._text

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Describe pictures; see the port.

        Raises:
            EncoderError: A camera beyond those the encoder knows.
            ValueError: Pictures of another size.
        """
        check_images(images, geometry=self._geometry)
        check_cameras(images, camids, geometry=self._geometry, description=self._description)
        with self._autocast(enabled=self._trains_mixed if self._image.training else self._is_mixed):
            cameras = None if camids is None else sent_to(images.device, camids)
            features: ImageFeatures = _run(self._image, images, cameras)
        return features

    def trace_images(self, images: Tensor, camids: Tensor | None = None) -> ImageTrace:
        """Describe pictures and show how; see the port. Always in float32.

        Raises:
            EncoderError: A camera beyond those the encoder knows.
            ValueError: Pictures of another size.
        """
        check_images(images, geometry=self._geometry)
        check_cameras(images, camids, geometry=self._geometry, description=self._description)
        if isinstance(self._image, ResNetTower):
            return trace_resnet(self._image, images)
        cameras = None if camids is None else sent_to(images.device, camids)
        return trace_transformer(self._image, images, cameras)

    def embed_template(self, template: str, *, num_context_tokens: int) -> PromptEmbedding:
        """Look up the fixed tokens of a template; see the port.

        Raises:
            EncoderError: The prompt is longer than the context, or the weights have no vocabulary.
            ValueError: `{}` does not stand in the template exactly once.
        """
        if template.count("{}") != 1:
            raise ValueError(f"template {template!r} must hold {{}} exactly once")
        embedding = self.text_tower.token_embedding
        if embedding is None:
            raise self._lacking("token embeddings")
        prefix, suffix = template_tokens(template)
        length = len(prefix) + num_context_tokens + len(suffix)
        if length > CONTEXT_LENGTH:
            raise EncoderError(
                f"the prompt {template!r} with {counted(num_context_tokens, 'learned token')} has "
                f"{length} tokens, but CLIP reads {CONTEXT_LENGTH}: shorten it"
            )
        tokens = torch.tensor(prefix + suffix, device=self.device)
        embedded = embedding(tokens).detach().clone()  # (A + Z, D)
        return PromptEmbedding(prefix=embedded[: len(prefix)], suffix=embedded[len(prefix) :])

    def encode_prompts(self, prompts: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Describe prompts; see the port.

        Raises:
            EncoderError: The prompts are longer than the context, or the weights have no text
                encoder.
            ValueError: Prompts of another width.
        """
        if prompts.ndim != 3 or prompts.shape[2] != self._geometry.token_width:
            raise ValueError(
                f"prompts must be (N, L, {self._geometry.token_width}), got {tuple(prompts.shape)}"
            )
        if prefix is None:
            prefix = prompts.new_empty(0, prompts.shape[2])
        length = len(prefix) + prompts.shape[1]
        if length > CONTEXT_LENGTH:
            raise EncoderError(f"prompts of {length} tokens: CLIP reads {CONTEXT_LENGTH}")
        text = self.text_tower
        with self._autocast(enabled=self._is_mixed):
            features: Tensor = text(prompts, prefix)
        return features

    def _lacking(self, part: str) -> EncoderError:
        return EncoderError(
            f"the weights {self._description.weights} hold no {part}, so prompts cannot be used: "
            "start from OpenAI's weights or another whole CLIP model"
        )

    def _autocast(self, *, enabled: bool) -> AbstractContextManager[None]:
        if not enabled:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def named_parameters_of(self, tower: Tower) -> Iterator[tuple[str, nn.Parameter]]:
        """Walk a tower's parameters; nothing for a text tower that the weights did not have."""
        module = self._module(tower)
        if module is None:
            return
        for name, parameter in module.named_parameters():
            yield _PREFIXES[tower] + name, parameter

    def set_training(self, *, enabled: bool) -> None:
        """Switch the image tower between batch statistics and running ones."""
        self._image.train(enabled)

    def state_of(self, tower: Tower) -> Mapping[str, Tensor]:
        """All parameters and buffers; nothing for a text tower that the weights did not have."""
        module = self._module(tower)
        return {} if module is None else module.state_dict(prefix=_PREFIXES[tower])

    def load_state_of(self, tower: Tower, state: Mapping[str, Tensor]) -> None:
        """Replace a tower's parameters and buffers; see the port.

        Raises:
            EncoderError: A name is missing or unknown, or a shape differs; nothing is changed then.
        """
        _check_state(self.state_of(tower), state, origin=f"the state given for the {tower} tower")
        module = self._module(tower)
        if module is not None:
            prefix = _PREFIXES[tower]
            module.load_state_dict(
                {name.removeprefix(prefix): value for name, value in state.items()}
            )

    def _module(self, tower: Tower) -> nn.Module | None:
        return self._image if tower is Tower.IMAGE else self._text


def _run(image: ImageTower, images: Tensor, cameras: Tensor | None) -> ImageFeatures:
    try:
        features: ImageFeatures = image(images, cameras)
    except RuntimeError as error:
        if not _is_of_compiler(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"encoder.compile: torch cannot compile the image encoder here ({reason}); install a "
            "C++ compiler, or set encoder.compile to false"
        ) from error
    return features


def _is_of_compiler(error: RuntimeError) -> bool:
    """Tell torch.compile's failures from others; its exceptions have no public name."""
    module = type(error).__module__
    return module.startswith(("torch._dynamo", "torch._inductor"))


def create_openclip_encoder(request: EncoderRequest) -> OpenClipEncoder:
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
    if plan.architecture.is_resnet and (is_mixed or trains_mixed):
        # Channels side by side suit bfloat16 convolutions: 1.6 times as fast, in float32 no faster.
        # There they stay as they are, so that results keep their last bits.
        image.to(memory_format=torch.channels_last)
    if request.compile:
        # In place, so that parameters keep their names; nothing is translated before the first run.
        image.compile()
    return OpenClipEncoder(
        image=image,
        text=text,
        geometry=_geometry(plan),
        description=EncoderDescription(
            name=plan.architecture.kind,
            weights=weights.words if weights else f"random (seed {request.seed})",
            is_pretrained=weights.is_pretrained if weights else False,
            is_trained=weights is not None,
            options=plan.options(),
            num_identities=weights.num_identities if weights else None,
        ),
        is_mixed_precision=is_mixed,
        trains_in_mixed_precision=trains_mixed,
    )


def _is_mixed(precision: str) -> bool:
    if precision not in _PRECISIONS:
        raise ConfigurationError(
            f"precision {precision!r} is unknown: choose one of {', '.join(_PRECISIONS)}"
        )
    return precision == "bf16"


def _find_weights(request: EncoderRequest) -> WeightsFile | None:
    if request.weights == "random":
        return None
    if request.weights == "openai":
        return download_openai_weights(architecture_named(request.kind))
    return read_weights_file(Path(request.weights))


def _geometry(plan: EncoderPlan) -> EncoderGeometry:
    architecture = plan.architecture
    return EncoderGeometry(
        image_size=plan.image_size,
        pixel_mean=architecture.pixel_mean,
        pixel_std=architecture.pixel_std,
        penultimate_width=architecture.penultimate_width,
        final_width=architecture.final_width,
        projected_width=architecture.projected_width,
        token_width=architecture.token_width,
        context_length=CONTEXT_LENGTH,
        num_cameras=plan.num_cameras,
    )


def _build_towers(
    plan: EncoderPlan, weights: WeightsFile | None, *, seed: int
) -> tuple[ImageTower, TextTower | None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - open_clip's initialisers take no generator
        # Weights from a file replace all that is drawn here, so then nothing is drawn at all.
        with torch.device("cpu" if weights is None else "meta"):
            clip = plan.architecture.build(activation=plan.activation)
        if weights is None and plan.architecture.is_resnet:
            draw_convolutions(clip.visual)
        cameras = _draw_cameras(plan)
    image = _image_tower(plan, clip.visual, cameras)
    text = TextTower(clip)
    if weights is None:
        return image, text
    _fill(image, _image_state(plan, weights, image, cameras), origin=weights.origin)
    return image, _fill_text(text, weights)


def _draw_cameras(plan: EncoderPlan) -> Tensor | None:
    if not plan.num_cameras:
        return None
    cameras = torch.empty(plan.num_cameras, plan.architecture.width)
    return nn.init.trunc_normal_(cameras, std=_CAMERA_STD)


def _image_tower(plan: EncoderPlan, visual: nn.Module, cameras: Tensor | None) -> ImageTower:
    source = plan.architecture.pretraining_grid
    if plan.architecture.is_resnet:
        return ResNetTower(visual, source=source, grid=plan.grid, pooling=plan.pooling)
    return VisionTransformerTower(
        visual,
        source=source,
        grid=plan.grid,
        stride=plan.stride,
        cameras=cameras,
        camera_scale=plan.camera_scale,
    )


def _image_state(
    plan: EncoderPlan, weights: WeightsFile, image: ImageTower, cameras: Tensor | None
) -> dict[str, Tensor]:
    state = dict(weights.image)
    positions = positions_name(plan.architecture)
    state[positions] = resize_positions(state[positions], source=plan.source_grid, target=plan.grid)
    if cameras is None:
        # The paper's code writes camera embeddings for a ResNet too, which never uses them.
        state.pop(CAMERA_NAME, None)
    else:
        state.setdefault(CAMERA_NAME, cameras)
    for name in image.state_dict():
        if name.endswith(_BATCH_COUNT):
            state.setdefault(name, torch.tensor(0))
    return state


def _fill_text(text: TextTower, weights: WeightsFile) -> TextTower | None:
    if not weights.text:
        return None
    if f"{TEXT_PREFIX}token_embedding.weight" not in weights.text:
        text.token_embedding = None
    _fill(text, weights.text, prefix=TEXT_PREFIX, origin=weights.origin)
    return text


def _fill(module: nn.Module, state: Mapping[str, Tensor], *, origin: str, prefix: str = "") -> None:
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
            f"device {device!r} cannot be used ({reason}): choose another, such as cpu"
        ) from error
