"""SQLite's write-ahead log beside a vault, without SQLite: what it holds, and wiping what is dead.

Layout: https://www.sqlite.org/fileformat2.html#the_write_ahead_log. The log carries no locks, so
that it may be opened and closed while SQLite uses it; the vault's file may not.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mimir_core.errors import JournalRefused

if sys.platform == "darwin":
    import fcntl

PAGE_SIZE: Final = 16_384

_MAGIC: Final = 0x377F0682  # and 1 more where checksums take words as big-endian
_VERSION: Final = 3_007_000
_HEADER: Final = struct.Struct(">4I8sII")
_FRAME: Final = struct.Struct(">II8sII")
_FRAME_SIZE: Final = _FRAME.size + PAGE_SIZE
_SUMMED: Final = 8  # bytes of a frame's head that its checksum covers, before the page
_BATCH: Final = 64  # frames read at once, a megabyte
_PIECE: Final = 1 << 20
_WRAP: Final = 0xFFFFFFFF
_DIRECT: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

Sum = tuple[int, int]


@contextmanager
def opened(path: str) -> Iterator[int | None]:
    """A descriptor of the log; None if there is none. Raises OSError, JournalRefused."""
    try:
        descriptor = os.open(path, os.O_RDWR | _DIRECT | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        if os.path.islink(path) or os.path.isdir(path):
            raise JournalRefused("the journal beside the vault is no plain file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise JournalRefused("the journal beside the vault is no plain file")
        yield descriptor
    finally:
        os.close(descriptor)


# What recovery finds


@dataclass(slots=True)
class Committed:
    """What a log holds that was committed.

    Attributes:
        offsets: Where the newest committed version of a page lies, by page number.
        pages: Pages of the database after the last commit; 0 if there is none.
        run: Names the log's run; see `salts`.
    """

    offsets: dict[int, int] = field(default_factory=dict)
    pages: int = 0
    run: bytes = b""


def committed(log: int) -> Committed:
    """What SQLite recovers: frames up to the last commit before the first that does not fit.

    Raises JournalRefused if it is the log of a database with pages of another size.
    """
    found = Committed()
    head = _read(log, _HEADER.size, 0)
    if len(head) < _HEADER.size:
        return found
    magic, version, size, _, run, *given = _HEADER.unpack(head)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _sum_of(head[:24], order) != tuple(given):
        return found
    if (version, size) != (_VERSION, PAGE_SIZE):
        raise JournalRefused("the journal beside the vault is another database's")
    found.run, pending = run, dict[int, int]()
    for offset, number, pages in _frames(log, run, order, (given[0], given[1])):
        pending[number] = offset + _FRAME.size
        if pages:
            found.offsets.update(pending)
            found.pages = pages
            pending.clear()
    return found


def page(log: int, found: Committed, number: int) -> bytes:
    """One page's content. Raises JournalRefused if the log was begun anew since it was found."""
    content = _read(log, PAGE_SIZE, found.offsets[number])
    if len(content) != PAGE_SIZE or salts(log) != found.run:
        raise JournalRefused("the journal beside the vault changed while it was read")
    return content


def _frames(log: int, run: bytes, order: str, total: Sum) -> Iterator[tuple[int, int, int]]:
    """Offset, page number and commit size of each valid frame."""
    offset = _HEADER.size
    while data := _read(log, _BATCH * _FRAME_SIZE, offset):
        frames = np.frombuffer(data, np.uint8, len(data) // _FRAME_SIZE * _FRAME_SIZE)
        frames = frames.reshape(-1, _FRAME_SIZE)
        sums = _sums(frames, order)
        for row, added in enumerate(sums):
            number, pages, mark, *given = _FRAME.unpack(frames[row, : _FRAME.size].tobytes())
            total = _advance(total, added)
            if mark != run or number == 0 or total != tuple(given):
                return
            yield offset, number, pages
            offset += _FRAME_SIZE
        if len(frames) < _BATCH:
            return


# The checksum adds 32-bit words x, y in pairs: a += x + b, b += y + a. Both are linear, so that the
# sum of one frame is a product with fixed numbers, whatever the sum before it was.


def _sum_of(data: bytes, order: str) -> Sum:
    first, second = 0, 0
    for x, y in struct.iter_unpack(f"{order}II", data):
        first = (first + x + second) & _WRAP
        second = (second + y + first) & _WRAP
    return first, second


def _sums(frames: npt.NDArray[np.uint8], order: str) -> list[Sum]:
    """What each frame alone adds to the sum."""
    summed = np.concatenate((frames[:, :_SUMMED], frames[:, _FRAME.size :]), axis=1)
    words = summed.view(f"{order}u4").astype(np.uint32)
    made = words @ _weights()
    return [(int(first), int(second)) for first, second in made]


def _advance(total: Sum, added: Sum) -> Sum:
    """The sum after a frame: the sum before, carried through its pairs, and what it adds."""
    a, b, d = _powers()[-1]
    first = (a * total[0] + b * total[1] + added[0]) & _WRAP
    return first, (b * total[0] + d * total[1] + added[1]) & _WRAP


@cache
def _powers() -> list[tuple[int, int, int]]:
    """Powers 0 to n of the step of one pair, the symmetric matrix (1 1, 1 2), as (a b, b d)."""
    made = [(1, 0, 1)]
    for _ in range((_SUMMED + PAGE_SIZE) // 8):
        a, b, d = made[-1]
        made.append(((a + b) & _WRAP, (b + d) & _WRAP, (b + 2 * d) & _WRAP))
    return made


@cache
def _weights() -> npt.NDArray[np.uint32]:
    """What each word of a frame counts in both sums, [words, 2]."""
    rows = [
        row
        for a, b, d in reversed(_powers()[:-1])
        for row in (((a + b) & _WRAP, (b + d) & _WRAP), (b, d))
    ]
    return np.array(rows, np.uint32)


# Wiping


def is_bare(log: int) -> bool:
    """Whether the log holds no frame, or page 1 alone: SQLite's header and schema, no content."""
    size = os.fstat(log).st_size
    if size > _HEADER.size + _FRAME_SIZE:
        return False
    head = _read(log, 4, _HEADER.size)
    return len(head) < 4 or int.from_bytes(head, "big") == 1


def salts(log: int) -> bytes:
    """What names the log's present run: SQLite draws it anew when it begins the log anew."""
    return _read(log, 8, 16)


def wipe_dead(log: int) -> None:
    """Overwrite what lies behind the present run, durably, then give it back to the disk.

    Call with the right to commit held, so that the run does not grow meanwhile.
    """
    run, end = salts(log), _HEADER.size
    while _read(log, 8, end + 8) == run:
        end += _FRAME_SIZE
    _overwrite(log, end)
    os.ftruncate(log, end)


def wipe_unlinked(log: int) -> None:
    """Overwrite a log that SQLite has removed, before its last descriptor frees its blocks."""
    if os.fstat(log).st_nlink == 0 and not is_bare(log):
        _overwrite(log, 0)


def _overwrite(log: int, start: int) -> None:
    """Zero the bytes from `start` on, in place: a truncation alone frees blocks as they are."""
    at, size = start, os.fstat(log).st_size
    while at < size:
        at += _write(log, bytes(min(_PIECE, size - at)), at)
    full_sync(log)


def _read(log: int, size: int, at: int) -> bytes:
    os.lseek(log, at, os.SEEK_SET)
    return os.read(log, size)


def _write(log: int, data: bytes, at: int) -> int:
    os.lseek(log, at, os.SEEK_SET)
    return os.write(log, data)


def full_sync(descriptor: int) -> None:
    """Have the disk itself keep what was written."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
