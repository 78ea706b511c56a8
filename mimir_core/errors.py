"""Every error that Mimir raises, in one tree.

    MimirError
    ├── VaultError                  the file, or access to it
    │   ├── NotAVault               the file is something else
    │   ├── UnsupportedFormat       written by a newer Mimir
    │   ├── VaultExists             create would overwrite something
    │   ├── SeveralNames            the file has a second name, or is mounted alone
    │   ├── JournalRefused          a journal beside the file is not its newest
    │   ├── CannotUnlock            wrong passphrase, or key slots that were changed
    │   ├── KdfOutOfBounds          Argon2id cost below the floor or above the ceiling
    │   ├── VaultDamaged            a block is missing, changed or replayed
    │   │   └── VectorsLost         only vectors are gone: re-embedding repairs them
    │   ├── VaultBusy               another process holds the writer's lock
    │   ├── VaultClosed             the handle is locked, closed, or was inherited by a fork
    │   ├── VaultReplaced           the file of an open handle was moved, deleted or replaced
    │   ├── StorageFailed           the operating system refused
    │   │   ├── DiskFull
    │   │   ├── VaultReadOnly
    │   │   └── OutcomeUnknown      a commit failed so late that it may have happened
    │   ├── Conflict                the vault moved on between reading and committing
    │   └── ScrubPending            forgotten and invisible, but not yet scrubbed from the journal
    ├── InputError (ValueError)     the caller's arguments; nothing was written
    │   ├── InvalidText
    │   ├── InvalidVector
    │   ├── InvalidMetadata
    │   ├── InvalidNamespace
    │   ├── InvalidFilter
    │   ├── InvalidArgument
    │   ├── DuplicateKey
    │   └── LimitExceeded
    ├── NotFound (LookupError)      no live memory has that id or key
    ├── EmbeddingError              the embedder failed
    │   ├── ModelMissing            the built-in model was not built into this installation
    │   └── SpaceMismatch           vectors of one model were offered to another's space
    ├── MissingExtra (ImportError)  an optional part of Mimir is not installed
    └── NotSerializable (TypeError) handles and keys refuse pickle and copies, memories pickle

Messages never contain content, keys, metadata values, namespaces or filter values. They name the
field of metadata that is meant, and of a list the item, counted from 0.
"""

from __future__ import annotations

from typing import ClassVar, Self


class MimirError(Exception):
    """Base of every error raised by Mimir.

    Args:
        message: What happened, without any content of the vault.
        hint: What the reader can do about it; the class's own hint if not given.
    """

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint

    def within(self, place: str) -> Self:
        """The same error, which says where in what was handed in its cause is."""
        return type(self)(f"{place}: {self.args[0]}", hint=self.hint)

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class VaultError(MimirError):
    """Something about the vault file, or access to it."""


class NotAVault(VaultError):
    """The file is not a Mimir vault."""

    default_hint = "check the path; `mimir create PATH` makes a new vault"


class UnsupportedFormat(VaultError):
    """The vault was written in a format version this Mimir does not know."""

    default_hint = "upgrade Mimir to open it"


class VaultExists(VaultError):
    """Creating the vault would overwrite an existing file."""

    default_hint = "choose another path, or open the existing vault"


class SeveralNames(VaultError):
    """The file can be reached by two names, under which two processes would not see each other."""

    default_hint = (
        "keep the vault under one name: mount its folder instead of the file alone, and copy a "
        "file that shares its content with a backup (hard link), then delete the link"
    )


class JournalRefused(VaultError):
    """A journal lies beside the vault that would change it, and is not its newest."""

    default_hint = (
        "nothing was touched; move the journal away to open the file as it is, or restore file "
        "and journal from one and the same backup"
    )


class CannotUnlock(VaultError):
    """No key slot opened: the passphrase is wrong, or the key slots were changed."""

    default_hint = "check the passphrase; if it is right, restore the file from a backup"


class KdfOutOfBounds(VaultError):
    """The Argon2id cost is below the floor or above the ceiling."""

    default_hint = "the preamble may have been tampered with; restore it from a backup"


