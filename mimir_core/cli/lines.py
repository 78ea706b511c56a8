"""The lines that `import` reads and `export` writes: one JSON object a memory.

A plain line is a turn of a conversation:

| field | becomes |
|---|---|
| `text` | the content; required |
| `time` | the time; one that cannot be read is kept as the field `time_text` |
| `conversation`, `session` | the thread: "conversation", or "conversation/session" |
| `id` | the key: "conversation/id", or the id alone; unique within its file |
| any other | a field of the metadata, `speaker` among them; nulls are left out |

With a session, conversation and session become fields too, so that filters can use them. A line
without an id gets a key from its conversation, session, speaker, time and text and how often these
came before in the file, so that importing it again adds nothing.

A line with `"mimir": 1` is what `export` writes: namespace, thread, key, time, metadata and content
exactly as they were, dates as {"$date": ...} and {"$time": ...}, bytes as `base64`, and so an
`attachment`. Edges are not in it, but for the order of threads, which the order of lines gives. Of
a key's values only the newest is written with the key; an older one that was kept is a memory of
its own.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from mimir_core.cli.times import read_time
from mimir_core.errors import InvalidArgument, InvalidMetadata, InvalidText
from mimir_core.intake import DEFAULT_NAMESPACE, MAX_CONTENT_BYTES, Item, check_name
from mimir_core.results import Memory
from mimir_core.types import (
    MAX_METADATA_BYTES,
    Namespace,
    Value,
    check_metadata,
    check_namespace,
)

VERSION: Final = 1
_DATE, _TIME, _DICT = "$date", "$time", "$dict"
_DIGEST_BYTES = 16
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_MOST_VALUES = MAX_METADATA_BYTES // 2  # each takes two bytes of it at the least


class LineReader:
    """Reads the lines of one file; remembers which keys it has met.

    Attributes:
        times_kept: How many times could not be read and were kept as `time_text`.
    """

    def __init__(self, namespace: Namespace | None = None) -> None:
        self._namespace = namespace
        self._unnamed: Counter[bytes] = Counter()
        self._keys: set[bytes] = set()
        self.times_kept = 0

    def read(self, line: bytes) -> Item:
        """The memory that a line describes.

        Raises:
            InputError: for a line that describes none; the message is the reason.
        """
        fields = _parse(line)
        try:
            item = self._exported(fields) if "mimir" in fields else self._turn(fields)
        except RecursionError:
            raise InvalidMetadata("the metadata nests too deeply") from None
        check_metadata(item.metadata)
        self._note(check_namespace(item.namespace), item.key)
        return item

    def _turn(self, fields: dict[str, Any]) -> Item:
        text = _checked_text(fields.pop("text", None))
        names = {name: _name(fields.pop(name, None), name) for name in ("conversation", "session")}
        _name(fields.get("speaker"), "speaker")
        key = self._turn_key(names, text, fields)
        when = self._time(fields)
        if names["session"] is not None:
            fields |= names
        return Item(
            content=text,
            namespace=self._namespace or DEFAULT_NAMESPACE,
            thread=check_name("/".join(filter(None, names.values())) or None, "thread name"),
            key=check_name(key, "key"),
            time=when,
            metadata={name: value for name, value in fields.items() if value is not None},
        )

    def _turn_key(self, names: dict[str, str | None], text: str, fields: dict[str, Any]) -> str:
        own = _name(fields.pop("id", None), "id")
        if own is not None:
            return "/".join(filter(None, (names["conversation"], own)))
        parts = *names.values(), fields.get("speaker"), fields.get("time"), text
        digest = _digest(parts)
        self._unnamed[digest] += 1
        return f"line/{digest.hex()}/{self._unnamed[digest]}"

    def _time(self, fields: dict[str, Any]) -> dt.datetime | None:
        """Takes the time out of the fields; one that cannot be read stays as `time_text`."""
        when = fields.pop("time", None)
        if when is None or when == "":
            return None
        if isinstance(when, bool) or not isinstance(when, (str, int, float)):
            raise InvalidArgument("time is neither text nor a number")
        try:
            return read_time(when)
        except InvalidArgument:
            self.times_kept += 1
            fields["time_text"] = str(when)
            return None

    def _exported(self, fields: dict[str, Any]) -> Item:
        if fields["mimir"] != VERSION:
            raise InvalidArgument("the line was exported by a newer Mimir")
        labels, metadata = fields.get("namespace"), fields.get("metadata", {})
        if not isinstance(labels, list) or not isinstance(metadata, dict) or "id" not in fields:
            raise InvalidArgument("an exported line has an id, a namespace list, a metadata dict")
        key = fields.get("key") or f"exported/{fields['id']}"
        return Item(
            content=_exported_content(fields),
            namespace=self._namespace or check_namespace(labels),
            thread=check_name(fields.get("thread"), "thread name"),
            key=check_name(key, "key"),
            time=read_time(str(fields.get("time"))),
            metadata={name: _decoded(value) for name, value in metadata.items()},
            attachment=_exported_attachment(fields),
        )

    def _note(self, namespace: Namespace, key: str | None) -> None:
        digest = _digest([*namespace, key])
        if digest in self._keys:
            raise InvalidArgument("an earlier line of this file has the same id")
        self._keys.add(digest)


def export_line(memory: Memory, key: str | None) -> dict[str, Any]:
    """A memory as the JSON object of one exported line, under the key it is still found by."""
    content = memory.content
    return {
        "mimir": VERSION,
        "id": memory.id,
        "namespace": list(memory.namespace),
        "thread": memory.thread,
        "key": key,
        "time": memory.time.isoformat(),
        "metadata": {name: _encoded(value) for name, value in memory.metadata.items()},
        **({"text": content} if isinstance(content, str) else {"base64": content}),
        **({} if memory.attachment is None else {"attachment": memory.attachment}),
    }


def _parse(line: bytes) -> dict[str, Any]:
    if _values(line) > _MOST_VALUES:
        raise InvalidMetadata("it holds more values than metadata can")
    try:
        fields = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError:
        raise InvalidText("not UTF-8") from None
    except (ValueError, RecursionError):
        raise InvalidText("not JSON") from None
    if not isinstance(fields, dict):
        raise InvalidText("not a JSON object")
    return fields


def _values(line: bytes) -> int:
    """About how many values a line of JSON holds; parsed, one takes up to a hundred bytes."""
    count = sum(map(line.count, (b",", b"[", b"{")))
    if count <= _MOST_VALUES:
        return count
    bare = _STRING.sub(b"", line)  # a long text may well hold as many commas
    return sum(map(bare.count, (b",", b"[", b"{")))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _checked_text(text: object) -> str:
    if text is None:
        raise InvalidText("there is no text")
    if not isinstance(text, str):
        raise InvalidText("text is not a string")
    if not text.strip():
        raise InvalidText("the text is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidText("the text holds surrogates, which UTF-8 cannot encode") from None
    if size > MAX_CONTENT_BYTES:
        raise InvalidText(f"the text is too long: {size} bytes, at most {MAX_CONTENT_BYTES}")
    return text


def _name(value: object, field: str) -> str | None:
    """A name is text or a whole number; an empty one is none."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidArgument(f"{field} is neither text nor a whole number")


