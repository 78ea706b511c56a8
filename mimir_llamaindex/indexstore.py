"""`MimirIndexStore`: LlamaIndex's index structs in an open vault."""

from __future__ import annotations

from llama_index.core.storage.index_store.keyval_index_store import KVIndexStore

from mimir_core import Mimir, Namespace
from mimir_llamaindex.kvstore import MimirKVStore

__all__ = ["MimirIndexStore"]


class MimirIndexStore(KVIndexStore):
    """Keeps index structs in a vault, so that `load_index_from_storage` finds them again.

    Nothing is left for `persist` to do: it writes no file. A struct is stored whole, as the index
    that holds it in memory has it: of several that insert into one index, the last one counts.

    Args:
        mimir: The open vault.
        namespace: Where the structs live.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    def __init__(self, mimir: Mimir, namespace: Namespace | str = ("llamaindex", "index")) -> None:
        super().__init__(MimirKVStore(mimir, namespace))
