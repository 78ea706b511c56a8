"""`mimir_storage_context`: all that LlamaIndex's indices store, in one open vault."""

from __future__ import annotations

import json
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.graph_stores.simple import SimpleGraphStore, SimpleGraphStoreData
from llama_index.core.graph_stores.simple_labelled import SimplePropertyGraphStore
from llama_index.core.storage.storage_context import StorageContext

from mimir_core import Mimir, Namespace
from mimir_llamaindex.docstore import MimirDocumentStore
from mimir_llamaindex.filesystem import MimirFileSystem
from mimir_llamaindex.indexstore import MimirIndexStore
from mimir_llamaindex.vaults import namespace_in
from mimir_llamaindex.vectorstore import MimirVectorStore

__all__ = ["mimir_storage_context"]


def mimir_storage_context(
    mimir: Mimir,
    namespace: Namespace | str = ("llamaindex",),
    *,
    model: BaseEmbedding | str | None = None,
) -> StorageContext:
    """A storage context whose every store is in the vault; opened again, it finds all of it.

    Documents, index structs and vectors are stored as they come. Graphs, which LlamaIndex holds in
    memory, are stored when `persist` is called. Whatever directory `persist` is given, it writes
    nothing outside the vault. A document that is deleted from an index and has no text among the
    documents leaves no hash there, so that `refresh_ref_docs` takes it again.

    Args:
        mimir: The open vault.
        namespace: What lies above the stores' own labels: docs, index, vectors, images and files.
        model: What makes the embeddings; see `MimirVectorStore`.

    Raises:
        InvalidArgument, InvalidNamespace.
    """
    base = namespace_in(mimir, namespace)
    files = MimirFileSystem(mimir, (*base, "files"))
    docs = MimirDocumentStore(mimir, (*base, "docs"))
    vectors = MimirVectorStore(mimir, (*base, "vectors"), model=model, docstore=docs)
    return StorageContext(
        docstore=docs,
        index_store=MimirIndexStore(mimir, (*base, "index")),
        vector_stores={
            "default": vectors,
            "image": MimirVectorStore(mimir, (*base, "images")),
        },
        graph_store=_GraphStore(files),
        property_graph_store=_PropertyGraphStore(files),
    )


class _GraphStore(SimpleGraphStore):
    """LlamaIndex's graph in memory, persisted into the vault and nowhere else."""

    _PATH = "/graph_store.json"

    def __init__(self, files: MimirFileSystem) -> None:
        found = json.loads(files.read(self._PATH)) if files.exists(self._PATH) else {}
        super().__init__(SimpleGraphStoreData.from_dict(found), fs=files)

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Stores the graph; where to is not for the caller to say."""
        super().persist(self._PATH)


class _PropertyGraphStore(SimplePropertyGraphStore):
    """The same for the graph of labelled nodes."""

    _PATH = "/property_graph_store.json"

    def __init__(self, files: MimirFileSystem) -> None:
        self._files = files
        there = files.exists(self._PATH)
        stored = SimplePropertyGraphStore.from_persist_path(self._PATH, files) if there else None
        super().__init__(None if stored is None else stored.graph)

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Stores the graph; where to is not for the caller to say."""
        super().persist(self._PATH, self._files)
