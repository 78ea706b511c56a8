"""The built-in embedding model behind LangChain's interface, and other models behind Mimir's."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from mimir_core import Embedder, FunctionEmbedder, Mimir, MiniLM
from mimir_core.errors import InvalidArgument
from mimir_langchain.vaults import check_vault

_MODEL_FIELDS = ("model", "model_name", "model_id", "model_path")
"""Where Embeddings classes keep the name of their model."""


class MimirEmbeddings(Embeddings):
    """The embedding model of a vault, or the built-in MiniLM; runs on this machine alone.

    Vectors have unit length, and 384 components if they are MiniLM's. Texts longer than a window
    of the model count by their beginning; `MimirVectorStore` embeds the rest of them too.

    Setup:
        pip install 'mimir-sealed[langchain]'

    Key init args:
        mimir: An open vault whose embedder to use; the built-in MiniLM if not given.

    Instantiate:
        embeddings = MimirEmbeddings()

    Embed:
        vector = embeddings.embed_query("what is the cat's name?")
        vectors = embeddings.embed_documents(["the cat is called Pixel", "it rains"])

    Async:
        vector = await embeddings.aembed_query("what is the cat's name?")

    Raises:
        ModelMissing: The model was not built into this installation.
        InvalidText: A text is empty or not text.
        InvalidArgument: `mimir` is no open vault.
    """

    def __init__(self, mimir: Mimir | None = None) -> None:
        if mimir is not None:
            check_vault(mimir)
        self._embedder: Embedder = MiniLM() if mimir is None else mimir.embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embeds texts to be stored; one vector each."""
        vectors: list[list[float]] = self._embedder.embed_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embeds a text to search with."""
        vector: list[float] = self._embedder.embed_query(text).tolist()
        return vector

    def __repr__(self) -> str:
        return "<MimirEmbeddings>"


def embedder_of(embedding: Embeddings, space: str | None = None) -> Embedder:
    """The embedder of a vault that embeds as an Embeddings does.

    Args:
        embedding: The user's Embeddings.
        space: What to call its vectors; vectors of other names are never compared with them. By
            default the names of its class and model.
    """
    if isinstance(embedding, MimirEmbeddings):
        return embedding._embedder
    if not isinstance(embedding, Embeddings):
        raise InvalidArgument("embedding is a langchain_core Embeddings, or None")
    return FunctionEmbedder(
        space or _space_name(embedding), embedding.embed_documents, embedding.embed_query
    )


def _space_name(embedding: Embeddings) -> str:
    """The class and model of an Embeddings; those within, if it only caches another's vectors."""
    inner = getattr(embedding, "underlying_embeddings", None)
    if isinstance(inner, Embeddings):
        return _space_name(inner)
    names = (getattr(embedding, field, None) for field in _MODEL_FIELDS)
    model = next((name for name in names if isinstance(name, str)), "")
    return f"{type(embedding).__name__}/{model}"
