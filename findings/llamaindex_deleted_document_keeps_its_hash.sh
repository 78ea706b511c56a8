#!/usr/bin/env bash
# LlamaIndex: a document deleted "from the docstore" keeps its hash there, and never comes back.
#
# llama-index-core 0.14.25, llama-index-vector-stores-qdrant 0.10.4, Python 3.11; without Mimir.
#
# `VectorStoreIndex.delete_ref_doc(id, delete_from_docstore=True)` on a vector store that keeps the
# texts itself (`stores_text`, as Qdrant's, Chroma's and Postgres' do) does not call the docstore.
# `from_documents` and `insert` had put the document's SHA-256 there. So
# - the hash of the deleted text stays, from which a short text can be found by trying;
# - `refresh_ref_docs`, which is to insert "any documents that previously were not stored", takes
#   the document for stored and unchanged. It is in no result any more, until its text changes.
# With `SimpleVectorStore`, which keeps no texts, both work.
#
# Output seen:
#     keeps texts: hash left True, refreshed [False], found []
#     SimpleVectorStore: hash left False, refreshed [True], found ['yes']
#
# Exits 0 while this is so, and 1 if it changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'llama-index-core==0.14.25' 'llama-index-vector-stores-qdrant==0.10.4'
cat > "$folder/script.py" <<'PYTHON'
import sys

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient


def tried(store):
    docs = [Document(text="yes", id_="answer")]
    context = StorageContext.from_defaults(vector_store=store)
    model = MockEmbedding(embed_dim=3)
    index = VectorStoreIndex.from_documents(docs, storage_context=context, embed_model=model)
    index.delete_ref_doc("answer", delete_from_docstore=True)
    left = context.docstore.get_document_hash("answer") == docs[0].hash
    refreshed = index.refresh_ref_docs(docs)
    found = [hit.text for hit in index.as_retriever().retrieve("what was it?")]
    return f"hash left {left}, refreshed {refreshed}, found {found}"


seen = [f"keeps texts: {tried(QdrantVectorStore('docs', client=QdrantClient(':memory:')))}",
        f"SimpleVectorStore: {tried(SimpleVectorStore())}"]
print(*seen, sep="\n")
expected = ["keeps texts: hash left True, refreshed [False], found []",
            "SimpleVectorStore: hash left False, refreshed [True], found ['yes']"]
sys.exit(seen != expected)
PYTHON
"$folder/venv/bin/python" "$folder/script.py"
