"""The built-in embedding model behind LlamaIndex's interface."""

from __future__ import annotations

import asyncio
import copy
import pickle
import socket
import sys
import threading
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import Document, TextNode

from mimir_core import FunctionEmbedder, Mimir, MiniLM
from mimir_core.embedding import HashEmbedder, embed_whole
from mimir_core.errors import InvalidText, NotSerializable
from mimir_llamaindex import MimirEmbedding, MimirVectorStore

TEXTS = ["a cat sleeps", "Das Boot ist voll", "🦊", "x " * 700, "fox\nhound"]


@pytest.fixture(scope="module")
def real() -> MimirEmbedding:
    """The built-in MiniLM."""
    return MimirEmbedding()


@pytest.fixture(params=["minilm", "of a vault"])
def model(request: pytest.FixtureRequest, real: MimirEmbedding, mimir: Mimir) -> MimirEmbedding:
    """The built-in model, and that of a vault."""
    return real if request.param == "minilm" else MimirEmbedding(mimir)


async def test_all_ways_agree(model: MimirEmbedding) -> None:
    """Batch equals single, async equals sync, as lists of floats of one length."""
    single = [model.get_text_embedding(text) for text in TEXTS]
    assert {len(vector) for vector in single} == {model.embedder.space.dimension}
    assert {type(number) for vector in single for number in vector} == {float}
    for way in (
        model.get_text_embedding_batch(TEXTS),
        await model.aget_text_embedding_batch(TEXTS),
        [await model.aget_text_embedding(text) for text in TEXTS],
        [found.embedding for found in model([TextNode(text=text) for text in TEXTS])],
        [found.embedding for found in await model.acall([TextNode(text=text) for text in TEXTS])],
    ):
        np.testing.assert_allclose(way, single, atol=1e-5)
    query = model.get_query_embedding(TEXTS[0])
    np.testing.assert_allclose(await model.aget_query_embedding(TEXTS[0]), query, atol=1e-6)
    np.testing.assert_allclose(query, single[0], atol=1e-5)


def test_small_batches_change_nothing(mimir: Mimir) -> None:
    """How many texts are embedded at a time does not matter."""
    large, small = MimirEmbedding(mimir), MimirEmbedding(mimir, embed_batch_size=2)
    assert large.get_text_embedding_batch(TEXTS) == small.get_text_embedding_batch(TEXTS)


