"""Chat messages as memories, and back: the words to be found, the whole message sealed beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from mimir_core import Item, Memory, Namespace
from mimir_core.errors import InvalidArgument

__all__ = ["message_item", "message_of", "origin", "speaker", "visible_text"]

_ORIGIN = "_mimir_id"  # not a field of the message: not dumped, not compared, not shown


def message_item(
    message: ChatMessage,
    namespace: Namespace,
    thread: str,
    metadata: Mapping[str, Any] | None = None,
) -> Item:
    """A message as a memory: its visible text is indexed, the whole of it sealed as JSON.

    A message without visible text, such as a tool call, is only stored.

    Raises:
        InvalidArgument: it is no ChatMessage, or holds what JSON cannot.
    """
    whole = _dumped(message)
    text = visible_text(message)
    fields = {"role": message.role.value, **(metadata or {})}
    if not text:
        return Item(whole, namespace=namespace, thread=thread, metadata=fields)
    fields["speaker"] = speaker(message)
    return Item(text, namespace=namespace, thread=thread, metadata=fields, attachment=whole)


def message_of(memory: Memory) -> ChatMessage:
    """The message that a memory holds; a text that was never a message is one of its speaker.

    Raises:
        InvalidArgument: the memory is something else.
    """
    whole = memory.content if isinstance(memory.content, bytes) else memory.attachment
    if whole is None:
        return _stamped(ChatMessage(content=memory.text, role=_role(memory)), memory.id)
    try:
        message = ChatMessage.model_validate(json.loads(whole))
    except (ValidationError, ValueError):  # these show what they could not read
        raise InvalidArgument(
            "a memory of this thread is no chat message",
            hint="give the chat store a namespace of its own",
        ) from None
    return _stamped(message, memory.id)


def visible_text(message: ChatMessage) -> str:
    """The text of a message as it can be indexed; empty if there is nothing to see."""
    text = message.content or ""
    return text.encode("utf-8", "replace").decode() if text.strip() else ""


def speaker(message: ChatMessage) -> str:
    """Who says it: the name that came with the message, else its role."""
    name = message.additional_kwargs.get("name")
    if isinstance(name, str) and name.strip():
        return name.encode("utf-8", "replace").decode()
    return message.role.value


def origin(message: ChatMessage) -> str | None:
    """The id of the memory that a message was read from, if it was read from a vault."""
    found = message.__dict__.get(_ORIGIN)
    return found if isinstance(found, str) else None


def _stamped(message: ChatMessage, id_: str) -> ChatMessage:
    message.__dict__[_ORIGIN] = id_
    return message


def _dumped(message: object) -> bytes:
    if not isinstance(message, ChatMessage):
        raise InvalidArgument("a chat store keeps ChatMessages")
    try:
        fields = message.model_dump()
        fields["additional_kwargs"].pop("images", None)  # legacy: they are among the blocks
        return json.dumps(fields, default=to_jsonable_python).encode()
    except Exception:  # a caller's own class may raise anything, and show the value
        raise InvalidArgument(
            "a message holds something that JSON cannot hold",
            hint="keep additional_kwargs and tool arguments to plain values",
        ) from None


def _role(memory: Memory) -> MessageRole:
    said_by = memory.metadata.get("role", memory.metadata.get("speaker"))
    return MessageRole(said_by) if said_by in list(MessageRole) else MessageRole.USER
