"""Importing JSON lines: streamed, resumable, one bad line never stops the rest."""

from __future__ import annotations

import gzip
import io
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from mimir_core.cli.decoding import AS_UTF8, wide
from mimir_core.cli.lines import LineReader
from mimir_core.embedding import Embedder, embed_whole
from mimir_core.errors import InputError, InvalidArgument, NotFound
from mimir_core.intake import Item
from mimir_core.memory import Mimir
from mimir_core.types import Namespace

BATCH = 2_048
BATCH_BYTES = 32 << 20
MAX_LINE_BYTES = 64 << 20  # eight times the longest text: every character may be escaped
MAX_SKIPPED_BYTES = 1 << 30  # of a line that is too long: nobody wrote what is longer than that
STDIN = Path("-")
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20

OnBad: TypeAlias = Callable[[int, str], None]
OnDone: TypeAlias = Callable[[int], object]
Vectors: TypeAlias = npt.NDArray[np.float32]
Line: TypeAlias = bytes | InputError
Numbered: TypeAlias = tuple[int, Line]
Lines: TypeAlias = BinaryIO | gzip.GzipFile


@dataclass
class Summary:
    """What an import did.

    Attributes:
        imported: Memories stored.
        skipped: Lines whose key the vault already holds.
        changed: Those of the skipped whose text is another now; the vault keeps the one it has.
        bad: Lines that describe no memory.
        times_kept: Times that could not be read and became the field `time_text`.
        seconds: How long it took.
    """

    imported: int = 0
    skipped: int = 0
    changed: int = 0
    bad: int = 0
    times_kept: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Memories stored a second."""
        return self.imported / self.seconds if self.seconds else 0.0


class Importer:
    """Imports the lines of one file into an open vault.

    Args:
        mimir: The vault.
        embedder: The vault's embedder; it works on one batch while the last is committed.
        namespace: Where everything goes; None leaves plain lines in the default namespace and
            exported ones in their own.
        summary: What this import adds to.
        on_bad: Called with the number of each bad line and what is wrong with it.
        on_done: Called with how many more lines are dealt with.
    """

    def __init__(
        self,
        mimir: Mimir,
        embedder: Embedder,
        namespace: Namespace | None,
        summary: Summary,
        on_bad: OnBad,
        on_done: OnDone,
    ) -> None:
        self._mimir = mimir
        self._embedder = embedder
        self._reader = LineReader(namespace)
        self._summary = summary
        self._on_bad = on_bad
        self._on_done = on_done

    def run(self, lines: Iterable[Numbered]) -> None:
        """Imports the lines. Each batch is one durable transaction: an interruption keeps it.

        Raises:
            VaultError, EmbeddingError: what was stored before stays.
        """
        began = time.perf_counter()
        pool = ThreadPoolExecutor(1, thread_name_prefix="mimir-embed")
        try:
            ready: tuple[list[Item], Future[Vectors]] | None = None
            for batch in self._batches(lines):
                texts = [item.indexed_text for item in batch if isinstance(item.content, str)]
                embedding = pool.submit(embed_whole, self._embedder, texts)
                if ready is not None:
                    self._store(*ready)
                ready = batch, embedding
            if ready is not None:
                self._store(*ready)
        finally:
            pool.shutdown(cancel_futures=True)
            self._summary.times_kept += self._reader.times_kept
            self._summary.seconds += time.perf_counter() - began

    def _batches(self, lines: Iterable[Numbered]) -> Iterator[list[Item]]:
        batch: list[Item] = []
        room = BATCH_BYTES
        for number, line in lines:
            try:
                batch.append(_read(line, self._reader))
                room -= len(line) if isinstance(line, bytes) else 0
            except InputError as error:
                self._summary.bad += 1
                self._on_bad(number, str(error.args[0]))
                self._on_done(1)
            if len(batch) == BATCH or room <= 0:
                yield self._new(batch)
                batch, room = [], BATCH_BYTES
        if batch:
            yield self._new(batch)

    def _new(self, batch: list[Item]) -> list[Item]:
        """Those whose key the vault does not hold yet."""
        new = []
        for item, held in zip(batch, self._held(batch), strict=True):
            if held is None:
                new.append(item)
            else:
                self._summary.skipped += 1
                self._summary.changed += not self._holds(held, item)
        self._on_done(len(batch) - len(new))
        return new

    def _held(self, batch: list[Item]) -> list[str | None]:
        """The ids of the memories that have the keys of a batch."""
        held: dict[int, str | None] = {}
        for namespace in {item.namespace for item in batch}:
            members = [at for at, item in enumerate(batch) if item.namespace == namespace]
            keys = [str(batch[at].key) for at in members]
            held |= zip(members, self._mimir.known(keys, namespace=namespace), strict=True)
        return [held[at] for at in range(len(batch))]

    def _holds(self, id_: str, item: Item) -> bool:
        """Whether a memory has the item's content; one that is gone by now counts as having it."""
        try:
            return self._mimir.get(id_).content == item.content
        except NotFound:
            return True

    def _store(self, batch: list[Item], embedding: Future[Vectors]) -> None:
        vectors = iter(embedding.result())
        self._mimir.remember_many(
            replace(item, vector=next(vectors)) if isinstance(item.content, str) else item
            for item in batch
        )
        self._summary.imported += len(batch)
        self._on_done(len(batch))


