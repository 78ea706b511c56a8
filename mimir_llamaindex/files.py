"""Open files of a `MimirFileSystem`, and fsspec's transactions over them."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from typing import Any, NoReturn, Protocol

from fsspec.transaction import Transaction  # type: ignore[import-untyped]  # it has no types

from mimir_core.errors import NotSerializable
from mimir_llamaindex.scrubs import scrub_last

__all__ = ["MimirFile", "WholeTransaction"]


class Writer(Protocol):
    """What stores a file: a `MimirFileSystem`."""

    def write(self, path: str, data: bytes) -> None:
        """Replaces or makes a file."""


class MimirFile(BytesIO):
    """An open file, all of it in memory; what was written is stored when it is closed."""

    def __init__(
        self, fs: Writer, path: str, mode: str, data: bytes, autocommit: bool
    ) -> None:
        super().__init__(data)
        self.fs = fs
        self.path = path
        self.mode = mode  # type: ignore[misc]  # fsspec's files have it, as those of `open`
        self._autocommit = autocommit
        self._pending = b""
        if mode == "ab":
            self.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return self.getbuffer().nbytes

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return "r" in self.mode

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.mode != "rb"

    def write(self, data: Any, /) -> int:
        """Writes bytes, at the end if it was opened for appending.

        Raises:
            OSError: it was opened for reading.
            ValueError: it is closed.
        """
        if not self.writable():
            raise OSError(errno.EBADF, "the file is open for reading")
        if self.mode == "ab":
            self.seek(0, os.SEEK_END)
        return super().write(data)

    def close(self) -> None:
        """Stores what was written; inside an fsspec transaction, at its end.

        Raises:
            OSError, ScrubPending: as `MimirFileSystem.write`.
        """
        if self.closed:
            return
        if self.writable():
            self._pending = self.getvalue()
        super().close()
        if self._autocommit and self.writable():
            self.commit()

    def commit(self) -> None:
        """Stores what was written before the file was closed. Raises as `close` does."""
        with scrub_last():
            self.fs.write(self.path, self._pending)
            self.discard()

    def discard(self) -> None:
        """Drops what was written."""
        self._pending = b""

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("an open file of a Mimir cannot be pickled or copied")


class WholeTransaction(Transaction):  # type: ignore[misc]  # the base has no types
    """An fsspec transaction that stores every file before `ScrubPending` is raised.

    The base drops the files after the first whose commit raises.
    """

    def complete(self, commit: bool = True) -> None:
        """Stores or drops what was written. Raises as `MimirFileSystem.write`."""
        with scrub_last():
            super().complete(commit)
