"""Whether the log beside a vault may be merged into it, judged before SQLite opens either.

Honest states (FORMAT.md, 2): a log is synced before its pages move to the file, and begun anew only
once all of them have. So a log that holds commits is never behind the file.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final, TypeVar

from mimir_core.crypto.aead import TAG_SIZE, OpenFailed
from mimir_core.crypto.blocks import BlockCipher
from mimir_core.crypto.keys import VaultKeys
from mimir_core.errors import JournalRefused
from mimir_core.storage.sight import PREAMBLE, Sight
from mimir_core.vault.layout import Root, Stream

_LOOKS: Final = 40
_PAUSE: Final = 0.025
_ROOT: Final = 0
_Seen = TypeVar("_Seen")


def preamble_of(sight: Sight) -> bytes:
    """The preamble that the vault has with its log; nothing is authenticated yet.

    Raises:
        NotAVault, VaultDamaged, JournalRefused, SeveralNames, StorageFailed, VaultReadOnly.
    """
    return _steady(sight.preamble)


def admit(sight: Sight, keys: VaultKeys) -> None:
    """Checks that the log holds commits of this vault, and is not behind the file.

    Raises:
        JournalRefused: it is older than the file, or another vault's.
        StorageFailed: from the operating system.
    """
    cipher = BlockCipher(keys)
    _steady(lambda: _look(sight, cipher))


def _steady(look: Callable[[], _Seen]) -> _Seen:
    """The first look that refuses nothing, of a second's worth.

    File and log are not read at one moment, so that a look may see another process's log cut short.
    One that finds all well is enough: honest work never makes a bad log look good.
    """
    for _ in range(_LOOKS - 1):
        try:
            return look()
        except JournalRefused:
            time.sleep(_PAUSE)
    return look()


def _look(sight: Sight, cipher: BlockCipher) -> None:
    pages, old = sight.pages(), sight.root()  # the file first: what it holds the log held before
    newest, preamble, others = None, None, False
    for number, data in sight.logged(pages):
        if number == PREAMBLE:
            preamble = data
        elif number == _ROOT:
            newest = data
        else:
            others = True
            _open(cipher, number, data)
    if newest is not None:
        root = _root(cipher, newest)
        if preamble is not None and sha256(preamble).digest() != root.preamble_digest:
            raise JournalRefused("the journal beside the vault is not of one commit")
        _compare(cipher, old, newest, root)
    elif others or preamble is not None:
        raise JournalRefused("the journal beside the vault is not of one commit")


def _compare(cipher: BlockCipher, old: bytes | None, newest: bytes, root: Root) -> None:
    """Refuses a log whose root is behind the file's; one torn in the file the log replaces."""
    if old is None or old[-TAG_SIZE:] == newest[-TAG_SIZE:]:
        return
    try:
        before = _root(cipher, old)
    except JournalRefused:
        return
    if root.commits <= before.commits:
        raise JournalRefused("the journal beside the vault is older than the file")


def _root(cipher: BlockCipher, sealed: bytes) -> Root:
    stream, content = _open(cipher, _ROOT, sealed)
    try:
        if stream == Stream.ROOT:
            return Root.decode(content)
    except (ValueError, struct.error):
        pass
    raise JournalRefused("the journal beside the vault holds no root")


def _open(cipher: BlockCipher, number: int, sealed: bytes) -> tuple[int, bytes]:
    try:
        stream, _, content = cipher.open(number, sealed, tag=None)
    except (OpenFailed, struct.error, OverflowError) as error:
        raise JournalRefused("the journal beside the vault is another vault's") from error
    return stream, bytes(content)
