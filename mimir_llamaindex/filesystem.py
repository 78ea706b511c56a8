"""`MimirFileSystem`: files in an open vault, for whatever persists itself through fsspec."""

from __future__ import annotations

import datetime as dt
import errno
import os
import posixpath
from collections.abc import Iterable, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, NoReturn

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it has no types
from fsspec.utils import stringify_path, tokenize  # type: ignore[import-untyped]  # as above

from mimir_core import Item, Memory, Mimir, Namespace, Seen, retry_conflicts
from mimir_core.errors import NotSerializable
from mimir_llamaindex.files import MimirFile, WholeTransaction
from mimir_llamaindex.scrubs import late, scrub_last
from mimir_llamaindex.vaults import fits, namespace_in

__all__ = ["MimirFile", "MimirFileSystem"]

PIECE_BYTES = 4 << 20
_MAX_PATH_BYTES = 1_024
_MODES = ("rb", "wb", "ab", "xb", "r+b")


class MimirFileSystem(AbstractFileSystem):  # type: ignore[misc]  # the base has no types
    """Files and folders in a vault, as an fsspec file system.

    A file is held in memory while it is open and replaces the older one in one transaction when
    it is closed; folders above it are made as needed. Paths are absolute: "a/b", "./a/b" and
    "/a/b" are the same file. It is handed to whoever needs it and not registered with fsspec,
    which would have to open the vault itself; fsspec caches no instance of it.

    Args:
        mimir: The open vault.
        namespace: Where the files live.

    Raises:
        InvalidArgument, InvalidNamespace: when it is made.
        InvalidArgument: by what writes, of a path that UTF-8 cannot encode.
        Conflict: by what writes, if others changed what it changes all the time.
    """

    protocol = "mimir"
    root_marker = "/"
    cachable = False
    transaction_type = WholeTransaction

    def __init__(
        self,
        mimir: Mimir,
        namespace: Namespace | str = ("llamaindex", "files"),
        **storage_options: Any,
    ) -> None:
        super().__init__(**storage_options)
        self._namespace = namespace_in(mimir, namespace)
        self._mimir = mimir

    @property
    def _fs_token(self) -> str:
        return str(tokenize(id(self._mimir), self._namespace))  # equal for one vault's only

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        plain = str(stringify_path(path)).removeprefix("mimir://")
        return posixpath.normpath("/" + plain.lstrip("/"))

    @classmethod
    def _parent(cls, path: Any) -> str:
        return str(posixpath.dirname(cls._strip_protocol(path)))

    # Looking

    def info(self, path: Any, **kwargs: Any) -> dict[str, Any]:
        """Name, size in bytes, type, created and modified of a file or folder.

        Raises:
            FileNotFoundError.
        """
        path = self._strip_protocol(path)
        if path == "/":
            return {"name": path, "size": 0, "type": "directory"}
        found = self._heads([path])[0]
        if found is None:
            raise _error(errno.ENOENT)
        return _info(found)

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        """What lies in a folder, by name: infos, or paths only. A file lists itself.

        Raises:
            FileNotFoundError.
        """
        own = self.info(path)
        found = [own]
        if own["type"] == "directory":
            keys = self._mimir.keys(namespace=self._namespace)
            inside = sorted(key for key in keys if posixpath.dirname(key) == own["name"])
            found = [_info(head) for head in self._heads(inside) if head is not None]
        return found if detail else [info["name"] for info in found]

    def exists(self, path: Any, **kwargs: Any) -> bool:
        """Whether there is such a file or folder; a closed vault raises."""
        with suppress(FileNotFoundError):
            return bool(self.info(path))
        return False

    def created(self, path: Any) -> dt.datetime | None:
        """When a file or folder came to be, UTC; None for the root. Raises FileNotFoundError."""
        return self.info(path).get("created")

    def modified(self, path: Any) -> dt.datetime | None:
        """When a file was last written, UTC; None for the root. Raises FileNotFoundError."""
        return self.info(path).get("modified")

    # Changing

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        """Makes a folder.

        Raises:
            FileExistsError: there is a file or folder of that name.
            FileNotFoundError, NotADirectoryError: of the folder above.
            OSError: the path is longer than 1,024 bytes.
        """
        path = self._strip_protocol(path)

        def attempt() -> None:
            seen = self._seen(path)
            if self.exists(path):
                raise _error(errno.EEXIST)
            if not create_parents:
                self.info(self._parent(path))
            folders = [*self._missing_folders(path), _head(self._namespace, path, "directory")]
            self._store(folders, seen)

        retry_conflicts(attempt)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        """Makes a folder and those above it.

        Raises:
            FileExistsError: there is one, unless `exist_ok`, or a file of that name.
            NotADirectoryError, OSError: as `mkdir`.
        """
        try:
            self.mkdir(path)
        except FileExistsError:
            if not (exist_ok and self.isdir(path)):
                raise

    def rmdir(self, path: Any) -> None:
        """Removes an empty folder.

        Raises:
            FileNotFoundError, NotADirectoryError.
            OSError: it is not empty, or the root.
            ScrubPending: removed, but old pages still stand in the journal.
        """
        path = self._strip_protocol(path)

        def attempt() -> None:
            seen = self._mimir.seen(namespace=self._namespace)
            if self.info(path)["type"] != "directory":
                raise _error(errno.ENOTDIR)
            if path == "/" or self.ls(path):
                raise _error(errno.ENOTEMPTY)
            self._erase([path], seen)

        retry_conflicts(attempt)

    def rm_file(self, path: Any) -> None:
        """Erases one file for good.

        Raises:
            FileNotFoundError, IsADirectoryError.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        self.rm(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Erases files, and with `recursive` folders with all that is in them, for good.

        Raises:
            FileNotFoundError, IsADirectoryError: nothing was erased.
            OSError: `maxdepth` leaves something in a folder; nothing was erased.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        folders = [one for one in paths if self.info(one)["type"] == "directory"]
        if folders and not recursive:
            raise _error(errno.EISDIR)
        if not {child for one in folders for child in self.ls(one, False)} <= set(paths):
            raise _error(errno.ENOTEMPTY)
        self._erase([one for one in paths if one != "/"])

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Copies a file, or makes the folder that one is to be copied to.

        Raises:
            FileNotFoundError: there is nothing to copy.
            FileExistsError: the folder to be made is a file.
            IsADirectoryError, NotADirectoryError, OSError: as `write`.
        """
        if self.isdir(path1):
            self.makedirs(path2, exist_ok=True)
        else:
            self.write(path2, self.read(path1))

    # Many at once: every file is done before `ScrubPending` is raised

    def copy(self, *args: Any, **kwargs: Any) -> None:
        """As fsspec's. Raises as `write`."""
        with scrub_last():
            super().copy(*args, **kwargs)

    def mv(self, *args: Any, **kwargs: Any) -> None:
        """As fsspec's. Raises as `write` and `rm`."""
        with scrub_last():
            super().mv(*args, **kwargs)

    def put(self, *args: Any, **kwargs: Any) -> None:
        """As fsspec's. Raises as `write`."""
        with scrub_last():
            super().put(*args, **kwargs)

    def pipe(self, *args: Any, **kwargs: Any) -> None:
        """As fsspec's. Raises as `write`."""
        with scrub_last():
            super().pipe(*args, **kwargs)

    # Files

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> MimirFile:
        if mode not in _MODES:
            raise ValueError(f"a file is opened as one of {', '.join(_MODES)}")
        there = self.exists(path)
        if there and mode == "xb":
            raise _error(errno.EEXIST)
        old = there or mode in ("rb", "r+b")
        data = self.read(path) if old and mode != "wb" else b""
        if mode != "rb":
            self._check_writable(path)
        return MimirFile(self, path, mode, data, autocommit)

    def read(self, path: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError, IsADirectoryError.
        """
        path = self._strip_protocol(path)
        head = self._file(path)
        while True:
            names = [f"#{head.metadata['token']}.{n}" for n in range(head.metadata["pieces"])]
            again, *pieces = self._heads([path, *names])
            if again is not None and again.id == head.id:
                return b"".join(_bytes(piece) for piece in pieces)
            head = self._file(path)  # it was replaced just now

    def write(self, path: str, data: bytes) -> None:
        """Replaces or makes a file, in one transaction.

        Raises:
            IsADirectoryError, NotADirectoryError: of the path, or of one above it.
            OSError: the path is longer than 1,024 bytes.
            ScrubPending: written, but the older file is not yet scrubbed from the journal.
        """
        path = self._strip_protocol(path)
        retry_conflicts(lambda: self._write(path, data))

    def _write(self, path: str, data: bytes) -> None:
        seen = self._seen(path)
        self._check_writable(path)
        token = token_hex(16)
        old = self._heads([path])[0]
        created = None if old is None else old.metadata["created"]
        cuts = range(0, len(data), PIECE_BYTES)
        fields = {"size": len(data), "token": token, "pieces": len(cuts), "created": created}
        head = _head(self._namespace, path, "file", **fields)
        pieces = [
            Item(
                data[cut : cut + PIECE_BYTES],
                self._namespace,
                key=f"#{token}.{number}",
                metadata={"file": path, "token": token},
            )
            for number, cut in enumerate(cuts)
        ]
        self._store([*pieces, *self._missing_folders(path), head], seen, path, token)

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("files of an open Mimir cannot be pickled or copied")

    # In the vault

    def _file(self, path: str) -> Memory:
        head = self._heads([path])[0]
        if head is None:
            raise _error(errno.EISDIR if path == "/" else errno.ENOENT)
        if head.metadata["type"] == "directory":
            raise _error(errno.EISDIR)
        return head

    def _heads(self, paths: Iterable[str]) -> list[Memory | None]:
        """What paths stand for; None for one that is not there, as is what no vault can name."""
        asked = list(paths)
        keys = [path for path in asked if fits(path)]
        found = self._mimir.get_many(keys=keys, namespace=self._namespace)
        named = dict(zip(keys, found, strict=True))
        return [named.get(path) for path in asked]

    def _missing_folders(self, path: str) -> list[Item]:
        """The folders to make above a path. Raises NotADirectoryError if one of them is a file."""
        above = _above(path)
        heads = self._heads(above)
        if any(head is not None and head.metadata["type"] == "file" for head in heads):
            raise _error(errno.ENOTDIR)
        found = zip(above, heads, strict=True)
        return [_head(self._namespace, one, "directory") for one, head in found if head is None]

    def _check_writable(self, path: str) -> None:
        if self.isdir(path):
            raise _error(errno.EISDIR)
        self._missing_folders(path)

    def _seen(self, path: str) -> list[Seen]:
        """What is under a path and the folders above it, to be asked before it is read."""
        if len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES:
            raise _error(errno.ENAMETOOLONG)
        return self._mimir.seen([path, *_above(path)], namespace=self._namespace)

    def _store(
        self, items: list[Item], seen: list[Seen], path: str = "", token: str = ""
    ) -> None:
        """Stores, and erases what a file was before in the same transaction."""
        older = {"file": path, "token": {"$ne": token}}
        with late():
            self._mimir.replace(items, namespace=self._namespace, where=older, unchanged=seen)

    def _erase(self, paths: list[str], seen: Sequence[Seen] = ()) -> None:
        erased = {"file": {"$in": paths}}
        with late():
            self._mimir.replace([], namespace=self._namespace, where=erased, unchanged=seen)


def _above(path: str) -> list[str]:
    """The folders above a path, without the root, outermost first."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]


def _bytes(piece: Memory | None) -> bytes:
    return piece.content if piece is not None and isinstance(piece.content, bytes) else b""


def _head(namespace: Namespace, path: str, kind: str, **fields: Any) -> Item:
    now = dt.datetime.now(dt.UTC)
    fields = {"type": kind, "size": 0, **fields, "created": fields.get("created") or now}
    return Item(b"", namespace, key=path, metadata={"file": path, **fields}, time=now)


def _info(head: Memory) -> dict[str, Any]:
    fields = {name: head.metadata[name] for name in ("size", "type", "created")}
    return {"name": head.key, **fields, "modified": head.time}


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
