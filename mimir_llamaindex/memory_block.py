"""`MimirMemoryBlock`: what an agent remembers of turns that no longer fit its context."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from secrets import token_hex
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import ConfigDict, PrivateAttr
from llama_index.core.memory import BaseMemoryBlock
from llama_index.core.utils import get_tokenizer

from mimir_core import Item, Memory, Mimir, Namespace
from mimir_core.errors import InputError, InvalidArgument, ScrubPending, VaultClosed
from mimir_llamaindex.batches import each, item, listed, numbers_of, renumbered
from mimir_llamaindex.messages import origin, speaker, visible_text
from mimir_llamaindex.scrubs import late, scrub_last
from mimir_llamaindex.vaults import digest, fits, namespace_in

__all__ = ["MimirMemoryBlock"]

_DEFAULT: Namespace = ("llamaindex", "memory")
_NO_SESSION = "\0"  # the thread of what comes without a session
_CACHED_QUERIES = 32
_QUERY_CHARACTERS = 4_000
_HELD_CHARACTERS = 4_000_000  # of turns that could not be written
_LEANING = 0.3  # of each message towards the one before it
_ENTRY = re.compile(r"\n(?! )")  # a memory's further lines are indented
_SAYING = (MessageRole.USER, MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL)


@dataclass(frozen=True, slots=True, repr=False)
class _Turn:
    """What is to be written of a message, with its number among several that were given."""

    number: int | None
    item: Item

    @property
    def size(self) -> int:
        """Characters of its text."""
        return len(self.item.content)


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

    `Memory` archives turns before it hands them over, and never does so again. So turns of it that
    could not be written (the disk is full, another process holds the vault, the embedder fails)
    raise, and are kept in memory: the session's next turns are written after them, each once. They
    take 4 million characters at most, the oldest give way. They are lost when the process ends;
    `aput(await memory.aget_all(status="archived"), session_id=...)` makes up for any that are
    missing, each once too, if the chat store is a `MimirChatStore`.

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
    _held: dict[str, list[_Turn]] = PrivateAttr()  # by session; only the writer's thread uses it

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
        self._held = {}

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

        What comes from short-term memory is not handed over again: a message of it that cannot be
        remembered (its text is too long) is left out, and what could not be written now is written
        first the next time. Else nothing is written when something is wrong.

        Raises:
            InvalidArgument, InvalidText: with the number of the message.
            MimirError, or what the embedder raises: nothing was written.
            ScrubPending: written, but what was erased before still stands in the journal.
        """
        if from_short_term_memory and not self.accept_short_term_memory:
            return
        write = self._take_over if from_short_term_memory else self._remember
        loop = asyncio.get_running_loop()
        context = copy_context()  # as `asyncio.to_thread` does: `scrub_last` reaches into it
        written = loop.run_in_executor(self._writer, context.run, write, messages, session_id)
        await asyncio.shield(written)  # whoever stops waiting has archived them all the same

    async def _aput(self, messages: list[ChatMessage]) -> None:
        await self.aput(messages)

    async def _aget(
        self,
        messages: list[ChatMessage] | None = None,
        session_id: str | None = None,
        **block_kwargs: Any,
    ) -> str:
        """What the session's memory holds about the last messages, best first; else empty."""
        asked = [] if messages is None else listed(messages, "messages")
        return await asyncio.to_thread(self._recall, asked, session_id)

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
        """Writes all, or nothing."""
        self._write(self._items(messages, _thread(session_id)))

    def _take_over(self, messages: Sequence[ChatMessage], session_id: str | None) -> None:
        """Writes what was held back and then what is new, or holds all of it back."""
        thread = _thread(session_id)
        new = self._items(messages, thread)
        queue = [*self._held.pop(thread, ()), *new]
        try:
            self._write(queue)
        except InputError:
            self._write_each(thread, queue)
        except BaseException as error:
            self._hold(thread, queue, error)
            raise

    def _write_each(self, thread: str, queue: Sequence[_Turn]) -> None:
        """Writes one by one what can be, and raises for the first that never can."""
        refused: InputError | None = None
        with scrub_last():
            for at, turn in enumerate(queue):
                try:
                    with item(turn.number):
                        self._write([turn])
                except InputError as error:
                    refused = refused or error
                except BaseException as error:
                    self._hold(thread, queue[at:], error)
                    raise
        if refused is not None:
            raise refused

    def _hold(self, thread: str, turns: Sequence[_Turn], error: BaseException) -> None:
        """Keeps turns for the next time; of too many the oldest of the longest silence go."""
        if isinstance(error, (ScrubPending, VaultClosed)):
            return  # they are written, or no next time will come
        self._held[thread] = list(turns)  # at the end of the dict
        size = sum(turn.size for held in self._held.values() for turn in held)
        while size > _HELD_CHARACTERS:
            oldest = next(iter(self._held))
            size -= self._held[oldest].pop(0).size
            if not self._held[oldest]:
                del self._held[oldest]

    def _write(self, turns: Sequence[_Turn]) -> None:
        """Writes those not yet here: two tasks may hand over the same turn, a failed write again.

        Raises:
            InputError: with the caller's number of the message.
        """
        once = {turn.item.key: turn for turn in turns}
        ids = self._mimir.known([str(key) for key in once], namespace=self._place)
        new = [turn for turn, id_ in zip(once.values(), ids, strict=True) if id_ is None]
        with late(), renumbered([turn.number for turn in new]):
            self._mimir.remember_many([turn.item for turn in new])

    def _items(self, messages: Sequence[ChatMessage], thread: str) -> list[_Turn]:
        """A turn of what each message says; none of one that says nothing."""
        given = listed(messages, "messages")
        texts = list(each(_text, given))
        found = []
        for number, message, text in zip(numbers_of(given), given, texts, strict=True):
            if text:
                who = {"speaker": speaker(message), "role": message.role.value}
                source = origin(message)
                key = token_hex(16) if source is None else digest(f"{thread}\n{source}")
                new = Item(text, namespace=self._place, thread=thread, key=key, metadata=who)
                found.append(_Turn(number, new))
        return found

    def _recall(self, messages: Sequence[ChatMessage], session_id: str | None) -> str:
        said = self._said(messages)
        if not said or not (self._across_sessions or _may_exist(session_id)):
            return ""
        thread = None if self._across_sessions else _thread(session_id)
        hits = self._mimir.recall(
            said[-1],
            k=self._k,
            namespace=self._place,
            thread=thread,
            vector=self._direction(said),
        )
        return "\n".join(self._fitting(_entry(hit.memory) for hit in hits))

    def _said(self, messages: Sequence[ChatMessage]) -> list[str]:
        """What user and assistant said last, oldest first."""
        texts = list(each(_text, messages))
        said = zip(messages, texts, strict=True)
        asked = [text.strip()[:_QUERY_CHARACTERS] for m, text in said if m.role in _SAYING]
        return [text for text in asked if text][-self._recent :]

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


def _text(message: object) -> str:
    """What a message says."""
    if not isinstance(message, ChatMessage):
        raise InvalidArgument("a memory block takes ChatMessages")
    return visible_text(message)


def _may_exist(session_id: object) -> bool:
    """Whether there can be turns of such a session. Raises InvalidArgument unless it is a text."""
    if session_id is None:
        return True
    if not isinstance(session_id, str):
        raise InvalidArgument("the name of a session is a text")
    return fits(session_id) and session_id != _NO_SESSION


def _thread(session_id: str | None) -> str:
    """The thread of a session, or of all that comes without one."""
    if not _may_exist(session_id):
        raise InvalidArgument("the name of a session has 1 to 1,024 bytes, and is not one zero")
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