class VaultDamaged(VaultError):
    """A block is missing, was changed, or is an old copy put back."""

    default_hint = "restore the file from a backup; `mimir verify` lists what is damaged"


class VectorsLost(VaultDamaged):
    """Vector blocks are damaged; memories are intact and can be embedded again."""

    default_hint = "re-embedding repairs it: call `Mimir.reembed()`"


class VaultBusy(VaultError):
    """Another process holds the writer's lock."""

    default_hint = "wait until the other writer is done, then try again"


class VaultClosed(VaultError):
    """The handle was locked or closed, or belongs to a parent process."""

    default_hint = "open the vault again"


class VaultReplaced(VaultError):
    """The file of an open handle was moved, deleted, or replaced by another."""

    default_hint = "open the vault again, and look whether the last changes are there"


class StorageFailed(VaultError):
    """The operating system refused to read or write."""

    default_hint = "check the disk and the file's permissions; nothing was changed"


class DiskFull(StorageFailed):
    """There is no room to write; the vault is unchanged."""

    default_hint = "free some disk space and try again; the vault is unchanged"


class VaultReadOnly(StorageFailed):
    """The file, or the folder it lies in, cannot be written."""

    default_hint = "make the file and its folder writable, or copy the vault elsewhere"


class OutcomeUnknown(StorageFailed):
    """The system failed while a commit became durable: it may, or may not, have happened.

    This process goes on without the change. If it, or the machine, stops before the next commit,
    the change can be there when the vault is opened again.
    """

    default_hint = (
        "check the disk, open the vault again, and look whether the change is there before you "
        "repeat it"
    )


class Conflict(VaultError):
    """The vault moved on between reading and committing; nothing was written."""

    default_hint = "read again what the change was made from, and try again"


class ScrubPending(VaultError):
    """Forgotten and invisible, but old pages could not yet be scrubbed from the journal."""

    default_hint = "close other readers; every open, commit and close tries again"


class InputError(MimirError, ValueError):
    """The caller's arguments; nothing was written."""


class InvalidText(InputError):
    """The text is empty, not text, or too long."""


class InvalidVector(InputError):
    """The vector has the wrong size, is not finite, or has no direction."""


class InvalidMetadata(InputError):
    """The metadata cannot be stored."""

    default_hint = (
        "use a dict with string keys and values of string, number, bool, None, date, "
        "list or dict"
    )


class InvalidNamespace(InputError):
    """A namespace is a non-empty tuple of non-empty labels without dots or control characters."""

    default_hint = 'use a tuple of labels such as ("alice", "chat")'


class InvalidFilter(InputError):
    """The filter cannot be evaluated; nothing is returned."""


class InvalidArgument(InputError):
    """An argument is outside its range."""


class DuplicateKey(InputError):
    """One batch names the same key or id twice."""

    default_hint = "give each memory of a batch its own key"


class LimitExceeded(InputError):
    """A documented limit of the format would be passed."""


class NotFound(MimirError, LookupError):
    """No live memory has that id or key."""

    default_hint = "it may have been forgotten or superseded"


class EmbeddingError(MimirError):
    """The embedder failed."""


class ModelMissing(EmbeddingError):
    """The built-in model was not built into this installation."""

    default_hint = "reinstall Mimir with pip, which builds the model"


class SpaceMismatch(EmbeddingError):
    """The vectors belong to another vector space than the vault's."""

    default_hint = "open the vault with the embedder it was filled with, or re-embed it"


class MissingExtra(MimirError, ImportError):
    """A feature needs packages that come with an extra of Mimir."""

    @classmethod
    def after(cls, error: ImportError, message: str, extra: str) -> MissingExtra:
        """The error to raise for an import that failed; it names the same missing module.

        Args:
            error: What the import raised.
            message: What needs what.
            extra: The extra that brings it.
        """
        made = cls(message, hint=f"pip install 'mimir-sealed[{extra}]'")
        made.name = error.name
        return made


class NotSerializable(MimirError, TypeError):
    """Handles and keys refuse pickle and copies; memories and hits refuse pickle."""

    default_hint = "pass the vault's path and open it where it is needed"
