"""From what callers hand in to what the vault stores: checks, terms, vectors. Holds no lock."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core.dag import limits
from mimir_core.embedding import Embedder, VectorSpace, embed_whole
from mimir_core.errors import DuplicateKey, InvalidArgument, InvalidText, InvalidVector
from mimir_core.index.columns import quantize, unit
from mimir_core.index.speech import spoken, spoken_terms
from mimir_core.types import Namespace, check_metadata, check_namespace, checked_each, to_micros
from mimir_core.vault.layout import MAX_VECTORS
from mimir_core.vault.write import NewMemory, NewVectors

DEFAULT_NAMESPACE: Namespace = ("default",)
MAX_CONTENT_BYTES = limits.MAX_CONTENT_BYTES
MAX_NAME_BYTES = limits.MAX_NAME_BYTES
BATCH = 2_048
BATCH_CHARACTERS = 32_000_000
_ID = re.compile("[0-9a-fA-F]{64}")
Time = dt.datetime | dt.date | float | str


@dataclass(frozen=True, slots=True, repr=False)
class Item:
    """A memory to be: the arguments of `Mimir.remember`, for `Mimir.remember_many`.

    Attributes:
        content: Text, which is indexed, or bytes, which are only stored and may be empty.
        namespace: Labels, or one label.
        thread: Name of the conversation; the memory follows the thread's last one.
        key: A name unique in its namespace; a later memory of the same key supersedes this one.
        metadata: Fields of string, number, bool, None, date, list or dict.
        time: When it happened; now if not given. Naive times are UTC.
        derived_from: Ids of the memories it was made from.
        keep_history: Keep what it supersedes instead of erasing it.
        vector: `indexed_text` as `embed_whole` embeds it with this vault's embedder, [dimension];
            spares doing so here. Or up to 64 vectors [m, dimension] of its parts: the memory is
            then as near to a query as the nearest of them.
        attachment: Bytes sealed beside a text without being indexed, at most 8 MiB.
    """

    content: str | bytes
    namespace: Namespace | str = DEFAULT_NAMESPACE
    thread: str | None = None
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    time: Time | None = None
    derived_from: Sequence[str] = ()
    keep_history: bool = False
    vector: Sequence[float] | Sequence[Sequence[float]] | npt.NDArray[np.float32] | None = None
    attachment: bytes | None = None

    @property
    def indexed_text(self) -> str:
        """What is embedded and cut into terms: the text, after its speaker's name if it has one."""
        return spoken(str(self.content), self.metadata)


def check_items(items: Sequence[Item], embedder: Embedder) -> list[NewMemory]:
    """Checks a whole batch before anything is computed or written.

    Raises:
        InvalidText, InvalidMetadata, InvalidNamespace, InvalidVector, InvalidArgument,
        DuplicateKey: of several items, the one is named by its number, counted from 0.
    """
    if len(items) == 1:
        return [_checked(items[0], embedder)]
    memories = checked_each(items, lambda item: _checked(item, embedder), "item")
    numbers: dict[tuple[Namespace, str], int] = {}
    for number, memory in enumerate(memories):
        if memory.key is not None:
            first = numbers.setdefault((memory.namespace, memory.key), number)
            if first != number:
                raise DuplicateKey(f"items {first} and {number} have the same namespace and key")
    return list(memories)


def embed_items(items: Sequence[Item], embedder: Embedder, first: int = 0) -> NewVectors | None:
    """Embeds the texts of a batch; None if there is nothing to index.

    Args:
        first: The number of the first item, for errors.

    Raises:
        InvalidVector, EmbeddingError.
    """
    texts = {number: item for number, item in enumerate(items) if isinstance(item.content, str)}
    if not texts:
        return None
    space = embedder.space
    given = {n: item.vector for n, item in texts.items() if item.vector is not None}
    rows = {number: _given_vectors(vector, space) for number, vector in given.items()}
    missing = [number for number in texts if number not in given]
    if missing:
        found = embed_whole(embedder, [items[number].indexed_text for number in missing])
        names = [f"item {first + number}" for number in missing]
        embedded = checked_vectors(found, len(missing), space, names)
        rows |= {number: embedded[at : at + 1] for at, number in enumerate(missing)}
    codes, scales = quantize(np.concatenate([rows[number] for number in texts]))
    owners = np.repeat(list(texts), [len(rows[number]) for number in texts])
    return NewVectors(space_digest(space), codes, scales, owners.astype(np.int64))


