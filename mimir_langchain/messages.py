"""One message of a conversation as one memory, and back, whole.

What can be read of a message is the memory's text, so that it is embedded and indexed; everything
else (its id, name, tool calls, content blocks, ...) stands beside it in the attachment, as JSON. A
message that says nothing readable, such as one of tool calls only, is stored as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, RemoveMessage, messages_from_dict
from pydantic.fields import FieldInfo

from mimir_core import Item, Memory, Namespace
from mimir_core.errors import InvalidArgument

__all__ = ["speaker_of", "to_item", "to_message", "visible_text"]

SPEAKERS = {"human": "Human", "ai": "AI", "AIMessageChunk": "AI"}


def visible_text(message: BaseMessage) -> str:
    """What a reader sees of a message: its text, or the text blocks of its content."""
    return str(message.text)


def speaker_of(message: BaseMessage) -> str:
    """Who says it: the name that the message bears, else its role."""
    role = getattr(message, "role", message.type)  # a ChatMessage says which
    return message.name or SPEAKERS.get(role, role)


def to_item(
    message: BaseMessage,
    *,
    namespace: Namespace | str,
    thread: str,
    speaker: str | None = None,
    time: datetime | None = None,
) -> Item:
    """A memory of a message. Its metadata are `role`, the message's type, and `speaker`.

    Raises:
        InvalidArgument: what is given is no message, or one that could not be read back because
            of its type or of a value that JSON cannot represent.
    """
    if not isinstance(message, BaseMessage) or isinstance(message, RemoveMessage):
        raise InvalidArgument("a history is made of messages", hint="wrap texts in HumanMessage")
    text = visible_text(message)
    spoken = bool(text.strip())
    said = speaker if speaker and not message.name else speaker_of(message)
    encoded = _encoded(message, without_text=spoken and isinstance(message.content, str))
    return Item(
        content=text if spoken else encoded,
        namespace=namespace,
        thread=thread,
        metadata={"role": message.type, "speaker": said},
        time=time,
        attachment=encoded if spoken else None,
    )


def to_message(memory: Memory) -> BaseMessage:
    """The message that a memory was made of; a text from elsewhere counts as a human's."""
    data = memory.content if isinstance(memory.content, bytes) else memory.attachment
    if data is None:
        return HumanMessage(memory.text)
    return _decoded(data, memory.text)


def _encoded(message: BaseMessage, *, without_text: bool) -> bytes:
    """Type and fields, once they are known to make a message; its own defaults are left out."""
    try:
        fields = message.model_dump(exclude={"content"} if without_text else None)
        told = ", ".join(_told(type(message), fields))
        text = f'{{"type": {_json(message.type)}, "data": {{{told}}}}}'
        data = text.encode("utf-8", "surrogatepass")
        _decoded(data, "")
    except Exception:  # from code that comes with a value; its message may show it
        raise InvalidArgument("a message of this kind cannot be stored as JSON") from None
    return data


def _told(kind: type[BaseMessage], fields: Mapping[str, Any]) -> Iterator[str]:
    """The fields that differ from what their class gives them, as members of a JSON object.

    They are compared as JSON, which tells 0, 0.0 and false apart and asks no value's `__eq__`.
    """
    for name, value in fields.items():
        text = _json(value)
        if name not in kind.model_fields or text != _standard(kind.model_fields[name]):
            yield f"{_json(name)}: {text}"


def _standard(field: FieldInfo) -> str | None:
    """The default of a field as JSON; None if it has none, or one made by a function."""
    if field.default_factory in (dict, list):
        return "{}" if field.default_factory is dict else "[]"
    if field.default is None or isinstance(field.default, (str, int, float)):
        return _json(field.default)
    return None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _decoded(data: bytes, text: str) -> BaseMessage:
    stored: dict[str, Any] = json.loads(data.decode("utf-8", "surrogatepass"))
    fields = {"content": text, **stored["data"]}
    return messages_from_dict([{"type": stored["type"], "data": fields}])[0]
