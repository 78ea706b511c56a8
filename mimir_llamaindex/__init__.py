"""Mimir as LlamaIndex's encrypted, local memory: every class works on one open vault.

    from mimir_core import Mimir
    from mimir_llamaindex import MimirVectorStore

    with Mimir.create("agent.mimir", passphrase) as mimir:
        index = VectorStoreIndex.from_vector_store(MimirVectorStore(mimir), embed_model=...)

Needs the extra `llamaindex`. Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimir_llamaindex.chat_store import MimirChatStore
    from mimir_llamaindex.docstore import MimirDocumentStore, content_id
    from mimir_llamaindex.embedding import MimirEmbedding
    from mimir_llamaindex.filesystem import MimirFileSystem
    from mimir_llamaindex.indexstore import MimirIndexStore
    from mimir_llamaindex.ingestion_cache import MimirIngestionCache
    from mimir_llamaindex.kvstore import MimirKVStore
    from mimir_llamaindex.memory_block import MimirMemoryBlock
    from mimir_llamaindex.retriever import MimirRetriever
    from mimir_llamaindex.scrubs import scrub_last
    from mimir_llamaindex.storage_context import mimir_storage_context
    from mimir_llamaindex.vectorstore import MimirVectorStore

    __version__: str

__all__ = [
    "MimirChatStore",
    "MimirDocumentStore",
    "MimirEmbedding",
    "MimirFileSystem",
    "MimirIndexStore",
    "MimirIngestionCache",
    "MimirKVStore",
    "MimirMemoryBlock",
    "MimirRetriever",
    "MimirVectorStore",
    "content_id",
    "mimir_storage_context",
    "scrub_last",
]

_MODULES = {
    "MimirChatStore": "chat_store",
    "MimirDocumentStore": "docstore",
    "MimirEmbedding": "embedding",
    "MimirFileSystem": "filesystem",
    "MimirIndexStore": "indexstore",
    "MimirIngestionCache": "ingestion_cache",
    "MimirKVStore": "kvstore",
    "MimirMemoryBlock": "memory_block",
    "MimirRetriever": "retriever",
    "MimirVectorStore": "vectorstore",
    "content_id": "docstore",
    "mimir_storage_context": "storage_context",
    "scrub_last": "scrubs",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for (PEP 562). Raises MissingExtra without LlamaIndex."""
    if name == "__version__":
        return version("mimir-sealed")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("llama_index", "fsspec"):
            raise
        from mimir_core.errors import MissingExtra  # noqa: PLC0415  # the core loads on first use

        raise MissingExtra.after(error, f"{name} needs LlamaIndex", "llamaindex") from error
    found = globals()[name] = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
