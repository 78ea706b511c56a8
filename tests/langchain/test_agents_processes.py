"""Two processes with an agent each on one vault, for a few rounds."""

from __future__ import annotations

import subprocess
import sys
from ast import literal_eval
from pathlib import Path

ROUNDS = 12


def test_two_processes_with_an_agent_each(folder: Path) -> None:
    """Threads and notes of both are whole and unmixed, during the rounds and after them."""
    command = [sys.executable, "-m", "tests.langchain.agents_processes", str(folder), "inf"]
    done = subprocess.run(
        [*command, str(ROUNDS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = literal_eval(done.stdout)
    assert counts["said"] == 2 * 2 * ROUNDS
    assert counts["deleting"] == 2 * 2
    assert counts["opened"] == 2 * 2
