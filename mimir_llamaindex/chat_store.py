"""`MimirChatStore`: LlamaIndex's chat history, sealed in a vault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus

from mimir_core import Item, Memory, Mimir, Namespace
from mimir_core.errors import InvalidArgument, NotFound
from mimir_llamaindex.batches import each
from mimir_llamaindex.messages import message_item, message_of
from mimir_llamaindex.scrubs import late
from mimir_llamaindex.vaults import fits, namespace_in

__all__ = ["MimirChatStore"]

T = TypeVar("T")

_STATUS = "status"  # metadata of a message: what it was added as
_MARK = "archives"  # metadata of a mark: how many messages its content names
_FIRST_LOOK = 32  # memories; each further look is four times as long


@dataclass(frozen=True, slots=True, repr=False)
class _Session:
    """The memories of a session, or its newest ones with no active message before them."""

    active: Sequence[Memory]
    archived: Sequence[Memory]
    messages: Sequence[Memory]
    marks: Sequence[Memory]

    @classmethod
    def of(cls, thread: Sequence[Memory]) -> _Session:
        marks = [memory for memory in thread if _MARK in memory.metadata]
        messages = [memory for memory in thread if _MARK not in memory.metadata]
        named = {id_ for mark in marks for id_ in mark.text.split()}
        late = MessageStatus.ARCHIVED.value
        away = [m.id in named or m.metadata.get(_STATUS) == late for m in messages]
        archived = [memory for memory, out in zip(messages, away, strict=True) if out]
        active = [memory for memory, out in zip(messages, away, strict=True) if not out]
        return cls(active, archived, messages, marks)

    def having(self, status: MessageStatus | None) -> Sequence[Memory]:
        if status is None:
            return self.messages
        return self.active if status is MessageStatus.ACTIVE else self.archived

    @property
    def reaches_archive(self) -> bool:
        """Whether a message that a mark names is in sight; all before it are archived."""
        return any(_STATUS not in memory.metadata for memory in self.archived)


@dataclass(frozen=True, slots=True, repr=False)
class _Seen:
    """An active queue as a task last read it."""

    store: object
    key: str
    ids: tuple[str, ...]


_seen: ContextVar[_Seen | None] = ContextVar("mimir_chat_store_seen", default=None)


class MimirChatStore(AsyncDBChatStore):
    """Keeps each session as a thread of the vault, oldest message first.

        memory = Memory.from_defaults(session_id="u1", chat_store=MimirChatStore(mimir))

    A message is written once and never moved: what is archived is named by small marks in the
    thread. So archiving costs the same in a long session as in a short one, and reading the
    active queue opens little more than that queue.

    `archive_oldest_messages` counts from the queue as its caller, the running task, last read it.
    `Memory` reads, counts and archives in three steps: where two tasks put into one session at
    once, the second would otherwise archive messages that neither meant to.

    Every method works in a thread, off the event loop; what writes does so in the order called.
    What is deleted is erased from the file.

    Args:
        mimir: The open vault; the caller closes it.
        namespace: Where the sessions live. A session's name is 1 to 1,024 bytes; one of another
            name has no messages, and takes none.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    _mimir: Mimir = PrivateAttr()  # set first, so that copying meets its refusal first
    _place: dict[str, Any] = PrivateAttr()
    _writer: ThreadPoolExecutor = PrivateAttr()

    def __init__(self, mimir: Mimir, namespace: Namespace | str = ("llamaindex", "chat")) -> None:
        super().__init__()
        self._mimir = mimir
        self._place = {"namespace": namespace_in(mimir, namespace)}
        self._writer = ThreadPoolExecutor(1, "mimir-chat")

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows the class."""
        return "MimirChatStore"

    # Reading

    async def get_messages(
        self,
        key: str,
        status: MessageStatus | None = MessageStatus.ACTIVE,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[ChatMessage]:
        """A session's messages, oldest first; those of every status if it is None.

        Raises:
            InvalidArgument: no such status, a negative limit or offset, a name that is no text, or
                a thread of the namespace that holds something else than messages.
        """
        start = _count(0 if offset is None else offset, "offset")
        end = None if limit is None else start + _count(limit, "limit")
        wanted = _checked(status)
        ids, messages = await asyncio.to_thread(self._get, key, wanted, slice(start, end))
        if wanted is MessageStatus.ACTIVE:
            _seen.set(_Seen(self._writer, key, ids))
        return messages

    async def count_messages(
        self, key: str, status: MessageStatus | None = MessageStatus.ACTIVE
    ) -> int:
        """How many messages a session has; those of every status if it is None.

        Raises:
            InvalidArgument: no such status, or a name that is no text.
        """
        wanted = _checked(status)
        return len((await asyncio.to_thread(self._session, key, wanted)).having(wanted))

    async def get_keys(self) -> list[str]:
        """The names of the sessions."""
        return list(await asyncio.to_thread(self._mimir.threads, **self._place))

    # Writing

    async def add_message(
        self, key: str, message: ChatMessage, status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Adds a message at the end of a session. Raises as `add_messages` does."""
        await self.add_messages(key, [message], status)

    async def add_messages(
        self,
        key: str,
        messages: list[ChatMessage],
        status: MessageStatus = MessageStatus.ACTIVE,
    ) -> None:
        """Adds messages at the end of a session.

        Raises:
            InvalidArgument, InvalidText: with the number of the message; none was written.
        """
        _seen.set(None)
        await self._write(self._add, key, messages, status)

    async def set_messages(
        self,
        key: str,
        messages: list[ChatMessage],
        status: MessageStatus = MessageStatus.ACTIVE,
    ) -> None:
        """Replaces all of a session, whatever its status, in one transaction.

        Raises:
            InvalidArgument, InvalidText: with the number of the message; nothing was written.
            ScrubPending: replaced, but old pages still stand in the journal.
        """
        _seen.set(None)
        await self._write(self._set, key, messages, status)

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Archives the oldest n active messages and returns them.

        Raises:
            InvalidArgument: n is negative, or the session's name is no text.
        """
        count = _count(n, "number of messages")
        seen = _seen.get()
        known = seen.ids if seen and (seen.store, seen.key) == (self._writer, key) else None
        messages = await self._write(self._archive, key, count, known)
        if known is not None:
            _seen.set(_Seen(self._writer, key, known[count:]))
        return messages

    async def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Erases the active message at position `idx`, and returns it; None if there is none.

        Raises:
            InvalidArgument: the position is negative, or the session's name is no text.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        at = _count(idx, "position")
        found = await self._delete(key, lambda session: session.active[at : at + 1])
        return found[0] if found else None

    async def delete_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Erases the oldest n active messages and returns them.

        Raises:
            InvalidArgument: n is negative, or the session's name is no text.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        count = _count(n, "number of messages")
        return await self._delete(key, lambda session: session.active[:count])

    async def delete_messages(self, key: str, status: MessageStatus | None = None) -> None:
        """Erases a session's messages; those of every status if it is None.

        Raises:
            InvalidArgument: no such status, or a name that is no text.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        wanted = _checked(status)
        if wanted is None:
            _seen.set(None)
            await self._write(self._forget, key)
        elif wanted is MessageStatus.ACTIVE:
            await self._delete(key, lambda session: session.active)
        else:
            await self._delete(key, lambda session: [*session.archived, *session.marks], wanted)

    # Off the event loop

    async def _write(self, call: Callable[..., T], *arguments: object) -> T:
        """One after the other, in the order called: so are a session's messages then."""
        loop = asyncio.get_running_loop()
        context = copy_context()  # as `asyncio.to_thread` does: `scrub_last` reaches into it
        return await loop.run_in_executor(self._writer, context.run, call, *arguments)

    def _get(
        self, key: str, status: MessageStatus | None, part: slice
    ) -> tuple[tuple[str, ...], list[ChatMessage]]:
        found = self._session(key, status).having(status)
        messages = [message_of(memory) for memory in found[part]]
        return tuple(memory.id for memory in found), messages

    def _add(self, key: str, messages: Sequence[ChatMessage], status: object) -> None:
        with late():
            self._mimir.remember_many(self._items(key, messages, status))

    def _set(self, key: str, messages: Sequence[ChatMessage], status: object) -> None:
        items = self._items(key, messages, status)
        with late():
            self._mimir.replace(items, thread=key, **self._place)

    def _forget(self, key: str) -> None:
        if _may_exist(key):
            with late():
                self._mimir.forget(thread=key, **self._place)

    def _items(self, key: str, messages: Sequence[ChatMessage], status: object) -> list[Item]:
        wanted = _checked(status)
        if wanted is None or not isinstance(messages, Sequence):
            raise InvalidArgument("messages come as a list, and with a status")
        fields = {_STATUS: wanted.value} if wanted is MessageStatus.ARCHIVED else {}
        make = partial(message_item, thread=key, metadata=fields, **self._place)
        return list(each(make, messages))

    def _session(self, key: str, status: MessageStatus | None) -> _Session:
        """Reads back from the newest message until the archive is reached, if that is enough."""
        if not _may_exist(key):
            return _Session.of(())
        look = _FIRST_LOOK
        while status is MessageStatus.ACTIVE:
            thread = self._mimir.thread(key, last=look, **self._place)
            session = _Session.of(thread)
            if session.reaches_archive or len(thread) < look:
                return session
            look *= 4
        return _Session.of(self._mimir.thread(key, **self._place))

    def _archive(self, key: str, n: int, seen: Sequence[str] | None) -> list[ChatMessage]:
        active = self._session(key, MessageStatus.ACTIVE).active
        oldest = {memory.id for memory in active[:n]} if seen is None else set(seen[:n])
        chosen = [memory for memory in active if memory.id in oldest]
        if chosen:
            names = " ".join(memory.id for memory in chosen).encode()
            mark = Item(names, thread=key, metadata={_MARK: len(chosen)}, **self._place)
            with late():
                self._mimir.remember_many([mark])
        return [message_of(memory) for memory in chosen]

    async def _delete(
        self,
        key: str,
        choose: Callable[[_Session], Sequence[Memory]],
        status: MessageStatus = MessageStatus.ACTIVE,
    ) -> list[ChatMessage]:
        _seen.set(None)
        return await self._write(self._erase, key, choose, status)

    def _erase(
        self, key: str, choose: Callable[[_Session], Sequence[Memory]], status: MessageStatus
    ) -> list[ChatMessage]:
        while chosen := choose(self._session(key, status)):
            with suppress(NotFound):  # another process was first: look again
                with late():
                    self._mimir.forget([memory.id for memory in chosen])
                break
        return [message_of(memory) for memory in chosen if _MARK not in memory.metadata]


def _may_exist(key: object) -> bool:
    """Whether a session can have this name. Raises InvalidArgument unless it is a text."""
    if not isinstance(key, str):
        raise InvalidArgument("the name of a session is a text")
    return fits(key)


def _checked(status: object) -> MessageStatus | None:
    if status is None:
        return None
    if isinstance(status, str):  # another's `==` may do anything
        with suppress(ValueError):
            return MessageStatus(status)
    raise InvalidArgument("a status is active, archived, or None for every one")


def _count(number: object, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InvalidArgument(f"the {what} is a whole number, 0 or more")
    return number
