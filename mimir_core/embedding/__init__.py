"""Texts to vectors: the `Embedder` protocol, the built-in MiniLM, and an embedder for tests."""

from mimir_core.embedding.functions import FunctionEmbedder
from mimir_core.embedding.hashing import HashEmbedder
from mimir_core.embedding.minilm import Embedding, MiniLM
from mimir_core.embedding.pooling import embed_whole
from mimir_core.embedding.space import Embedder, Vectors, VectorSpace

__all__ = [
    "Embedder",
    "Embedding",
    "FunctionEmbedder",
    "HashEmbedder",
    "MiniLM",
    "VectorSpace",
    "Vectors",
    "embed_whole",
]
