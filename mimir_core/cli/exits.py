"""Exit codes: what a script can tell from how a command ended."""

from __future__ import annotations

from typing import Final

from mimir_core.errors import (
    CannotUnlock,
    InputError,
    JournalRefused,
    KdfOutOfBounds,
    MimirError,
    NotAVault,
    NotFound,
    ScrubPending,
    SeveralNames,
    StorageFailed,
    UnsupportedFormat,
    VaultBusy,
    VaultDamaged,
    VaultExists,
    VaultReplaced,
)

OK: Final = 0
OTHER: Final = 1
DAMAGED: Final = 6
BAD_LINES: Final = 7
INTERRUPTED: Final = 130

_BY_ERROR: Final[dict[int, tuple[type[MimirError], ...]]] = {
    2: (InputError, VaultExists),
    3: (CannotUnlock, NotAVault, UnsupportedFormat, KdfOutOfBounds, SeveralNames, JournalRefused),
    4: (NotFound,),
    5: (VaultBusy,),
    DAMAGED: (VaultDamaged,),
    8: (StorageFailed, VaultReplaced),
    9: (ScrubPending,),
}

MEANINGS: Final[dict[int, str]] = {
    OK: "done",
    OTHER: "any other error",
    2: "wrong usage or bad input; nothing was written",
    3: "cannot open: wrong passphrase, not a vault, newer format, two names, foreign journal",
    4: "no such memory or thread",
    5: "another process is writing; try again",
    DAMAGED: "the vault is damaged, or verify found problems",
    BAD_LINES: "import: some lines were bad, all others are stored",
    8: "disk full, read-only, file replaced, or refused by the system",
    9: "done, but old pages are not scrubbed yet; the next command tries",
    INTERRUPTED: "interrupted",
}


def exit_code(error: MimirError) -> int:
    """The code of an error's class; 1 for those without their own."""
    for code, kinds in _BY_ERROR.items():
        if isinstance(error, kinds):
            return code
    return OTHER