def joined(parts: Sequence[NewVectors]) -> NewVectors | None:
    """Vectors of one batch that were made in pieces; None if there are none."""
    if not parts:
        return None
    columns = [(part.codes, part.scales, part.owners) for part in parts]
    return NewVectors(parts[0].digest, *map(np.concatenate, zip(*columns, strict=True)))


def embedded_batches(
    items: Sequence[Item], embedder: Embedder
) -> Iterator[tuple[slice, NewVectors | None]]:
    """Cuts a run into transactions and embeds ahead while the caller stores the one before."""
    pieces = list(_pieces([len(item.content) + len(item.attachment or b"") for item in items]))
    if len(pieces) == 1:
        yield pieces[0], embed_items(items, embedder)
        return

    def embed(piece: slice) -> NewVectors | None:
        return embed_items(items[piece], embedder, piece.start)

    with ThreadPoolExecutor(1, "mimir-embed") as pool:
        ahead = deque(pool.submit(embed, piece) for piece in pieces[:2])
        for number, piece in enumerate(pieces):
            vectors = ahead.popleft().result()
            if number + 2 < len(pieces):
                ahead.append(pool.submit(embed, pieces[number + 2]))
            yield piece, vectors


def _pieces(sizes: Sequence[int]) -> Iterator[slice]:
    """Runs of at most 2,048 items, and of 32 million characters unless one item alone has more."""
    start = total = 0
    for number, size in enumerate(sizes):
        total += size
        if number > start and (number - start == BATCH or total > BATCH_CHARACTERS):
            yield slice(start, number)
            start, total = number, size
    if sizes:
        yield slice(start, len(sizes))


def checked_vectors(
    vectors: Any, count: int, space: VectorSpace, names: Sequence[str] = ()
) -> npt.NDArray[np.float32]:
    """Vectors [count, dimension] as float32.

    Args:
        names: What errors call each of several; "vector 0" and so on if not given.

    Raises:
        InvalidVector: for another shape, what is no real number, or a vector without direction.
    """
    try:
        return _floats(vectors, count, space)
    except InvalidVector:
        if count == 1 or not isinstance(vectors, (Sequence, np.ndarray)) or len(vectors) != count:
            raise
    for number, vector in enumerate(vectors):  # once more, to say which
        try:
            _floats([vector], 1, space)
        except InvalidVector as error:
            raise error.within(names[number] if names else f"vector {number}") from None
    raise InvalidVector("the vectors are not all of one type")


def _floats(vectors: Any, count: int, space: VectorSpace) -> npt.NDArray[np.float32]:
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError):
        raise InvalidVector("a vector is a sequence of numbers") from None
    if array.dtype.kind not in "fiu":
        raise InvalidVector("a vector is a sequence of numbers")
    if array.shape != (count, space.dimension):
        raise InvalidVector(f"a vector of this space has {space.dimension} components")
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise InvalidVector("a vector holds a number that is not finite")
    if not floats.any(axis=1).all():
        raise InvalidVector("a vector of zeros has no direction")
    return floats


def checked_direction(vector: Any, space: VectorSpace) -> npt.NDArray[np.float32]:
    """A query's vector, scaled to unit length. Raises InvalidVector as `checked_vectors` does."""
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32 or vector.ndim != 1:
        (vector,) = checked_vectors([vector], 1, space)
    return unit(vector, space.dimension)  # which checks the rest, for a query in one pass


def _given_vectors(vectors: Any, space: VectorSpace) -> npt.NDArray[np.float32]:
    """A caller's vector or vectors of one memory, [m, dimension]. Raises InvalidVector."""
    if isinstance(vectors, np.ndarray):
        several = vectors.ndim > 1
    else:
        nested = isinstance(vectors, Sequence) and not isinstance(vectors, str) and len(vectors)
        several = bool(nested) and isinstance(vectors[0], (Sequence, np.ndarray))
    found = vectors if several else [vectors]
    if not 1 <= len(found) <= MAX_VECTORS:
        raise InvalidVector(f"a memory has 1 to {MAX_VECTORS} vectors")
    return checked_vectors(found, len(found), space)


