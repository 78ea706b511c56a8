"""`MimirKVStore`: LlamaIndex's key-value interface on an open vault; keys and values are sealed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NoReturn

from llama_index.core.storage.kvstore.types import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_COLLECTION,
    BaseKVStore,
)
from pydantic_core import to_jsonable_python

from mimir_core import Item, Memory, Mimir, Namespace, Seen, retry_conflicts
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_llamaindex.batches import each, listed
from mimir_llamaindex.scrubs import late, scrub_last
from mimir_llamaindex.vaults import digest, name_of, namespace_in

__all__ = ["MimirKVStore", "check_pairs"]

Put = tuple[str, str, dict[str, Any]]
PIECE_BYTES = 4 << 20
BATCH = 1_024
READ = 256
_MARK = "#"


class MimirKVStore(BaseKVStore):
    """Key-value collections in a vault: each value a JSON object, each put and delete durable.

    Any string is a key and any string a collection. Values of any size are stored whole or not at
    all. What `get` returns is the caller's own copy.

    Args:
        mimir: The open vault.
        namespace: Where the collections live; each is a namespace below it.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    def __init__(self, mimir: Mimir, namespace: Namespace | str = ("llamaindex", "kv")) -> None:
        self._namespace = namespace_in(mimir, namespace)
        self._mimir = mimir

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Stores a value; what JSON does not know, such as a date, becomes its text.

        Raises:
            InvalidArgument: key or collection is no string, or JSON cannot hold the value.
            Conflict: others changed the key all the time; nothing was stored.
            ScrubPending: stored, but the older value is not yet scrubbed from the journal.
        """
        retry_conflicts(lambda: self.apply([(collection, key, val)]))

    def put_all(
        self,
        kv_pairs: Sequence[tuple[str, dict[str, Any]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        """Stores many values, the last one of a repeated key.

        They take as few transactions as can be, so `batch_size`, which other stores need, does not
        matter here.

        Raises:
            InvalidArgument: as `put`, with the number of the pair; nothing was stored.
            Conflict: others changed the keys all the time; see `apply`.
            ScrubPending: all are stored, but older values are not yet scrubbed from the journal.
        """
        pairs = list(each(_pair, listed(kv_pairs, "keys and values")))
        puts = [(collection, key, value) for key, value in pairs]
        try:
            retry_conflicts(lambda: self.apply(puts))
        except InvalidArgument:
            check_pairs(pairs)
            raise

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """The value of a key, or None. Raises InvalidArgument as `get_many` does."""
        return self.get_many([key], collection)[0]

    def get_many(
        self, keys: Sequence[str], collection: str = DEFAULT_COLLECTION
    ) -> list[dict[str, Any] | None]:
        """The values of many keys, None for keys nobody put.

        Raises:
            InvalidArgument: a key, or the collection, is no string.
        """
        place = self._place(collection)
        names = list(each(_name, listed(keys, "keys")))
        found = self._mimir.get_many(keys=names, namespace=place)
        whole = [self._whole(place, head) for head in found]
        return [None if one is None else one[1] for one in whole]

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """All values of a collection by key. Raises InvalidArgument unless it is a string."""
        place = self._place(collection)
        names = [name for name in self._mimir.keys(namespace=place) if not _is_piece(name)]
        found: list[tuple[str, dict[str, Any]] | None] = []
        for start in range(0, len(names), READ):
            heads = self._mimir.get_many(keys=names[start : start + READ], namespace=place)
            found += (self._whole(place, head) for head in heads)
        return dict(one for one in found if one is not None)

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Erases a value for good; says whether there was one.

        Raises:
            InvalidArgument: key or collection is no string.
            Conflict: others changed the key all the time; nothing was erased.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        return retry_conflicts(lambda: self.apply(deletes=[(collection, key)])) > 0

    def seen(self, keys: Iterable[str], collection: str) -> list[Seen]:
        """What keys hold now, for `apply`; to be asked before what is changed is read.

        Raises:
            InvalidArgument: a key, or the collection, is no string.
        """
        return self._mimir.seen(map(_name, keys), namespace=self._place(collection))

    def apply(
        self,
        puts: Iterable[Put] = (),
        deletes: Iterable[tuple[str, str]] = (),
        unchanged: Iterable[Seen] = (),
    ) -> int:
        """Stores (collection, key, value) and erases (collection, key), across collections.

        Up to 1,024 values are one transaction, which also holds all that is erased; a longer run
        is stored in order by several.

        Args:
            unchanged: What the change was made from, as `seen` gave it.

        Returns:
            How many of the keys to erase were there.

        Raises:
            InvalidArgument: a key or collection is no string, or JSON cannot hold a value; nothing
                was written.
            Conflict: others changed what the change was made from, or what it replaces. The
                transaction wrote nothing; those before it stand, and may be made again.
            ScrubPending: all is done, but what was erased or replaced is not yet scrubbed from the
                journal.
        """
        latest = {(collection, key): _encode(key, value) for collection, key, value in puts}
        batch = [(self._place(collection), key, data) for (collection, key), data in latest.items()]
        gone = [(self._place(collection), key) for collection, key in dict.fromkeys(deletes)]
        expected = list(unchanged)
        starts = range(0, max(len(batch), 1), BATCH)
        with scrub_last():
            for start in starts:
                piece, last = batch[start : start + BATCH], start == starts[-1]
                erased = self._commit(piece, gone if last else [], expected)
                written = {(place, _name(key)) for place, key, _ in piece}
                expected = [one for one in expected if (one.namespace, one.key) not in written]
        return erased

    async def aput(
        self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION
    ) -> None:
        """Like `put`, off the event loop."""
        await asyncio.to_thread(self.put, key, val, collection)

    async def aput_all(
        self,
        kv_pairs: Sequence[tuple[str, dict[str, Any]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        """Like `put_all`, off the event loop."""
        await asyncio.to_thread(self.put_all, kv_pairs, collection, batch_size)

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Like `get`, off the event loop."""
        return await asyncio.to_thread(self.get, key, collection)

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Like `get_all`, off the event loop."""
        return await asyncio.to_thread(self.get_all, collection)

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Like `delete`, off the event loop."""
        return await asyncio.to_thread(self.delete, key, collection)

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("a store of an open Mimir cannot be pickled or copied")

    def _place(self, collection: str) -> Namespace:
        return (*self._namespace, _label(collection))

    def _commit(
        self,
        puts: Sequence[tuple[Namespace, str, bytes]],
        deletes: Sequence[tuple[Namespace, str]],
        unchanged: Sequence[Seen],
    ) -> int:
        items = [item for place, key, data in puts for item in _items(place, key, data)]
        heads = [
            head
            for place, key in deletes
            for head in self._mimir.seen([_name(key)], namespace=place)
        ]
        pieces = [piece for place, key in deletes for piece in self._pieces(place, key, 0)]
        for place, key, data in puts:
            pieces += self._pieces(place, key, _pieces_of(data))
        erased = [head.id for head in heads if head.id is not None]
        gone = [*erased, *(piece.id for piece in pieces if piece.id is not None)]
        with late():
            self._mimir.replace(items, ids=gone, unchanged=[*unchanged, *heads, *pieces])
        return len(erased)

    def _pieces(self, place: Namespace, key: str, start: int) -> Iterator[Seen]:
        """The stored pieces of a value from a number on, and after the last that there is none."""
        mark = _mark(key)
        for number in count(start):
            (piece,) = self._mimir.seen([f"{mark}.{number}"], namespace=place)
            yield piece
            if piece.id is None:
                return

    def _whole(self, place: Namespace, head: Memory | None) -> tuple[str, dict[str, Any]] | None:
        """Key and value of a head; its pieces are read in one snapshot with it."""
        while head is not None and (number := head.metadata.get("pieces")):
            mark = head.metadata["mark"]
            names = [str(head.key), *(f"{mark}.{n}" for n in range(number))]
            again, *pieces = self._mimir.get_many(keys=names, namespace=place)
            if again is not None and again.id == head.id:
                return _decode(b"".join(_bytes(piece) for piece in (again, *pieces)))
            head = again
        return None if head is None else _decode(_bytes(head))


