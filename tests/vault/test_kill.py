"""Killed at any step, at any moment: nothing acknowledged is lost, nothing is half done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .worker import run_worker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def test_killed_at_each_step(folder: Path) -> None:
    """Every operation that writes survives a kill at any of its steps."""
    *operations, total = run_worker("steps", folder, 45, module="kill")
    assert len(operations) == 8
    assert int(total.split()[1]) > 180


def test_killed_at_random_moments(folder: Path) -> None:
    """A process at work, killed again and again, loses nothing that it acknowledged."""
    (line,) = run_worker("moments", folder, 80, module="kill")
    assert line.startswith("ok")
    assert int(line.split()[1]) > 20
