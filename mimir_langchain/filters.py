"""Memories as documents, and filters over them: a dict over metadata, or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_core.documents import Document

from mimir_core import Memory, Mimir, Namespace

Filter: TypeAlias = Mapping[str, Any] | Callable[[Document], bool] | None
"""A dict in the dialect of `Mimir.recall(where=...)`: `{"field": value}` for equality, `$eq $ne $gt
$gte $lt $lte $in $nin $contains $icontains $exists` on a field, `$and $or $not` between filters. Or
a function that says of a document whether it may be found. None lets all through."""


def as_document(memory: Memory) -> Document:
    """A memory as LangChain knows it: its key is the document's id."""
    return Document(
        id=memory.key or memory.id, page_content=memory.text, metadata=dict(memory.metadata)
    )


def narrowed(mimir: Mimir, namespace: Namespace | str, filter: Filter) -> dict[str, Any]:
    """The arguments of `Mimir.recall` that let through what the filter does, before k is taken.

    A dict is evaluated over columns in memory; a function needs every document of the namespace
    opened, and its errors reach the caller.
    """
    if filter is None:
        return {}
    if not callable(filter):
        return {"where": filter}
    memories = mimir.memories(namespace=namespace)
    return {"among": [memory.id for memory in memories if filter(as_document(memory))]}
