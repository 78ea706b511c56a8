"""What all classes here need of a vault: that it is open, and names that it can hold."""

from __future__ import annotations

from hashlib import sha256

from mimir_core import Mimir, Namespace, check_namespace
from mimir_core.errors import InvalidArgument

__all__ = ["check_vault", "digest", "fits", "is_text", "name_of", "namespace_in"]

_MAX_NAME_BYTES = 1_024


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


def name_of(text: str, mark: str) -> str:
    """A key or thread for any text: itself, or a mark and its digest if a vault cannot hold it.

    A text that begins with the mark gets a digest too, so that no two texts have one name.
    """
    if not text.startswith(mark) and fits(text):
        return text
    return mark + digest(text)


def digest(text: str) -> str:
    """64 hex digits that stand for a text, even one that UTF-8 cannot encode."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fits(text: str) -> bool:
    """Whether a vault can hold a text as a key or thread."""
    return is_text(text) and 1 <= len(text.encode()) <= _MAX_NAME_BYTES


def is_text(text: str) -> bool:
    """Whether UTF-8 can encode a text; a lone surrogate it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