def _items(place: Namespace, key: str, data: bytes) -> Iterator[Item]:
    """A value as memories: its head, which is all of it up to 4 MiB, and the pieces after it."""
    number = _pieces_of(data)
    mark = _mark(key)
    for n in range(number):
        piece = data[(n + 1) * PIECE_BYTES : (n + 2) * PIECE_BYTES]
        yield Item(piece, place, key=f"{mark}.{n}")
    metadata = {"pieces": number, "mark": mark} if number else {}
    yield Item(data[:PIECE_BYTES], place, key=_name(key), metadata=metadata)


def _is_piece(name: str) -> bool:
    return name.startswith(_MARK) and "." in name


def _pieces_of(data: bytes) -> int:
    return (len(data) - 1) // PIECE_BYTES


def _bytes(memory: Memory | None) -> bytes:
    return memory.content if memory is not None and isinstance(memory.content, bytes) else b""


def _encode(key: object, value: object) -> bytes:
    """The key and its value as ASCII JSON, in which even a lone surrogate keeps its place."""
    if not isinstance(key, str) or not isinstance(value, dict):
        raise InvalidArgument("a key is a string and a value a dict")
    try:
        text = json.dumps([key, value], separators=(",", ":"), default=to_jsonable_python)
    except Exception:  # a caller's own class may raise anything, and show the value
        raise InvalidArgument("a value is what JSON can hold") from None
    return text.encode()


def check_pairs(pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Raises InvalidArgument for the first pair that cannot be kept, with its number."""
    for _ in each(lambda pair: _encode(*pair), pairs):
        pass


def _pair(given: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(given, Sequence) or len(given) != 2:
        raise InvalidArgument("a pair is a key and its value")
    return given[0], given[1]


def _decode(data: bytes) -> tuple[str, dict[str, Any]]:
    key, value = json.loads(data)
    return key, value


def _name(key: object) -> str:
    """The key as the vault names it: itself, or its digest if the vault could not hold it."""
    if not isinstance(key, str):
        raise InvalidArgument("a key is a string")
    return name_of(key, _MARK)


def _label(collection: object) -> str:
    """A namespace label for a collection, readable if it is plain ASCII."""
    if not isinstance(collection, str):
        raise InvalidArgument("a collection is a string")
    plain = collection.isascii() and collection.isprintable() and "." not in collection
    if plain and 1 <= len(collection) <= 128 and not collection.startswith(_MARK):
        return collection
    return _mark(collection)


def _mark(text: str) -> str:
    return _MARK + digest(text)
