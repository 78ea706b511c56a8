"""What all classes here are given, checked: an open vault, and a namespace in it."""

from __future__ import annotations

import unicodedata

from mimir_core import Mimir, Namespace
from mimir_core.errors import InvalidArgument

__all__ = ["check_vault", "namespace_in"]


def check_vault(mimir: object) -> None:
    """Raises InvalidArgument unless it is an open vault."""
    if not isinstance(mimir, Mimir):
        raise InvalidArgument("mimir is an open vault", hint="see `Mimir.create` and `Mimir.open`")


def namespace_in(mimir: Mimir, namespace: Namespace | str) -> Namespace:
    """A namespace as the vault spells it; looks into the vault, so no event loop calls it.

    Raises:
        InvalidArgument: `mimir` is no open vault.
        InvalidNamespace: `namespace` is none.
    """
    check_vault(mimir)
    mimir.known([], namespace=namespace)  # raises InvalidNamespace
    labels = (namespace,) if isinstance(namespace, str) else namespace
    return tuple(unicodedata.normalize("NFC", label) for label in labels)
