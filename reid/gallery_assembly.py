"""Galleries by the names that settings use, and which encoder fills them."""

from datetime import UTC, datetime

from reid.adapters.encoders.exported import ExportedEncoder
from reid.domain.values.checkpoints import digest_of
from reid.domain.values.encoders import Tower
from reid.domain.values.galleries import EncoderStamp
from reid.ports.encoder import Encoder


def encoder_stamp(encoder: Encoder | ExportedEncoder) -> EncoderStamp:
    """Tell which encoder makes vectors, cameras left out.

    An exported one goes with the one that it was exported from: they were compared then.
    """
    description = encoder.description
    if isinstance(encoder, ExportedEncoder):
        digest = encoder.weights_digest
    else:
        digest = digest_of(encoder.state_of(Tower.IMAGE))
    return EncoderStamp(
        name=description.name,
        weights=description.weights,
        digest=digest,
        width=encoder.geometry.embedding_width,
        options=description.options,
    )


def utc_now() -> str:
    """Tell the time as galleries write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
