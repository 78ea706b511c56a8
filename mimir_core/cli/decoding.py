"""Bytes from files and standard input as text: UTF-8, whose byte order mark is none of it."""

from __future__ import annotations

import codecs
from typing import Final

AS_UTF8: Final = "save it as UTF-8"
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # LE begins as 16


def wide(data: bytes) -> bool:
    """Whether bytes begin as UTF-16 or UTF-32 does, which some editors write."""
    return data.startswith(_WIDE)


def decoded(data: bytes) -> str:
    """Text in UTF-8, without a byte order mark. Raises ValueError for anything else."""
    if wide(data):
        raise ValueError("UTF-16 or UTF-32")
    return data.decode("utf-8-sig")
