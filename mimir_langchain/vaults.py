"""What all classes here need of a vault: that it is open, and names that it can hold."""

from __future__ import annotations

import hashlib
import re

from mimir_core import Mimir, Namespace, check_namespace
from mimir_core.errors import InvalidArgument

__all__ = ["MOST_NAME_BYTES", "check_vault", "digest", "is_digest", "is_name", "namespace_in"]

MOST_NAME_BYTES = 1_024


def check_vault(mimir: object) -> None:
    """Raises InvalidArgument unless it is an open vault."""
    if not isinstance(mimir, Mimir):
        raise InvalidArgument("mimir is an open vault", hint="see `Mimir.create` and `Mimir.open`")


def namespace_in(mimir: Mimir, namespace: Namespace | str) -> Namespace:
    """A namespace as the vault spells it.

    Raises:
        InvalidArgument: `mimir` is no open vault.
        InvalidNamespace: `namespace` is none.
    """
    check_vault(mimir)
    return check_namespace(namespace)


def is_name(text: str) -> bool:
    """Whether a vault can hold this as the name of a key or a thread."""
    try:
        return 1 <= len(text.encode()) <= MOST_NAME_BYTES
    except UnicodeEncodeError:
        return False


def digest(text: str) -> str:
    """40 hex digits that stand for a name of any length, even one that UTF-8 cannot encode."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def is_digest(text: str) -> bool:
    """Whether `digest` can have made this."""
    return re.fullmatch("[0-9a-f]{40}", text) is not None