def _read(line: Line, reader: LineReader) -> Item:
    if isinstance(line, InputError):
        raise line
    return reader.read(line)


@contextmanager
def open_lines(file: Path) -> Iterator[Iterator[Numbered]]:
    """The numbered lines of a file that are not blank; "-" is standard input; gzip is recognised.

    A line longer than `MAX_LINE_BYTES`, one without an end, the end of damaged gzip, and UTF-16
    come as the error they are. Memory holds one line, whatever compressed data unpacks to.

    Raises:
        InvalidArgument: the file cannot be opened.
    """
    with _opened(file) as raw:
        packed = raw.peek(len(_GZIP)).startswith(_GZIP)
        yield _numbered(gzip.GzipFile(fileobj=raw) if packed else raw)


def count_lines(file: Path) -> int | None:
    """How many lines a file has that are not blank; None for what can be read only once."""
    if not file.is_file():
        return None
    with open_lines(file) as lines:
        return sum(1 for _ in lines)


@contextmanager
def _opened(file: Path) -> Iterator[io.BufferedReader]:
    if file == STDIN:
        raw: Any = sys.stdin.buffer
        yield raw if hasattr(raw, "peek") else io.BufferedReader(raw)
        return
    try:
        stream = file.open("rb")
    except OSError:
        raise InvalidArgument("a file to import cannot be opened", hint="check its path") from None
    with stream:
        yield stream


def _numbered(stream: Lines) -> Iterator[Numbered]:
    for number in count(1):
        try:
            line = stream.readline(MAX_LINE_BYTES + 1)
            whole = len(line) <= MAX_LINE_BYTES
            ends = whole or line.endswith(b"\n") or _ends(stream)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield number, InvalidArgument("the compressed data is damaged from here on")
            return
        if not line:
            return
        if number == 1 and wide(line):
            yield number, InvalidArgument(f"the file is not in UTF-8: {AS_UTF8}")
            return
        if not ends:
            yield number, InvalidArgument("the line has no end in sight; nothing after it was read")
            return
        if not whole:
            yield number, InvalidArgument(f"the line is longer than {MAX_LINE_BYTES} bytes")
        elif line.strip():
            yield number, line


def _ends(stream: Lines) -> bool:
    """Reads to the end of an overlong line; False if none comes in sight."""
    left = MAX_SKIPPED_BYTES
    while left > 0:
        piece = stream.readline(_PIECE)
        if not piece or piece.endswith(b"\n"):
            return True
        left -= len(piece)
    return False
