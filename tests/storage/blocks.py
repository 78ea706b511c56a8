"""Blocks to store: stand-ins for sealed ones, which are random bytes as well."""

from __future__ import annotations

import random

from mimir_core.storage import BLOCK_SIZE, TAG_SIZE

PREAMBLE = b"preamble " * 20


def block(seed: int) -> bytes:
    """A block of its own for every seed, always the same."""
    return random.Random(seed).randbytes(BLOCK_SIZE)


def tag(block: bytes) -> bytes:
    """The root tag of a vault whose root is `block`."""
    return block[-TAG_SIZE:]
