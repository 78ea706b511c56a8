"""Samples of the campaign of flipped bits, truncations and old blocks (see `campaign`)."""

from __future__ import annotations

import random
from pathlib import Path

from .worker import run_worker


def test_flipped_bits_and_truncations(folder: Path) -> None:
    """A flipped bit or a cut gives a typed error, the same data, or an earlier committed state."""
    seed = random.randrange(1 << 30)  # any seed must do; a failure names the bit
    lines = run_worker("bits", folder, 120, seed, module="campaign")
    assert [int(line.split()[0]) >= 20 for line in lines] == [True] * 4
    assert "VaultDamaged" in lines[0]
    assert "earlier" in lines[2]


def test_old_blocks_are_refused(folder: Path) -> None:
    """Old copies of any block, of mixes of blocks and of the preamble are noticed, every one."""
    seed = random.randrange(1 << 30)
    (line,) = run_worker("replays", folder, 120, seed, module="campaign")
    assert int(line.split()[0]) > 125
    assert "error" in line
