"""MimirCache: LangChain's own suites, models that use it, what it stores and what it refuses."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
)
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_langchain import MimirCache

from ..vault.vaults import create, reopen

PLACE = ("langchain", "cache")


class TestSync(SyncCacheTestSuite):
    """The synchronous half."""

    @pytest.fixture
    def cache(self, mimir: Mimir) -> MimirCache:
        return MimirCache(mimir)


class TestAsync(AsyncCacheTestSuite):
    """The asynchronous half."""

    @pytest.fixture
    async def cache(self, mimir: Mimir) -> MimirCache:
        return MimirCache(mimir)


@pytest.fixture
def _no_cache_afterwards() -> Iterator[None]:
    yield
    set_llm_cache(None)


ANSWERS: list[Generation] = [
    Generation(text="plain", generation_info={"lc": 1, "type": "secret", "id": ["HOME"]}),
    Generation(text="lone \ud800 surrogate"),
    GenerationChunk(text="chunk", generation_info={"deep": [{"a": None}]}),
    ChatGeneration(
        message=AIMessage(
            content=[{"type": "text", "text": "blocks"}],
            id="m1",
            name="bot",
            tool_calls=[{"name": "look", "args": {"x": 1}, "id": "t1"}],
            invalid_tool_calls=[{"name": "b", "args": "{", "id": "t2", "error": "cut"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            response_metadata={"model": "m"},
        ),
        generation_info={"finish_reason": "stop"},
    ),
    ChatGeneration(message=ChatMessage(content="hi", role="pirate")),
    ChatGenerationChunk(
        message=AIMessageChunk(
            content="", tool_call_chunks=[{"name": "a", "args": "{}", "id": "1", "index": 0}]
        )
    ),
]


def test_answers_come_back_whole(path: Path) -> None:
    """Generations and messages of every kind are equal to themselves after reopening."""
    with create(path) as mimir:
        MimirCache(mimir).update("p", "m", ANSWERS)
        MimirCache(mimir).update("empty", "m", [])
    with reopen(path) as mimir:
        assert MimirCache(mimir).lookup("p", "m") == ANSWERS
        assert MimirCache(mimir).lookup("empty", "m") == []


def test_prompt_and_configuration_do_not_run_together(mimir: Mimir) -> None:
    """The same characters, cut elsewhere into prompt and configuration, are another question."""
    cache = MimirCache(mimir)
    cache.update("ab", "c", [Generation(text="x")])
    assert cache.lookup("a", "bc") is None
    assert cache.lookup("\ud800", "c") is None


class Odd(AIMessage):
    """A message of the user's own class."""


@pytest.mark.parametrize(
    "answer",
    [
        [Generation(text="x", generation_info={"object": object()})],
        [Generation(text="x", generation_info={"bytes": b"\xff"})],
        [ChatGeneration(message=Odd("x"))],
        [ChatGeneration(message=AIMessage("x", additional_kwargs={"object": object()}))],
    ],
)
def test_what_cannot_be_read_back_is_not_cached(mimir: Mimir, answer: list[Generation]) -> None:
    """Values JSON cannot represent, and other classes than langchain-core's, are a miss."""
    cache = MimirCache(mimir)
    cache.update("p", "m", answer)
    assert cache.lookup("p", "m") is None
    assert mimir.stats().memories == 0


