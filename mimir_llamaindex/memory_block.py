"""`MimirMemoryBlock`: what an agent remembers of turns that no longer fit its context."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import ConfigDict, PrivateAttr
from llama_index.core.memory import BaseMemoryBlock
from llama_index.core.utils import get_tokenizer

from mimir_core import Item, Memory, Mimir, Namespace
from mimir_core.errors import InvalidArgument, ScrubPending
from mimir_llamaindex.messages import origin, speaker, visible_text
from mimir_llamaindex.vaults import digest, namespace_in

__all__ = ["MimirMemoryBlock"]

_DEFAULT: Namespace = ("llamaindex", "memory")
_NO_SESSION = "\0"  # the thread of what comes without a session
_CACHED_QUERIES = 32
_QUERY_CHARACTERS = 4_000
_LEANING = 0.3  # of each message towards the one before it
_ENTRY = re.compile(r"\n(?! )")  # a memory's further lines are indented
_SAYING = (MessageRole.USER, MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL)


class MimirMemoryBlock(BaseMemoryBlock[str]):
    """Remembers the turns that leave a session's queue, and recalls those that matter now.

        memory = Memory.from_defaults(
            session_id="u1",
            chat_store=MimirChatStore(mimir),
            memory_blocks=[MimirMemoryBlock(mimir)],
        )

    Turns are kept as a thread of their session, and recalled by the last message (its words, and
    its vector leaning towards the messages before it, spread along the thread), within a token
    budget. A session sees its own turns only.

    With `across_sessions`, recall looks in the whole namespace, which then must be named: a
    user's memory over all sessions, `namespace=("llamaindex", "memory", "ada")`; or, with
    `accept_short_term_memory=False`, any namespace of the vault to read from.

    Args:
        mimir: The open vault; the caller closes it.
        namespace: Where the turns live.
        across_sessions: Recall what other sessions left in the namespace, too.
        k: How many memories to recall at most.
        token_budget: How many tokens the recalled text has at most.
        recent_messages: How many of the last messages give the query its direction.
        tokenizer_fn: What counts tokens; LlamaIndex's default, as `Memory` does.
        fields: Those of `BaseMemoryBlock`: name, description, priority (0 is never truncated by
            `Memory`), accept_short_term_memory.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True
    )
    name: str = "LongTermMemory"

    _mimir: Mimir = PrivateAttr()  # set first, so that copying meets its refusal first
    _place: Namespace = PrivateAttr()
    _across_sessions: bool = PrivateAttr()
    _k: int = PrivateAttr()
    _budget: int = PrivateAttr()
    _recent: int = PrivateAttr()
    _tokenize: Callable[[str], list[Any]] = PrivateAttr()
    _embedded: Callable[[str], npt.NDArray[np.float32]] = PrivateAttr()
    _writer: ThreadPoolExecutor = PrivateAttr()

    def __init__(
        self,
        mimir: Mimir,
        namespace: Namespace | str | None = None,
        *,
        across_sessions: bool = False,
        k: int = 10,
        token_budget: int = 1_000,
        recent_messages: int = 3,
        tokenizer_fn: Callable[[str], list[Any]] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        if across_sessions and namespace is None:
            raise InvalidArgument(
                "memory across sessions needs a namespace of its own",
                hint='such as namespace=("llamaindex", "memory", "ada")',
            )
        self._mimir = mimir
        self._place = namespace_in(mimir, _DEFAULT if namespace is None else namespace)
        self._across_sessions = across_sessions
        self._k = _positive(k, "k")
        self._budget = _positive(token_budget, "token_budget")
        self._recent = _positive(recent_messages, "recent_messages")
        self._tokenize = get_tokenizer() if tokenizer_fn is None else tokenizer_fn
        self._embedded = lru_cache(_CACHED_QUERIES)(mimir.embedder.embed_query)  # asked again soon
        self._writer = ThreadPoolExecutor(1, "mimir-memory")  # turns stay in the order put

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows the class."""
        return "MimirMemoryBlock"

    async def aput(
        self,
        messages: list[ChatMessage],
        from_short_term_memory: bool = False,
        session_id: str | None = None,
    ) -> None:
        """Remembers what messages say, in the thread of the session; the messages stay as they are.

        Raises:
            InvalidArgument, InvalidText: before any is written.
        """
        if self.accept_short_term_memory or not from_short_term_memory:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._remember, messages, session_id)

    async def _aput(self, messages: list[ChatMessage]) -> None:
        await self.aput(messages)

    async def _aget(
        self,
        messages: list[ChatMessage] | None = None,
        session_id: str | None = None,
        **block_kwargs: Any,
    ) -> str:
        """What the session's memory holds about the last messages, best first; else empty."""
        return await asyncio.to_thread(self._recall, messages or [], session_id)

    async def atruncate(self, content: str, tokens_to_truncate: int) -> str | None:
        """Drops the least relevant memories until so many tokens are gone; None if none stays."""
        if not content:  # `Memory` hands on a list if nothing was recalled
            return None
        entries = _ENTRY.split(content)
        left = self._count(content) - tokens_to_truncate
        while entries and self._count("\n".join(entries)) > left:
            entries.pop()
        return "\n".join(entries) or None

    # Off the event loop

    def _remember(self, messages: Sequence[ChatMessage], session_id: str | None) -> None:
        thread = _thread(session_id)
        items = [item for message in messages for item in self._items(message, thread)]
        with suppress(ScrubPending):  # stored all the same
            self._mimir.remember_many(self._new(items))

    def _items(self, message: object, thread: str) -> Iterator[Item]:
        """One memory of what a message says; none if it says nothing."""
        if not isinstance(message, ChatMessage):
            raise InvalidArgument("a memory block remembers ChatMessages")
        if text := visible_text(message):
            who = {"speaker": speaker(message), "role": message.role.value}
            source = origin(message)
            key = None if source is None else digest(f"{thread}\n{source}")
            yield Item(text, namespace=self._place, thread=thread, key=key, metadata=who)

    def _new(self, items: Sequence[Item]) -> list[Item]:
        """Without those already here: two tasks may hand over the same turn."""
        once = {item.key or number: item for number, item in enumerate(items)}
        keys = [item.key for item in once.values() if item.key is not None]
        ids = self._mimir.known(keys, namespace=self._place)
        here = {key for key, id_ in zip(keys, ids, strict=True) if id_ is not None}
        return [item for item in once.values() if item.key not in here]

    def _recall(self, messages: Sequence[ChatMessage], session_id: str | None) -> str:
        said = self._said(messages)
        if not said:
            return ""
        thread = _thread(session_id)
        hits = self._mimir.recall(
            said[-1],
            k=self._k,
            namespace=self._place,
            thread=None if self._across_sessions else thread,
            vector=self._direction(said),
        )
        return "\n".join(self._fitting(_entry(hit.memory) for hit in hits))

    def _said(self, messages: Sequence[ChatMessage]) -> list[str]:
        """What user and assistant said last, oldest first."""
        texts = [visible_text(m).strip()[:_QUERY_CHARACTERS] for m in messages if m.role in _SAYING]
        return [text for text in texts if text][-self._recent :]

    def _direction(self, said: Sequence[str]) -> npt.NDArray[np.float32]:
        """The last message's vector, leaning a little towards those before it, [dimension].

        Joined to one text they would find what was talked of, not what is asked.
        """
        leaning = sum(
            self._embedded(text) * np.float32(_LEANING**age)
            for age, text in enumerate(reversed(said))
        )
        return np.asarray(leaning / np.linalg.norm(leaning), np.float32)

    def _fitting(self, entries: Iterator[str]) -> Iterator[str]:
        """Those that the budget has room for, best first."""
        room = self._budget
        for entry in entries:
            size = self._count(entry + "\n")
            if size <= room:
                room -= size
                yield entry

    def _count(self, text: str) -> int:
        return len(self._tokenize(text))


def _thread(session_id: str | None) -> str:
    """The thread of a session, or of all that comes without one."""
    if session_id == _NO_SESSION:
        raise InvalidArgument("a session has a name")
    return _NO_SESSION if session_id is None else session_id


def _entry(memory: Memory) -> str:
    """A memory as the model reads it: when, who, what."""
    who = memory.metadata.get("speaker")
    said = memory.text if who is None else f"{who}: {memory.text}"
    return f"[{memory.time:%Y-%m-%d}] " + "\n  ".join(said.splitlines())


def _positive(number: object, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InvalidArgument(f"{what} is a whole number, 1 or more")
    return number
