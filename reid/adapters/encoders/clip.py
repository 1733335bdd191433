"""CLIP-ReID's encoders: their factory."""

from dataclasses import replace
from pathlib import Path

from reid.adapters.encoders.kinds import kind_named
from reid.adapters.encoders.openai_weights import download_openai_weights
from reid.adapters.encoders.plans import plan_encoder
from reid.adapters.encoders.tower_encoder import TowerEncoder, assemble
from reid.adapters.encoders.towers import build_towers
from reid.adapters.encoders.weights import WeightsFile, read_weights_file
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.encoders import EncoderDescription, EncoderRequest


def create_clip_encoder(request: EncoderRequest) -> TowerEncoder:
    """Build an encoder from random weights, OpenAI's, or a file.

    Random weights, and the camera embeddings that weights without cameras get, depend on the
    request's seed alone.

    Raises:
        ConfigurationError: An unknown kind, precision or device, or sizes that do not fit the kind.
        EncoderError: The weights cannot be had or read, or contradict the request.
    """
    weights = _find_weights(request)
    plan = plan_encoder(request, weights)
    image, text = build_towers(plan, weights, seed=request.seed)
    description = EncoderDescription(
        name=plan.architecture.kind,
        weights=weights.words if weights else f"random (seed {request.seed})",
        is_pretrained=weights.is_pretrained if weights else False,
        is_trained=weights is not None,
        options=plan.options(),
        num_identities=weights.num_identities if weights else None,
    )
    return assemble(image, text, geometry=plan.geometry, description=description, request=request)


def _find_weights(request: EncoderRequest) -> WeightsFile | None:
    if request.weights == "random":
        if request.text_weights is not None:
            raise ConfigurationError(
                "encoder.text_weights: random weights have a text tower of their own; leave it out"
            )
        return None
    weights = _read(request.weights, request.kind)
    if request.text_weights is None:
        return weights
    text = _read(request.text_weights, request.kind)
    if not text.text:
        raise EncoderError(f"encoder.text_weights: {text.origin} has no text tower; name another")
    return replace(weights, text=text.text)


def _read(weights: str, kind: str | None) -> WeightsFile:
    if weights == "openai":
        return download_openai_weights(kind_named(kind).kind)
    return read_weights_file(Path(weights))
