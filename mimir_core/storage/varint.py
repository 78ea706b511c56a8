"""SQLite's numbers of 7 bits a byte, https://www.sqlite.org/fileformat2.html#varint."""

from __future__ import annotations


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number below 2^56 and where it ends; a vault has none of nine bytes.

    Raises:
        ValueError: there is no such number.
    """
    value = 0
    for byte in data[at : at + 8]:
        value, at = value << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError("no number of at most eight bytes")
