"""What the ingestion tests run in a process of its own: a run that is killed half way.

`python -m tests.llamaindex.ingest_worker PATH` ingests into the vault there, and dies when the
vectors are stored and the documents are not.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TransformComponent

from mimir_core import Mimir
from mimir_llamaindex import MimirDocumentStore, MimirEmbedding, MimirVectorStore
from mimir_llamaindex.docstore import content_id

from ..vault.vaults import reopen


class Dying(MimirDocumentStore):
    """Kills its process when it is to write what was ingested."""

    def set_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def transformations(mimir: Mimir) -> list[TransformComponent]:
    """Chunks with ids made from their content, embedded."""
    splitter = SentenceSplitter(chunk_size=25, chunk_overlap=0, id_func=content_id)
    return [splitter, MimirEmbedding(mimir)]


def main(path: str) -> None:
    """Ingests a long document and dies."""
    mimir = reopen(Path(path))
    pipeline = IngestionPipeline(
        transformations=transformations(mimir),
        docstore=Dying(mimir),
        vector_store=MimirVectorStore(mimir),
        disable_cache=True,
    )
    pipeline.run(documents=[Document(text=long_text(), id_="1")])


def long_text() -> str:
    """A text of many chunks."""
    return " ".join(f"Sentence number {number} of a longer text." for number in range(30))


if __name__ == "__main__":
    main(sys.argv[1])
