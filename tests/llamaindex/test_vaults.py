"""What every class needs of a vault is checked the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mimir_llamaindex
from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, InvalidNamespace
from mimir_llamaindex.vaults import name_of

MAKERS = (
    "MimirChatStore", "MimirDocumentStore", "MimirFileSystem", "MimirIndexStore", "MimirKVStore",
    "MimirMemoryBlock", "MimirRetriever", "MimirVectorStore", "mimir_storage_context",
)  # fmt: skip


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each class, and what makes a storage context."""
    made: Callable[..., Any] = getattr(mimir_llamaindex, request.param)
    return made


def test_only_an_open_vault_will_do(make: Callable[..., Any]) -> None:
    """A path instead of a vault is told at once, and not shown."""
    with pytest.raises(InvalidArgument, match="open vault") as caught:
        make("secret.mimir")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("namespace", ["a.b", (), ("",), ("a\0b",), 3, ("x",) * 17])
def test_a_wrong_namespace_is_told_at_once(
    make: Callable[..., Any], mimir: Mimir, namespace: object
) -> None:
    """Nothing waits for the first write."""
    with pytest.raises(InvalidNamespace):
        make(mimir, namespace)


def test_an_embedding_model_takes_an_open_vault() -> None:
    """A path instead of a vault is told at once."""
    with pytest.raises(InvalidArgument, match="open vault"):
        mimir_llamaindex.MimirEmbedding("agent.mimir")  # type: ignore[arg-type]


@given(st.lists(st.text(max_size=3) | st.sampled_from(["\ud800", "x" * 2000, "#", "#" + "0" * 64])))
def test_texts_have_names_of_their_own(texts: list[str]) -> None:
    """Any text has a name that a vault can hold, and no two texts have the same."""
    names = {name_of(text, "#") for text in texts}
    assert len(names) == len(set(texts))
    assert all(1 <= len(name.encode()) <= 1024 for name in names)
    digests = {name_of(name, "#") for name in names if name.startswith("#")}
    assert not digests & names
