"""Mimir for LangChain and LangGraph: encrypted local memory behind the interfaces they know.

Every class takes an open `Mimir`; one user's classes share it, apart by namespace. Classes load on
first use, so importing this package needs none of the frameworks; a class whose framework is
missing raises MissingExtra, an ImportError, with the extra that brings it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from mimir_langchain.bytestore import MimirByteStore
    from mimir_langchain.cache import MimirCache
    from mimir_langchain.embeddings import MimirEmbeddings
    from mimir_langchain.history import MimirChatMessageHistory
    from mimir_langchain.memory import MimirMemory
    from mimir_langchain.middleware import MimirMemoryMiddleware
    from mimir_langchain.retriever import MimirRetriever
    from mimir_langchain.saver import MimirSaver
    from mimir_langchain.store import MimirStore
    from mimir_langchain.summary import MimirSummaryMemory
    from mimir_langchain.vectorstore import MimirVectorStore

__all__ = [
    "MimirByteStore",
    "MimirCache",
    "MimirChatMessageHistory",
    "MimirEmbeddings",
    "MimirMemory",
    "MimirMemoryMiddleware",
    "MimirRetriever",
    "MimirSaver",
    "MimirStore",
    "MimirSummaryMemory",
    "MimirVectorStore",
]

# The module of each class, and the extra that brings its framework.
_HOMES = {
    "MimirByteStore": ("bytestore", "langchain"),
    "MimirCache": ("cache", "langchain"),
    "MimirChatMessageHistory": ("history", "langchain"),
    "MimirEmbeddings": ("embeddings", "langchain"),
    "MimirMemory": ("memory", "langchain"),
    "MimirMemoryMiddleware": ("middleware", "langgraph"),
    "MimirRetriever": ("retriever", "langchain"),
    "MimirSaver": ("saver", "langgraph"),
    "MimirStore": ("store", "langgraph"),
    "MimirSummaryMemory": ("summary", "langchain"),
    "MimirVectorStore": ("vectorstore", "langchain"),
}


def __getattr__(name: str) -> object:
    """Loads a class on first use. Raises MissingExtra where its framework is not installed."""
    if name == "__version__":
        return import_module("importlib.metadata").version("mimir-sealed")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, extra = _HOMES[name]
    try:
        found: object = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mimir"):
            raise
        from mimir_core.errors import MissingExtra  # noqa: PLC0415  # the core loads on first use

        raise MissingExtra.after(error, f"{name} needs {error.name}", extra) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
