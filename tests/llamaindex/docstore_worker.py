"""What the document store's tests run in processes of their own: adding chunks of one document.

    python -m tests.llamaindex.docstore_worker add PATH NUMBER
"""

from __future__ import annotations

import sys
from pathlib import Path

from llama_index.core.schema import Document, NodeRelationship, TextNode

from mimir_llamaindex import MimirDocumentStore

from ..vault.vaults import reopen
from ..vault.worker import ready

CHUNKS = 12


def chunk(parent: Document, name: str) -> TextNode:
    """A chunk of a document."""
    node = TextNode(text=name, id_=name)
    node.relationships[NodeRelationship.SOURCE] = parent.as_related_node_info()
    return node


def add(path: str, number: str) -> None:
    """Adds chunks one after the other."""
    with reopen(Path(path)) as mimir:
        docs = MimirDocumentStore(mimir)
        ready()
        for turn in range(CHUNKS):
            docs.add_documents([chunk(Document(text="whole", id_="d"), f"{number}-{turn}")])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
