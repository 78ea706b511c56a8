"""How a store's namespaces and keys are named in the vault, reversibly.

A store namespace ("users", "ana") of a store at ("langgraph", "store") is the vault namespace
("langgraph", "store", "users", "ana"). What the vault would refuse or change in a label (control
characters, surrogates, other normal forms than NFC) is written with Python's escapes behind a "~".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from langgraph.store.base import InvalidNamespaceError

from mimir_core import Namespace
from mimir_core.errors import InvalidArgument, InvalidNamespace
from mimir_langchain.vaults import digest, is_name

MAX_LABELS = 16
MAX_LABEL_BYTES = 256
_MARK = "~"


class InvalidStoreNamespace(InvalidNamespace, InvalidNamespaceError):
    """A store namespace that LangGraph or the vault refuses; an error of both their trees."""

    default_hint = 'use a tuple of labels such as ("users", "ana")'


def check_labels(labels: object) -> tuple[str, ...]:
    """The labels of a store namespace, or of a pattern or prefix of one; a string is one label.

    Raises:
        InvalidStoreNamespace: a label is no string, empty, or holds a dot or NUL.
    """
    labels = (labels,) if isinstance(labels, str) else labels
    if not isinstance(labels, Sequence):
        raise InvalidStoreNamespace("a namespace is a tuple of labels")
    for label in labels:
        if not isinstance(label, str) or not label or "." in label or "\0" in label:
            raise InvalidStoreNamespace("a label is a non-empty string without dots and NUL")
    return tuple(labels)


def vault_namespace(root: Namespace, labels: object) -> Namespace:
    """Where the items of a store namespace lie in the vault.

    Raises:
        InvalidStoreNamespace: as `check_labels`, or the vault has no room for these labels.
    """
    place = _place(root, labels)
    if len(place) > MAX_LABELS:
        raise InvalidStoreNamespace(f"a namespace has at most {MAX_LABELS - len(root)} labels here")
    if not _fits(place):
        raise InvalidStoreNamespace(f"a label has at most {MAX_LABEL_BYTES} bytes, encoded")
    return place


def known_namespace(root: Namespace, labels: object) -> Namespace | None:
    """The same to read or delete in; None where the vault has no room, so that nothing is there.

    Raises:
        InvalidStoreNamespace: as `check_labels`.
    """
    place = _place(root, labels)
    return place if _fits(place) else None


def _place(root: Namespace, labels: object) -> Namespace:
    return root + tuple(_encoded(label) for label in check_labels(labels))


def _fits(place: Namespace) -> bool:
    labels = (len(label.encode()) <= MAX_LABEL_BYTES for label in place)
    return len(place) <= MAX_LABELS and all(labels)


def store_namespace(root: Namespace, place: Namespace) -> tuple[str, ...]:
    """The store namespace that a vault namespace stands for."""
    return tuple(_decoded(label) for label in place[len(root) :])


def vault_key(key: object) -> str:
    """The vault's key of a store key: itself where that can be, else a digest of it.

    Raises:
        InvalidArgument: the key is not a string.
    """
    if not isinstance(key, str):
        raise InvalidArgument("a store key is a string")
    if is_name(key) and not key.startswith(_MARK):
        return str(key)
    return _MARK + digest(key)


def _encoded(label: str) -> str:
    plain = not label.startswith(_MARK) and (
        (label.isascii() and label.isprintable())
        or not (
            unicodedata.normalize("NFC", label) != label
            or any(unicodedata.category(char) in ("Cc", "Cs") for char in label)
        )
    )
    return label if plain else _MARK + label.encode("unicode_escape").decode("ascii")


def _decoded(label: str) -> str:
    if not label.startswith(_MARK):
        return label
    return label[1:].encode("ascii").decode("unicode_escape")
