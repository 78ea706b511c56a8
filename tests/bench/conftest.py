"""A small file of turns, as the benchmarks read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SUBJECTS = ("The harbour", "My neighbour", "A grey heron", "This old bridge", "The night train")
DEEDS = ("smells of tar", "sings on Sundays", "waits for no one", "was painted green")
TURNS: list[dict[str, Any]] = [
    {
        "conversation": f"talk-{number % 3}",
        "id": str(number),
        "time": f"2021-05-{1 + number % 28:02}T10:00",
        "speaker": "Ana" if number % 2 else "Bo",
        "text": f"{subject} {deed} {('today', 'again')[number % 2]}",
    }
    for number, (subject, deed) in enumerate((one, two) for one in SUBJECTS for two in DEEDS)
] + [
    {"conversation": "talk-3", "id": str(number), "time": None, "speaker": "Cy",
     "text": f"Box {number} holds {number * 7} bolts"}
    for number in range(20, 40)
]  # fmt: skip


@pytest.fixture
def turns_file(tmp_path: Path) -> Path:
    """40 turns as JSON lines."""
    path = tmp_path / "turns.jsonl"
    path.write_text("".join(json.dumps(turn) + "\n" for turn in TURNS), "utf-8")
    return path
