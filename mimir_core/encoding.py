"""The one encoding of values at rest: canonical MessagePack (FORMAT.md, section 10).

Equal values have equal bytes: map keys are sorted, integers and strings take their shortest form,
floats are doubles. Instants and dates are extension types 1 and 2.
"""

from __future__ import annotations

import datetime as dt
import struct
from typing import Any

import msgpack

_INSTANT, _DATE = 1, 2
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def pack(value: Any) -> bytes:
    """Encodes lists, dicts with string keys, str, bytes, int, float, bool, None, datetime, date.

    Raises:
        TypeError, OverflowError, ValueError: for anything else; callers check values first.
    """
    packed: bytes = msgpack.packb(_sorted(value), default=_extension, use_bin_type=True)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Decodes what `pack` wrote; lists stay lists.

    Raises:
        ValueError: if `data` is not one complete value.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_from_extension)
    except (msgpack.UnpackException, UnicodeDecodeError, OverflowError, struct.error) as error:
        raise ValueError("not a canonical MessagePack value") from error


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value


def _extension(value: Any) -> msgpack.ExtType:
    if isinstance(value, dt.datetime):
        return msgpack.ExtType(_INSTANT, struct.pack("<q", (value - _EPOCH) // _MICROSECOND))
    if isinstance(value, dt.date):
        days = value.toordinal() - _EPOCH.toordinal()
        return msgpack.ExtType(_DATE, struct.pack("<i", days))
    raise TypeError(f"cannot encode a value of type {type(value).__name__}")


def _from_extension(code: int, data: bytes) -> Any:
    if code == _INSTANT:
        return _EPOCH + struct.unpack("<q", data)[0] * _MICROSECOND
    if code == _DATE:
        return dt.date.fromordinal(_EPOCH.toordinal() + struct.unpack("<i", data)[0])
    raise ValueError("unknown extension type")
