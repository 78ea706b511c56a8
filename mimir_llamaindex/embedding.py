"""`MimirEmbedding`: the built-in embedding model, for indexes that need no key and no torch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NoReturn

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import PrivateAttr

from mimir_core import Embedder, FunctionEmbedder, Mimir, MiniLM, embed_whole
from mimir_core.errors import (
    EmbeddingError,
    InvalidArgument,
    InvalidText,
    NotSerializable,
    SpaceMismatch,
)
from mimir_llamaindex.batches import each, listed
from mimir_llamaindex.vaults import check_vault, is_text

__all__ = ["MimirEmbedding", "handles", "hinting"]

BATCH = 256


class MimirEmbedding(BaseEmbedding):
    """The embedding model of a vault, or the built-in MiniLM; runs on this machine alone.

    Vectors have unit length, and 384 components if they are MiniLM's. A text that is longer than
    the model reads at once counts by its beginning and by all its windows. `model_name` holds the
    digest of the model, so that caches know one model from another.

    Args:
        mimir: An open vault whose embedder to use; the built-in MiniLM if not given.
        embed_batch_size: Texts embedded at a time.
        options: Further fields of `BaseEmbedding`.

    Raises:
        ModelMissing: The model was not built into this installation.
        InvalidText: A text is empty or not text.
        InvalidArgument: `mimir` is no open vault.
    """

    _embedder: Embedder = PrivateAttr()
    _built_in: bool = PrivateAttr()

    def __init__(
        self, mimir: Mimir | None = None, *, embed_batch_size: int = BATCH, **options: Any
    ) -> None:
        if mimir is not None:
            check_vault(mimir)
        embedder: Embedder = MiniLM() if mimir is None else mimir.embedder
        options["model_name"] = f"mimir-{embedder.space.digest}"
        super().__init__(embed_batch_size=embed_batch_size, **options)
        self._embedder = embedder
        self._built_in = isinstance(embedder, MiniLM)

    @classmethod
    def class_name(cls) -> str:
        return "MimirEmbedding"

    @property
    def embedder(self) -> Embedder:
        """What embeds, as the core knows it."""
        return self._embedder

    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """The vectors of texts. Raises InvalidText, with the number of the text, before any."""
        _check_texts(texts)
        vectors: list[Embedding] = super().get_text_embedding_batch(texts, show_progress, **kwargs)
        return vectors

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """Like `get_text_embedding_batch`, off the event loop."""
        _check_texts(texts)
        vectors: list[Embedding] = await super().aget_text_embedding_batch(
            texts, show_progress, **kwargs
        )
        return vectors

    def _get_query_embedding(self, query: str) -> Embedding:
        vector: Embedding = self._embedder.embed_query(query).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = embed_whole(self._embedder, texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    def __reduce__(self) -> Any:
        """The built-in model is made anew where it is needed, as an ingestion's workers do."""
        if not self._built_in:
            raise NotSerializable("the embedder of an open Mimir cannot be pickled or copied")
        remade = partial(
            MimirEmbedding, embed_batch_size=self.embed_batch_size, num_workers=self.num_workers
        )
        return remade, ()


def _check_texts(texts: list[str]) -> None:
    """Raises InvalidText for what cannot be embedded, before it is cut into batches."""
    for _ in each(_check_text, listed(texts, "texts")):
        pass


def _check_text(text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise InvalidText("the text is empty, or no text")
    if not is_text(text):
        raise InvalidText("the text holds surrogates, which UTF-8 cannot encode")


def handles(mimir: Mimir, model: BaseEmbedding | str | None) -> Callable[[int], Mimir]:
    """A function from the length of vectors to the handle on the vault for vectors of a model.

    Raises:
        InvalidArgument: the model is neither an embedding model nor a name.
    """
    if isinstance(model, MimirEmbedding):
        own = mimir.with_embedder(model.embedder)
        return lambda dimension: own
    if isinstance(model, BaseEmbedding):
        model = f"{model.class_name()} {model.model_name}"
    if model is not None and (not isinstance(model, str) or not model):
        raise InvalidArgument("a model is an embedding model or its name")
    name = "llamaindex" if model is None else f"llamaindex {model}"

    @lru_cache(maxsize=16)
    def handle(dimension: int) -> Mimir:
        return mimir.with_embedder(FunctionEmbedder(name, _refuse, dimension=dimension))

    return handle


@contextmanager
def hinting() -> Iterator[None]:
    """Says of another model's vectors what helps where indexes embed: open the store as before."""
    try:
        yield
    except SpaceMismatch:
        raise SpaceMismatch(
            "the namespace holds vectors of another model",
            hint="give the store the `model` it was filled with, or another namespace",
        ) from None


def _refuse(texts: list[str]) -> NoReturn:
    raise EmbeddingError("the index embeds, not the vault", hint="query through the index")