def _exported_content(fields: Mapping[str, Any]) -> str | bytes:
    if "base64" not in fields:
        return _checked_text(fields.get("text"))
    try:
        content = base64.b64decode(fields["base64"], validate=True)
    except (ValueError, TypeError):
        raise InvalidText("the bytes are not base64") from None
    if len(content) > MAX_CONTENT_BYTES:
        raise InvalidText("the bytes are too long")
    return content


def _exported_attachment(fields: Mapping[str, Any]) -> bytes | None:
    if fields.get("attachment") is None:
        return None
    try:
        return base64.b64decode(fields["attachment"], validate=True)
    except (ValueError, TypeError):
        raise InvalidText("the attachment is not base64") from None


def _digest(parts: Sequence[object]) -> bytes:
    data = json.dumps(parts).encode()
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _encoded(value: Value) -> Any:
    if isinstance(value, dt.datetime):
        return {_TIME: value.isoformat()}
    if isinstance(value, dt.date):
        return {_DATE: value.isoformat()}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, dict):
        encoded = {name: _encoded(item) for name, item in value.items()}
        return {_DICT: encoded} if len(value) == 1 and value.keys() & _DECODERS.keys() else encoded
    return value


def _decoded(value: Any) -> Value:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # a JSON scalar
    (name, inner), *others = [*value.items(), (None, None)]
    if len(others) == 1 and name in _DECODERS:
        try:
            return _DECODERS[name](inner)
        except (ValueError, TypeError, AttributeError):
            raise InvalidMetadata("a date in the metadata cannot be read") from None
    return _plain_dict(value)


def _plain_dict(value: dict[str, Any]) -> Value:
    return {name: _decoded(item) for name, item in value.items()}


_DECODERS: Final[dict[str, Callable[[Any], Value]]] = {
    _DATE: dt.date.fromisoformat,
    _TIME: dt.datetime.fromisoformat,
    _DICT: _plain_dict,
}
