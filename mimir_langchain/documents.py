"""Documents, texts, metadata and ids as callers list them, checked: an error says which is bad."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.documents import Document

from mimir_core import Item, Namespace
from mimir_core.errors import InvalidArgument, InvalidText
from mimir_langchain.naming import about
from mimir_langchain.vaults import MOST_NAME_BYTES, is_name

__all__ = ["as_documents", "as_ids", "as_items", "as_keys", "as_texts"]

_UNTOUCHED = "leave it out, or give it a visible character; nothing was added"


def as_documents(documents: Iterable[Document]) -> list[Document]:
    """The documents as a list. Raises InvalidArgument."""
    batch = list(documents)
    for number, document in enumerate(batch):
        if not isinstance(document, Document):
            raise InvalidArgument(f"document {number}: it is no Document")
    return batch


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list, each with a visible character. Raises InvalidText."""
    if isinstance(texts, str):
        raise InvalidText("texts are a list of texts, not one text")
    contents = list(texts)
    for number, text in enumerate(contents):
        if not isinstance(text, str) or not text.strip():
            raise InvalidText(f"document {number}: its text is empty or no text", hint=_UNTOUCHED)
    return contents


def as_keys(ids: Iterable[str | None] | None, count: int) -> list[str]:
    """A key for each of so many documents: its id, or a random UUID. Raises InvalidArgument."""
    found = _aligned(ids, "ids", count) or [None] * count
    return [_key(number, id_) for number, id_ in enumerate(found)]


def as_items(
    texts: Sequence[str],
    metadatas: Iterable[Any] | None,
    keys: Sequence[str],
    vectors: Sequence[Any],
    namespace: Namespace,
) -> dict[int, Item]:
    """The memories to store, by the numbers of their documents; of a key given twice the last."""
    fields = _aligned(metadatas, "metadatas", len(texts)) or [None] * len(texts)
    last = {key: number for number, key in enumerate(keys)}
    return {
        number: Item(
            texts[number],
            namespace,
            key=key,
            metadata={} if fields[number] is None else fields[number],
            vector=vectors[number],
        )
        for key, number in last.items()
    }


def as_ids(ids: Iterable[str]) -> list[str]:
    """Ids to look for as a list, also such as no document has. Raises InvalidArgument."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InvalidArgument("ids are a list of ids")
    wanted = list(ids)
    for number, id_ in enumerate(wanted):
        with about(f"id {number}"):
            _check_text(id_)
    return wanted


def _aligned(values: Iterable[Any] | None, name: str, count: int) -> list[Any]:
    """Values as a list, one for each text, or empty if there are none. Raises InvalidArgument."""
    if isinstance(values, str):
        raise InvalidArgument(f"{name} are a list, not one text")
    found = [] if values is None else list(values)
    if found and len(found) != count:
        raise InvalidArgument(f"{len(found)} {name} for {count} texts; nothing was added")
    return found


def _key(number: int, id_: object) -> str:
    if id_ is None:
        return str(uuid.uuid4())
    with about(f"document {number}"):
        text = _check_text(id_)
        if text and not is_name(text):
            raise InvalidArgument(f"an id has at most {MOST_NAME_BYTES:,} bytes, and no surrogates")
    return text or str(uuid.uuid4())


def _check_text(id_: object) -> str:
    if not isinstance(id_, str):
        raise InvalidArgument("an id is a string")
    return id_
