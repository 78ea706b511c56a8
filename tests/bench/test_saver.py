"""A turn in a long thread is measured against one in a short thread."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from bench import saver
from bench.__main__ import COMMANDS
from mimir_core import Mimir
from mimir_core.errors import InvalidArgument
from mimir_langchain import MimirSaver

from .conftest import TURNS


def test_every_figure_is_there(turns_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both medians, their ratio and the agent's are numbers."""
    monkeypatch.setattr(saver, "ROUNDS", 2)
    result = COMMANDS["saver"].run(Namespace(turns=turns_file, count=len(TURNS)))
    assert json.loads(json.dumps(result)) == result
    assert result["count"] == len(TURNS)
    assert set(result) == {
        "count", "growth", "long_ms", "short_ms", "agent_ms", "agent_in_memory_ms",
    }  # fmt: skip
    assert result["growth"] == result["long_ms"] / result["short_ms"]
    assert all(value > 0 for value in result.values())


def test_the_threads_are_as_long_as_they_say(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The long thread has a turn for each text, the short ones ten, and the talk all messages."""
    monkeypatch.setattr(saver, "ROUNDS", 2)
    texts = [turn["text"] for turn in TURNS]
    graph = saver.answering(MimirSaver(mimir))
    saver.fill(graph, texts)
    for thread, count in (("long", len(TURNS)), ("short 0", 10), ("short 1", 10)):
        states = list(graph.get_state_history(saver.of(thread)))
        assert sum(not state.next for state in states) == count
    talk = saver.talking(MimirSaver(mimir), texts)
    saver.chat(talk, "and now?")
    assert len(talk.get_state(saver.of("talk")).values["messages"]) == 2 * len(TURNS) + 2


def test_too_few_turns_are_refused(turns_file: Path) -> None:
    """A long thread is at least as long as a short one."""
    with pytest.raises(InvalidArgument):
        saver.run(Namespace(turns=turns_file, count=5))
