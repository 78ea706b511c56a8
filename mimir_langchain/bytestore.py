"""`MimirByteStore`: LangChain's key-value store of bytes, sealed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NoReturn

from langchain_core.stores import ByteStore

from mimir_core import Mimir, Namespace, retry_conflicts
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_langchain import blobs
from mimir_langchain.vaults import digest, is_name, namespace_in

__all__ = ["MimirByteStore"]

_PLAIN, _DIGEST = "key ", "digest "


class MimirByteStore(ByteStore):
    """Bytes under string keys, both sealed.

    Any string is a key: the empty one, one of any length, even one with lone surrogates. Values may
    be empty and of any size; a call of `mset` or `mdelete` is one transaction.

    Setup:
        ``pip install 'mimir-sealed[langchain]'``

    Key init args:
        mimir: An open `Mimir`; it stays the caller's to close.
        namespace: Where the values lie, ("langchain", "bytes") if not given; stores of different
            namespaces see nothing of each other.

    Instantiate:
        .. code-block:: python

            store = MimirByteStore(mimir)
            cached = CacheBackedEmbeddings.from_bytes_store(embeddings, store, namespace="model")

    Delete:
        `mdelete` erases for good; unknown keys are passed over.

    Async:
        Every method has an async twin that works in a worker thread.
    """

    def __init__(
        self, mimir: Mimir, *, namespace: Namespace | str = ("langchain", "bytes")
    ) -> None:
        self._namespace = namespace_in(mimir, namespace)
        self._mimir = mimir

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of keys, None for keys nobody has.

        Raises:
            InvalidArgument: a key is no string.
            VaultDamaged: what is stored was changed.
        """
        records = blobs.read(self._mimir, _names(keys), self._namespace)
        return [None if record is None else _opened(record)[1] for record in records]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Stores values, replacing and erasing older ones; of equal keys the last counts.

        Raises:
            InvalidArgument: a pair, whose number the error says, is not a string with bytes;
                nothing was written.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            ScrubPending: all are stored, but old journal pages still hold what they replaced.
        """
        pairs = dict(_pair(number, pair) for number, pair in enumerate(key_value_pairs))
        items = [
            item
            for name, (key, value) in zip(_names(pairs), pairs.items(), strict=True)
            for item in blobs.cut(name, _sealed(name, key, value), self._namespace)
        ]
        if items:
            retry_conflicts(partial(blobs.store, self._mimir, items, self._namespace))

    def mdelete(self, keys: Sequence[str]) -> None:
        """Erases keys with their values for good; keys that nobody has are passed over.

        Raises:
            InvalidArgument: a key is no string; nothing was erased.
            ScrubPending: erased, but old journal pages are not yet scrubbed.
        """
        names = list(dict.fromkeys(_names(keys)))
        if names:
            retry_conflicts(partial(blobs.erase, self._mimir, names, self._namespace))

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys that begin with a prefix, in the order they were stored."""
        start = prefix or ""
        for name in self._mimir.keys(namespace=self._namespace):
            key = self._key(name)
            if key is not None and key.startswith(start):
                yield key

    def _key(self, name: str) -> str | None:
        if name.startswith(_PLAIN):
            return name.removeprefix(_PLAIN)
        if name.startswith(_DIGEST):
            (record,) = blobs.read(self._mimir, [name], self._namespace)
            return None if record is None else _opened(record)[0]
        return None

    def __repr__(self) -> str:
        return "<MimirByteStore>"

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("a byte store over an open Mimir cannot be pickled or copied")


def _names(keys: Iterable[str]) -> list[str]:
    """What keys are called in the vault: themselves, or a digest of what no name can hold."""
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise InvalidArgument("keys are a list of keys")
    return [_name(number, key) for number, key in enumerate(keys)]


def _pair(number: int, pair: object) -> tuple[str, bytes]:
    if not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[0], str):
        raise InvalidArgument(f"pair {number}: it is a string, the key, with bytes")
    key, value = pair
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidArgument(f"pair {number}: a byte store holds bytes")
    return key, bytes(value)


def _name(number: int, key: object) -> str:
    if not isinstance(key, str):
        raise InvalidArgument(f"key {number}: a key is a string")
    plain = f"{_PLAIN}{key}"
    return plain if is_name(plain) else f"{_DIGEST}{digest(key)}"


def _sealed(name: str, key: str, value: bytes) -> bytes:
    """The value after the length (4 bytes) and the bytes of a key that its name does not tell."""
    told = b"" if name.startswith(_PLAIN) else key.encode("utf-8", "surrogatepass")
    return len(told).to_bytes(4, "big") + told + value


def _opened(record: bytes) -> tuple[str, bytes]:
    end = 4 + int.from_bytes(record[:4], "big")
    return record[4:end].decode("utf-8", "surrogatepass"), record[end:]