def space_digest(space: VectorSpace) -> bytes:
    """The 32 bytes that name a vector space in the vault."""
    return bytes.fromhex(space.digest)


def check_name(name: object, what: str) -> str | None:
    """A key or thread name: 1 to 1,024 bytes of UTF-8, or None. Raises InvalidArgument."""
    if name is None:
        return None
    try:
        if isinstance(name, str) and 1 <= len(name.encode()) <= MAX_NAME_BYTES:
            return str(name)
    except UnicodeEncodeError:
        pass
    raise InvalidArgument(f"a {what} is a string of 1 to {MAX_NAME_BYTES} bytes")


def node_ids(ids: Iterable[str] | str) -> tuple[bytes, ...]:
    """The 32 bytes of each of several ids, or of one. Raises InvalidArgument."""
    if isinstance(ids, str):
        return (node_id(ids),)
    if not isinstance(ids, Iterable):
        raise InvalidArgument("ids are a list of ids, or one id")
    return checked_each(ids, node_id, "id")


def check_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Each of several keys. Raises InvalidArgument unless each is one."""
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise InvalidArgument("keys are a list of keys")
    return checked_each(keys, _check_key, "key")


def _check_key(key: object) -> str:
    name = check_name(key, "key")
    if name is None:
        raise InvalidArgument("a key is a string, and None is none")
    return name


def node_id(text: object) -> bytes:
    """The 32 bytes of an id. Raises InvalidArgument unless it is 64 hex digits."""
    if isinstance(text, str) and _ID.fullmatch(text):
        return bytes.fromhex(text)
    raise InvalidArgument("an id is 64 hex digits", hint="ids come from remember and recall")


def _checked(item: Item, embedder: Embedder) -> NewMemory:
    if not isinstance(item, Item):
        raise InvalidArgument("a batch is made of items", hint="wrap each memory in an `Item`")
    content = _check_content(item.content)
    metadata = check_metadata(item.metadata)
    if isinstance(content, bytes) and not item.vector is item.attachment is None:
        raise InvalidArgument("bytes have neither vector nor attachment", hint="store a text")
    if item.vector is not None:
        _given_vectors(item.vector, embedder.space)
    if not isinstance(item.keep_history, bool):
        raise InvalidArgument("keep_history is true or false")
    return NewMemory(
        content=content,
        namespace=check_namespace(item.namespace),
        time=time.time_ns() // 1000 if item.time is None else to_micros(item.time),
        thread=check_name(item.thread, "thread name"),
        key=check_name(item.key, "key"),
        metadata=metadata,
        derived_from=_check_parents(item.derived_from),
        keep_history=item.keep_history,
        attachment=_check_attachment(item.attachment),
        terms=spoken_terms(content, metadata) if isinstance(content, str) else [],
    )


def _check_parents(ids: object) -> tuple[bytes, ...]:
    if isinstance(ids, str) or not isinstance(ids, Sequence):
        raise InvalidArgument("derived_from is a list of ids")
    return checked_each(ids, node_id, "derived_from")


def _check_attachment(data: object) -> bytes | None:
    if data is None:
        return None
    if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) > MAX_CONTENT_BYTES:
        raise InvalidArgument(f"an attachment is bytes, at most {MAX_CONTENT_BYTES}")
    return bytes(data)


def _check_content(content: object) -> str | bytes:
    if isinstance(content, (bytes, bytearray, memoryview)):
        data = bytes(content)
        size = len(data)
    elif isinstance(content, str):
        try:
            size = len(content.encode("utf-8"))
        except UnicodeEncodeError:
            raise InvalidText("the text holds surrogates, which UTF-8 cannot encode") from None
    else:
        raise InvalidText("a memory is text or bytes")
    if isinstance(content, str) and not content.strip():
        raise InvalidText("the text is empty", hint="give at least one visible character")
    if size > MAX_CONTENT_BYTES:
        raise InvalidText(
            f"the text has {size} bytes, more than {MAX_CONTENT_BYTES}",
            hint="split it into several memories",
        )
    return content if isinstance(content, str) else data
