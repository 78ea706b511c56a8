"""The built-in model as LangChain Embeddings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from mimir_core import Mimir, MiniLM
from mimir_core.errors import InvalidArgument, InvalidText, ModelMissing
from mimir_langchain import MimirEmbeddings, MimirRetriever, MimirVectorStore

from ..vault.vaults import FAST, PASSPHRASE
from .conftest import ANIMALS

try:
    MiniLM()
except ModelMissing:
    pytest.skip("the built-in model was not built", allow_module_level=True)


class TestUnit(EmbeddingsUnitTests):
    """LangChain's own unit suite, on the built-in model."""

    @property
    def embeddings_class(self) -> type[MimirEmbeddings]:
        return MimirEmbeddings


class TestIntegration(EmbeddingsIntegrationTests):
    """LangChain's own integration suite, on the built-in model."""

    @property
    def embeddings_class(self) -> type[MimirEmbeddings]:
        return MimirEmbeddings


class TestOfAVault(EmbeddingsIntegrationTests):
    """The same on a vault's embedder."""

    @pytest.fixture(autouse=True)
    def _vault(self, mimir: Mimir) -> None:
        self._mimir = mimir

    @property
    def embeddings_class(self) -> type[MimirEmbeddings]:
        return MimirEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"mimir": self._mimir}


@pytest.fixture(scope="module")
def model() -> MimirEmbeddings:
    """The built-in model."""
    return MimirEmbeddings()


def test_vectors_are_the_models(model: MimirEmbeddings) -> None:
    """Vectors are Python floats, of unit length, and those of MiniLM."""
    texts = ["the cat is called Pixel", "it rains"]
    found = model.embed_documents(texts)
    assert {type(number) for vector in found for number in vector} == {float}
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.allclose(found, MiniLM().embed_documents(texts), atol=1e-5)
    assert np.allclose(model.embed_query(texts[0]), found[0], atol=1e-5)


async def test_async_equals_sync(model: MimirEmbeddings) -> None:
    """The async twins give the vectors of the sync methods, many at once too."""
    texts = [f"sentence number {n}" for n in range(8)]
    found = await asyncio.gather(*map(model.aembed_query, texts))
    assert np.allclose(found, model.embed_documents(texts), atol=1e-5)
    assert np.allclose(await model.aembed_documents(texts), found, atol=1e-5)


def test_other_stores_take_it(model: MimirEmbeddings) -> None:
    """LangChain's own store finds by meaning with it."""
    store = InMemoryVectorStore.from_documents(ANIMALS, model)
    assert store.similarity_search("which bird is up there?", k=1)[0].id == "crow"


def test_the_vault_reads_long_texts_to_their_end(mimir: Mimir, model: MimirEmbeddings) -> None:
    """A store with the built-in model finds what stands at the end of a long text."""
    store = MimirVectorStore(mimir, model)
    filler = "The committee met and adjourned without any decision. " * 60
    store.add_texts([filler, filler + "Penguins are birds that cannot fly."], ids=["a", "b"])
    scores = {each.id: score for each, score in store.similarity_search_with_score("penguins")}
    assert scores["b"] > scores["a"] + 0.01


class Counting(MiniLM):
    """The built-in model, which notes how many queries it embeds at once."""

    def __init__(self) -> None:
        super().__init__()
        self.active = self.most = 0

    def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        self.active += 1
        self.most = max(self.most, self.active)
        vector = super().embed_query(text)
        self.active -= 1
        return vector


async def test_it_embeds_one_query_at_a_time(path: Path) -> None:
    """Concurrent `ainvoke`s wait for each other instead of crowding out the event loop."""
    model = Counting()
    with Mimir.create(path, PASSPHRASE, embedder=model, profile=FAST) as mimir:
        store = MimirVectorStore.from_documents(ANIMALS, mimir=mimir)
        for retriever in (
            store.as_retriever(),
            MimirRetriever(mimir, namespace=("langchain", "vectors")),
        ):
            found = await asyncio.gather(*(retriever.ainvoke("cat") for _ in range(12)))
            assert found == [found[0]] * 12
    assert model.most == 1


def test_it_shows_nothing(model: MimirEmbeddings, mimir: Mimir) -> None:
    """Its repr names the class alone."""
    assert repr(model) == repr(MimirEmbeddings(mimir)) == "<MimirEmbeddings>"


def test_only_a_vault_will_do(path: Path) -> None:
    """A path in place of an open vault is refused at once."""
    with pytest.raises(InvalidArgument):
        MimirEmbeddings(str(path))  # type: ignore[arg-type]  # is what is tested


@pytest.mark.parametrize("text", ["", "  ", None])
def test_bad_text_is_refused(model: MimirEmbeddings, text: Any) -> None:
    """An empty text, or none, is a typed error."""
    with pytest.raises(InvalidText):
        model.embed_query(text)
    with pytest.raises(InvalidText):
        model.embed_documents(["fine", text])
