"""What of a store's values is indexed for search, and the model that embeds it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt
from langgraph.store.base import (
    Embeddings,
    IndexConfig,
    ensure_embeddings,
    get_text_at_path,
    tokenize_path,
)

from mimir_core import Embedder, FunctionEmbedder, Mimir
from mimir_core.errors import EmbeddingError, InvalidArgument, InvalidVector
from mimir_langchain.embeddings import MimirEmbeddings, embedder_of

Vector = npt.NDArray[np.float32]
MAX_TEXTS = 64  # vectors that one memory can have


@dataclass(frozen=True, slots=True, repr=False)
class Embedded:
    """Unit vectors of texts and queries; None for what has no direction."""

    texts: Mapping[str, Vector | None] = field(default_factory=dict)
    queries: Mapping[str, Vector | None] = field(default_factory=dict)


class StoreIndex:
    """Which texts of a value are embedded, and how.

    Args:
        mimir: The store's vault.
        config: LangGraph's IndexConfig; without "embed" the vault's own embedder is used. None
            switches semantic search off. Raises InvalidArgument for a key it does not have.

    Attributes:
        mimir: The vault, with the embedder of this index.
        config: A copy of the config.
        embeddings: The user's model, None where a Mimir embedder does the work.
    """

    def __init__(self, mimir: Mimir, config: Mapping[str, Any] | None) -> None:
        self.mimir = mimir
        self.embeddings: Embeddings | None = None
        self.config = None if config is None else check_config(config, IndexConfig, "index")
        if config is None:
            return
        fields = config.get("fields")
        paths = [] if fields is None else _check_paths(fields)
        self._paths = [_tokens(path) for path in paths or ["$"]]
        embed: Any = config.get("embed")
        if isinstance(embed, MimirEmbeddings):
            embed = embedder_of(embed)
        if isinstance(embed, (str, Embeddings)) or callable(embed):
            self.embeddings = ensure_embeddings(embed)
            self.mimir = mimir.with_embedder(_embedder(embed, self.embeddings, config.get("dims")))
        elif isinstance(embed, Embedder):
            self.mimir = mimir.with_embedder(embed)
        elif embed is not None:
            raise InvalidArgument("embed is an Embeddings, a function, a name, or an Embedder")

    def texts(self, value: Mapping[str, Any], index: object) -> list[str]:
        """The texts of a value to be embedded, each once; what is beyond the 63rd counts as one.

        Raises:
            InvalidArgument: `index` is neither None, False nor a list of paths.
        """
        paths = None if index is None or index is False else _check_paths(index)
        if self.config is None or index is False:
            return []
        tokens = self._paths if paths is None else [_tokens(path) for path in paths]
        found = (text for path in tokens for text in get_text_at_path(value, path))
        texts = list(dict.fromkeys(readable(text) for text in found if text.strip()))
        if len(texts) <= MAX_TEXTS:
            return texts
        return [*texts[: MAX_TEXTS - 1], "\n".join(texts[MAX_TEXTS - 1 :])]

    def needs(self, texts: Sequence[str]) -> bool:
        """Whether `embed` is to embed an item's texts; a single one the vault embeds by itself."""
        return len(texts) > 1 or (self.embeddings is not None and bool(texts))

    def embed(self, texts: Iterable[str], queries: Iterable[str]) -> Embedded:
        """Embeds texts to be stored and, with the user's model, queries.

        Raises:
            EmbeddingError, InvalidVector.
        """
        documents, questions = list(dict.fromkeys(texts)), list(dict.fromkeys(queries))
        if self.embeddings is None:
            rows: Any = self.mimir.embedder.embed_documents(documents) if documents else []
            return self._embedded(documents, rows, [], [])
        rows = self.embeddings.embed_documents(documents) if documents else []
        asked = [self.embeddings.embed_query(question) for question in questions]
        return self._embedded(documents, rows, questions, asked)

    async def aembed(self, texts: Iterable[str], queries: Iterable[str]) -> Embedded:
        """Embeds as `embed`, by the asynchronous methods of the user's model."""
        if self.embeddings is None:
            return await asyncio.to_thread(self.embed, texts, queries)
        documents, questions = list(dict.fromkeys(texts)), list(dict.fromkeys(queries))
        rows = await self.embeddings.aembed_documents(documents) if documents else []
        asked = await asyncio.gather(*map(self.embeddings.aembed_query, questions))
        return await asyncio.to_thread(self._embedded, documents, rows, questions, asked)

    def vectors(self, texts: Sequence[str], embedded: Embedded) -> Vector | None:
        """The vectors [m, dimension] of an item's texts; None if none has a direction."""
        found = [embedded.texts[text] for text in texts]
        rows = [row for row in found if row is not None]
        return np.stack(rows) if rows else None

    def _embedded(self, texts: list[str], rows: Any, queries: list[str], asked: Any) -> Embedded:
        return Embedded(self._units(texts, rows), self._units(queries, asked))

    def _units(self, texts: Sequence[str], rows: Any) -> dict[str, Vector | None]:
        if not texts:
            return {}
        try:
            found = np.asarray(rows, np.float64)
        except (TypeError, ValueError):
            raise EmbeddingError("the embedding model returned no rows of numbers") from None
        if found.ndim != 2 or len(found) != len(texts):
            raise EmbeddingError("the embedding model returned another number of vectors")
        dimension = self.mimir.embedder.space.dimension
        if found.shape[1] != dimension:
            raise InvalidVector(f"a vector of this store has {dimension} components")
        lengths = np.linalg.norm(found, axis=1)
        if not np.isfinite(lengths).all():
            raise InvalidVector("a vector holds a number that is not finite")
        return {
            text: (row / length).astype(np.float32) if length else None
            for text, row, length in zip(texts, found, lengths, strict=True)
        }


def check_config(config: object, kind: type, what: str) -> dict[str, Any]:
    """A copy of a configuration. Raises InvalidArgument for a key that its kind does not have."""
    if not isinstance(config, Mapping):
        raise InvalidArgument(f"{what} is a dict")
    known = get_type_hints(kind)
    for key in config:
        if key not in known:
            raise InvalidArgument(f"{what} has no {key!r}", hint=f"there are {sorted(known)}")
    return dict(config)


def readable(text: str) -> str:
    """The text with a "?" for each surrogate, which no model can read."""
    return text.encode("utf-8", "replace").decode()


def _embedder(embed: Any, embeddings: Embeddings, dims: object) -> FunctionEmbedder:
    """The user's model as the vault's: it names the space that its vectors belong to."""
    if dims is not None and (not isinstance(dims, int) or isinstance(dims, bool) or dims < 1):
        raise InvalidArgument("dims is the number of components of a vector")
    if isinstance(embed, str):
        name = embed
    elif isinstance(embed, Embeddings):
        model = (getattr(embed, at, None) for at in ("model", "model_name", "model_id"))
        name = f"{type(embed).__name__}/{next((m for m in model if isinstance(m, str)), '')}"
    else:
        named = embed if hasattr(embed, "__qualname__") else type(embed)
        name = f"{named.__module__}.{named.__qualname__}"
    return FunctionEmbedder(name, embeddings.embed_documents, embeddings.embed_query, dims)


def _check_paths(paths: object) -> list[str]:
    if not isinstance(paths, (list, tuple)):
        raise InvalidArgument("the fields to index are a list of paths")
    for number, path in enumerate(paths):
        if not isinstance(path, str):
            raise InvalidArgument(f"field {number}: a path is a string")
    return list(paths)


def _tokens(path: str) -> str | list[str]:
    return path if path in ("", "$") else tokenize_path(path)
