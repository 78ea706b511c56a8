#!/usr/bin/env bash
# LlamaIndex: what an ingestion deletes or replaces stays in its cache, whole and twice.
#
# llama-index-core 0.14.25, Python 3.11; without Mimir.
#
# `IngestionPipeline` with `UPSERTS_AND_DELETE` deletes from vector store and document store what is
# no longer among the documents. The cache, on by default, keeps all of it: the key of an entry is a
# hash over the texts of a whole run and the transformation, and says nothing of documents, so no
# deletion finds it. Each transformation keeps the run's texts once more, and `persist` writes them
# as plain JSON. Only `cache.clear()`, which forgets everything, helps.
#
# Output seen:
#     vectors: ['other']
#     documents: ['other']
#     cache: 'secret word' 2 times
#     file of the cache: 'secret word' 2 times
#
# Exits 0 while this is so, and 1 if it changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'llama-index-core==0.14.25'
cat > "$folder/script.py" <<'PYTHON'
import sys
from pathlib import Path

from llama_index.core import Document
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

pipeline = IngestionPipeline(
    transformations=[SentenceSplitter(), MockEmbedding(embed_dim=3)],
    docstore=SimpleDocumentStore(),
    vector_store=SimpleVectorStore(),
    docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
)
other = Document(text="other", id_="other")
pipeline.run(documents=[other, Document(text="secret word", id_="gone")])
pipeline.run(documents=[other])
pipeline.persist(sys.argv[1])

kept = [node.get_content() for key in pipeline.cache.cache.get_all("llama_cache")
        for node in pipeline.cache.get(key)]
written = (Path(sys.argv[1]) / "llama_cache").read_text()
documents = sorted(set(pipeline.vector_store.data.text_id_to_ref_doc_id.values()))
seen = [f"vectors: {documents}",
        f"documents: {[doc.get_content() for doc in pipeline.docstore.docs.values()]}",
        f"cache: 'secret word' {kept.count('secret word')} times",
        f"file of the cache: 'secret word' {written.count('secret word')} times"]
print(*seen, sep="\n")
sys.exit(seen != ["vectors: ['other']", "documents: ['other']", "cache: 'secret word' 2 times",
                  "file of the cache: 'secret word' 2 times"])
PYTHON
"$folder/venv/bin/python" "$folder/script.py" "$folder/persisted"