@pytest.mark.parametrize("answer", ["text", None, ["text"], [AIMessage("x")]])
def test_what_is_no_answer_is_refused(mimir: Mimir, answer: Any) -> None:
    """Anything but a sequence of generations is bad input; nothing is stored."""
    with pytest.raises(InvalidArgument):
        MimirCache(mimir).update("p", "m", answer)
    assert mimir.stats().memories == 0


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"no json",
        b'{"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}',
        b'[{"kind": "Popen", "text": "x", "info": null}]',
        b'[{"kind": "Generation", "info": null}]',
        b'[{"kind": "ChatGeneration", "info": null, "message": {"type": "shell", "data": {}}}]',
        b"[" * 100_000,
    ],
)
def test_an_undecodable_entry_is_a_miss(mimir: Mimir, record: bytes) -> None:
    """An entry that is no answer, such as a later version may write, asks the model again."""
    cache = MimirCache(mimir)
    cache.update("p", "m", ANSWERS)
    (key,) = mimir.keys(namespace=PLACE)
    mimir.remember(b"\0" + record, namespace=PLACE, key=key)
    assert cache.lookup("p", "m") is None
    cache.update("p", "m", ANSWERS)
    assert cache.lookup("p", "m") == ANSWERS


def test_a_stored_secret_is_not_filled_in(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks like a reference to an environment variable comes back as it was."""
    monkeypatch.setenv("CANARY", "canary-secret")
    info = {"lc": 1, "type": "secret", "id": ["CANARY"]}
    cache = MimirCache(mimir)
    cache.update("p", "m", [Generation(text="x", generation_info={"key": info})])
    assert cache.lookup("p", "m") == [Generation(text="x", generation_info={"key": info})]


@pytest.mark.usefixtures("_no_cache_afterwards")
def test_set_llm_cache(mimir: Mimir) -> None:
    """Models ask once: the second same question is answered from the vault, another is not."""
    set_llm_cache(MimirCache(mimir))
    llm = FakeListLLM(responses=["first", "second"])
    assert [llm.invoke("q"), llm.invoke("q"), llm.invoke("other")] == ["first", "first", "second"]
    chat = GenericFakeChatModel(messages=iter([AIMessage("one", id="1"), AIMessage("two", id="2")]))
    assert [chat.invoke(q).text for q in ("q", "q", "r")] == ["one", "one", "two"]


@pytest.mark.usefixtures("_no_cache_afterwards")
async def test_set_llm_cache_async(mimir: Mimir) -> None:
    """The same, awaited; the vault is not touched on the event loop's thread."""
    seen = set[int]()
    inner = Mimir.get_many

    def noting(self: Mimir, *args: Any, **options: Any) -> Any:
        seen.add(threading.get_ident())
        return inner(self, *args, **options)

    set_llm_cache(MimirCache(mimir))
    chat = GenericFakeChatModel(messages=iter([AIMessage("one", id="1"), AIMessage("two", id="2")]))
    with patch.object(Mimir, "get_many", noting):
        assert [(await chat.ainvoke(q)).text for q in ("q", "q", "r")] == ["one", "one", "two"]
    assert seen
    assert threading.get_ident() not in seen


def test_clear_erases_its_own_namespace(mimir: Mimir) -> None:
    """Clearing leaves another namespace's answers, and unknown arguments erase nothing."""
    mine, other = MimirCache(mimir), MimirCache(mimir, namespace=("users", "bob"))
    for cache in (mine, other):
        cache.update("p", "m", ANSWERS)
    with pytest.raises(InvalidArgument):
        mine.clear(llm_string="m")
    assert mine.lookup("p", "m") == ANSWERS
    mine.clear()
    mine.clear()
    assert mine.lookup("p", "m") is None
    assert other.lookup("p", "m") == ANSWERS


def test_nothing_outside_the_vault(folder: Path, path: Path) -> None:
    """Neither prompt, configuration nor answer stands in any byte of any file."""
    with create(path) as mimir:
        cache = MimirCache(mimir)
        cache.update("canary prompt", "canary model", [Generation(text="canary answer")])
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert b"canary" not in path.read_bytes()


def test_it_is_neither_pickled_nor_shown(mimir: Mimir) -> None:
    """A repr holds nothing, and pickle and copy are refused; only an open vault is taken."""
    cache = MimirCache(mimir)
    assert repr(cache) == "<MimirCache>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(NotSerializable):
            attempt(cache)
    with pytest.raises(InvalidArgument):
        MimirCache(None)  # type: ignore[arg-type]
