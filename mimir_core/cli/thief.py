"""What a thief of a file sees: its size, its bytes, the words in it.

Run as a script in a process of its own: inside a process that uses a vault, only SQLite may open
the vault's file (closing it another way drops SQLite's locks).
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TypedDict

EXCERPT_BYTES = 96
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")


class Sight(TypedDict):
    """What can be seen.

    Attributes:
        size: Bytes in the file.
        entropy: Shannon entropy of its bytes in bits; 8 is what random bytes have.
        histogram: How often each byte occurs, 256 counts.
        found: How often the word occurs, in any case, in the encoding that has most.
        excerpt: Bytes around its first occurrence, or from the middle of the file, in hex.
        offset: Where the excerpt starts.
    """

    size: int
    entropy: float
    histogram: list[int]
    found: int
    excerpt: str
    offset: int


def look(data: bytes, word: str) -> Sight:
    """Looks at the bytes of a file for a word."""
    histogram = [data.count(value) for value in range(256)]
    shares = [count / len(data) for count in histogram if count]
    lower = data.lower()
    needles = [word.lower().encode(encoding) for encoding in _ENCODINGS]
    places = [place for needle in needles if (place := lower.find(needle)) >= 0]
    offset = min(places, default=len(data) // 2) // 16 * 16
    return Sight(
        size=len(data),
        entropy=-sum(share * math.log2(share) for share in shares),
        histogram=histogram,
        found=max(lower.count(needle) for needle in needles),
        excerpt=data[offset : offset + EXCERPT_BYTES].hex(),
        offset=offset,
    )


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]).read_bytes(), sys.argv[2])))
