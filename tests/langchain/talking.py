"""Who the adapters' tests talk to: models that note what they hear, and a real conversation."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from mimir_core import FunctionEmbedder, Mimir
from mimir_core.embedding import HashEmbedder

DATA = Path(__file__).parents[3] / "shared" / "data" / "self_dialogue_40k.jsonl.gz"


class Listener(FakeListChatModel):
    """Says its lines in turn and notes all that it was given to read."""

    _heard: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        self._heard.append(list(messages))
        return super()._call(messages, *args, **kwargs)

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self._heard.append(list(messages))
        yield from super()._stream(messages, *args, **kwargs)

    @property
    def heard(self) -> list[str]:
        """Each prompt as one text."""
        return ["\n".join(str(message.text) for message in prompt) for prompt in self._heard]


class Actor(BaseChatModel):
    """Gives whole messages in turn, such as calls of tools; thread-safe."""

    script: list[BaseMessage]
    _left: Iterator[BaseMessage] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        self._left = iter(self.script)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Actor:
        """It knows its script, so it needs no tools."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=next(self._left))])

    @property
    def _llm_type(self) -> str:
        return "actor"


class Echo(BaseChatModel):
    """Answers with what it was told last and how many other messages it saw."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        said = [str(message.text) for message in messages if isinstance(message, HumanMessage)]
        text = "\n".join(str(message.text) for message in messages)
        answer = f"You say {said[-1].split('Human:')[-1].strip()!r}; I read {len(text)} characters"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])

    @property
    def _llm_type(self) -> str:
        return "echo"


class WatchedThreads:
    """A handle on a vault whose embedder notes on which threads it works."""

    def __init__(self, mimir: Mimir) -> None:
        self.threads: set[int] = set()
        self._inner = HashEmbedder(32)
        self.mimir = mimir.with_embedder(FunctionEmbedder("watched", self._embed))

    def _embed(self, texts: list[str]) -> list[list[float]]:
        self.threads.add(threading.get_ident())
        vectors: list[list[float]] = self._inner.embed_documents(texts).tolist()
        return vectors


def real_exchanges(count: int) -> list[tuple[str, str]]:
    """Exchanges of real conversations; the test skips, saying so, where they are absent."""
    if not DATA.exists():
        pytest.skip(f"{DATA.name} is not there")
    found: list[tuple[str, str]] = []
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        turns = map(json.loads, lines)
        for _, talk in groupby(turns, key=lambda turn: turn["conversation"]):
            texts = [turn["text"] for turn in talk if turn["text"].strip()]
            found += zip(texts[::2], texts[1::2], strict=False)
            if len(found) >= count:
                break
    return found[:count]


def everything_in(value: object) -> bytes:
    """All bytes and texts anywhere in a value, one after the other."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return b" ".join(everything_in(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple, set)):
        return b" ".join(map(everything_in, value))
    return str(value).encode()