def test_vectors_have_unit_length(model: MimirEmbedding) -> None:
    """A cosine is a dot product."""
    lengths = np.linalg.norm(model.get_text_embedding_batch(TEXTS), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_long_texts_count_whole(real: MimirEmbedding) -> None:
    """The tail of a text of several windows is part of its vector, as in the vault itself."""
    head = "The harbour was quiet. " * 100
    one, two = head + "A volcano erupted.", head + "She plays the violin in an orchestra."
    first, second = real.get_text_embedding_batch([one, two])
    assert first != second
    texts = [one, "short", two]
    expected = embed_whole(MiniLM(), texts)
    np.testing.assert_allclose(real.get_text_embedding_batch(texts), expected, atol=1e-5)


def test_meaning_counts(real: MimirEmbedding) -> None:
    """Texts that say alike are nearer than others."""
    vectors = real.get_text_embedding_batch(["a kitten naps", "interest rates rise"])
    query = real.get_query_embedding("a small cat is sleeping")
    near, far = (real.similarity(query, vector) for vector in vectors)
    assert near > far + 0.3


def test_the_name_holds_the_digest(real: MimirEmbedding, mimir: Mimir) -> None:
    """Caches tell one model from another by its name."""
    other = MimirEmbedding(mimir)
    assert real.embedder.space.digest in real.model_name
    assert real.model_name != other.model_name
    nodes = [TextNode(text="x")]
    assert get_transformation_hash(nodes, real) != get_transformation_hash(nodes, other)
    assert get_transformation_hash(nodes, real) == get_transformation_hash(nodes, MimirEmbedding())
    assert real.class_name() == real.to_dict()["class_name"] == "MimirEmbedding"


def test_all_that_blocks_has_a_twin() -> None:
    """No async or batch method is left to the base class, whose versions block or loop."""
    ours = vars(MimirEmbedding)
    abstract = {name for name in vars(BaseEmbedding) if name.startswith(("_get_", "_aget_"))}
    inherited = {name for name in abstract if "cached" in name or "limited" in name}
    assert abstract - inherited <= set(ours)


async def test_the_event_loop_goes_on(mimir: Mimir) -> None:
    """Async methods embed in another thread than the loop's."""
    threads: list[int] = []

    def documents(texts: list[str]) -> list[list[float]]:
        threads.append(threading.get_ident())
        return [[1.0, 2.0] for _ in texts]

    embedder = FunctionEmbedder("witness", documents, dimension=2)
    model = MimirEmbedding(mimir.with_embedder(embedder))
    await model.aget_query_embedding("a")
    await model.aget_text_embedding("b")
    await model.aget_text_embedding_batch(["c", "d"])
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_many_queries_at_once_agree(real: MimirEmbedding) -> None:
    """Fifty queries embedded at once are what they are one after the other."""
    texts = [f"query number {number}" for number in range(50)]
    together = await asyncio.gather(*map(real.aget_query_embedding, texts))
    np.testing.assert_allclose(together, [real.get_query_embedding(t) for t in texts], atol=1e-6)


@pytest.mark.parametrize("text", ["", " ", "\n"])
async def test_an_empty_text_is_refused(real: MimirEmbedding, text: str) -> None:
    """An empty text has no meaning to embed; where the embedder refuses it, so do all ways."""
    try:
        real.embedder.embed_query(text)
    except InvalidText:
        with pytest.raises(InvalidText):
            real.get_text_embedding(text)
        with pytest.raises(InvalidText):
            await real.aget_text_embedding_batch(["good", text])
    else:
        assert len(await real.aget_text_embedding(text)) == 384


def test_no_network_no_key_no_torch(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index works without a provider's key, without reaching out and without torch."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("reached out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = MimirEmbedding()
    index = VectorStoreIndex.from_vector_store(MimirVectorStore(mimir, model=model), model)
    for text in ("the cat is called Pixel", "taxes are due in May"):
        index.insert(Document(text=text))
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("what is the pet's name?")
    assert found.text == "the cat is called Pixel"
    assert "torch" not in sys.modules


def test_the_built_in_model_goes_to_workers(real: MimirEmbedding) -> None:
    """A pickle of the built-in model makes it anew, with its options."""
    again = pickle.loads(pickle.dumps(MimirEmbedding(embed_batch_size=3)))
    assert (again.embed_batch_size, again.model_name) == (3, real.model_name)
    np.testing.assert_allclose(
        again.get_query_embedding("fox"), real.get_query_embedding("fox"), atol=1e-6
    )


def test_a_vaults_embedder_cannot_be_copied_out(mimir: Mimir) -> None:
    """Pickle raises; nothing of the vault leaves."""
    with pytest.raises(NotSerializable):
        pickle.dumps(MimirEmbedding(mimir))


def test_a_copy_shares_the_model(real: MimirEmbedding) -> None:
    """A shallow copy embeds as the original does."""
    assert copy.copy(real).embedder is real.embedder


def test_it_serves_a_pipeline(mimir: Mimir) -> None:
    """As a transformation it fills a store."""
    store = MimirVectorStore(mimir)
    pipeline = IngestionPipeline(transformations=[MimirEmbedding(mimir)], vector_store=store)
    pipeline.run(nodes=[TextNode(id_="a", text="a text"), TextNode(id_="b", text="another")])
    assert sorted(found.node_id for found in store.get_nodes()) == ["a", "b"]


def test_a_vaults_embedder_is_used(mimir: Mimir) -> None:
    """Given a vault, its own embedder embeds; if that is the built-in one, workers can have it."""
    assert MimirEmbedding(mimir).embedder is mimir.embedder
    assert isinstance(MimirEmbedding(mimir).embedder, HashEmbedder)
    built_in = MimirEmbedding(mimir.with_embedder(MiniLM()))
    assert pickle.loads(pickle.dumps(built_in)).model_name == built_in.model_name
