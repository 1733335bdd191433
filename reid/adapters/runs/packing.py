"""The scores of an evaluation's queries in a fraction of the space, and back to the last bit.

Twenty evaluations of Market-1501 that are kept for one table are 5 MB as plain JSON, 1 MB so.

Letters: Q queries.
"""

import binascii
import json
import lzma
from base64 import b85decode, b85encode
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.small_files import MOST_RECORD_BYTES, parse_json

PACKED = "packed"
"""Key of the columns in a packed record."""

_NAMES, _PRECISION, _PENALTY = "query", "average_precision", "inverse_negative_penalty"
_FIRST, _MATCHES, _LAST = "first_match_rank", "num_matches", "last_match_rank"
_PLAIN = (_NAMES, _PRECISION, _PENALTY, _FIRST, _MATCHES)
_TYPES = {_PRECISION: "<f8", _FIRST: "<i4", _MATCHES: "<i4", _LAST: "<i4"}


def pack_queries(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Shorten a record of queries; one that would not come back equal is returned as it is.

    Args:
        content: As a run keeps it, columns as lists of Q entries.
    """
    try:
        columns = {name: content[name] for name in _PLAIN}
        packed = {
            _NAMES: _squeeze(json.dumps(columns[_NAMES]).encode()),
            _PRECISION: _pack(_PRECISION, columns[_PRECISION]),
            _FIRST: _pack(_FIRST, columns[_FIRST]),
            _MATCHES: _pack(_MATCHES, columns[_MATCHES]),
            _LAST: _pack(_LAST, _last_ranks(columns[_MATCHES], columns[_PENALTY])),
        }
        short = {PACKED: packed, **{k: v for k, v in content.items() if k not in columns}}
        is_whole = unpack_queries(short) == content
    except (KeyError, TypeError, ValueError, OverflowError):
        return content
    return short if is_whole else content


def unpack_queries(content: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `pack_queries`.

    Raises:
        ValueError: The record is damaged.
    """
    try:
        packed = content[PACKED]
        last = _unpack(_LAST, packed[_LAST])
        matches = _unpack(_MATCHES, packed[_MATCHES])
        penalty = np.divide(matches, last, out=np.zeros(len(last)), where=last > 0)
        columns = {
            _NAMES: parse_json(_release(packed[_NAMES])),
            _PRECISION: _unpack(_PRECISION, packed[_PRECISION]).tolist(),
            _PENALTY: penalty.tolist(),
            _FIRST: _unpack(_FIRST, packed[_FIRST]).tolist(),
            _MATCHES: matches.tolist(),
        }
    except (KeyError, TypeError, lzma.LZMAError, binascii.Error) as error:
        raise ValueError(f"packed scores are damaged ({type(error).__name__}: {error})") from error
    return {**columns, **{name: value for name, value in content.items() if name != PACKED}}


def _last_ranks(matches: Any, penalty: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Recover the rank of the last match, whose quotient the penalty is (0 where there is none)."""
    wanted = np.asarray(penalty, dtype=np.float64)
    found = np.asarray(matches, dtype=np.float64)
    return np.rint(np.divide(found, wanted, out=np.zeros(len(wanted)), where=wanted > 0))


def _pack(name: str, column: Any) -> str:  # noqa: ANN401  (whatever JSON can hold)
    """Put bytes of one significance together: exponents repeat, mantissas do not."""
    values = np.ascontiguousarray(np.asarray(column).astype(_TYPES[name]))
    return _squeeze(values.view(np.uint8).reshape(len(values), -1).T.tobytes())


def _unpack(name: str, text: str) -> npt.NDArray[Any]:
    rows = np.frombuffer(_release(text), dtype=np.uint8).reshape(
        np.dtype(_TYPES[name]).itemsize, -1
    )
    return np.ascontiguousarray(rows.T).view(_TYPES[name]).ravel()


def _squeeze(content: bytes) -> str:
    return b85encode(lzma.compress(content, preset=9)).decode()


def _release(text: str) -> bytes:
    decompressor = lzma.LZMADecompressor(memlimit=MOST_RECORD_BYTES)
    content = decompressor.decompress(b85decode(text), max_length=MOST_RECORD_BYTES)
    if not decompressor.eof:
        raise lzma.LZMAError("it is cut short, or unpacks to more than any record")
    return content
