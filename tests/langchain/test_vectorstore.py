"""Documents go in, are replaced, come back as they were, and are erased."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.load import dumps

from mimir_core import Item, KdfProfile, Mimir
from mimir_core.errors import (
    CannotUnlock,
    EmbeddingError,
    InvalidArgument,
    InvalidMetadata,
    InvalidText,
    InvalidVector,
    NotSerializable,
    SpaceMismatch,
)
from mimir_langchain import MimirEmbeddings, MimirVectorStore

from ..vault.vaults import PASSPHRASE, create, reopen
from .conftest import ANIMALS, WordEmbeddings

FAST = KdfProfile.INSECURE_FOR_TESTS


def test_documents_come_back_as_they_were(store: MimirVectorStore) -> None:
    """Text, metadata and id return; what the caller does to them afterwards changes nothing."""
    before = copy.deepcopy(ANIMALS)
    found = store.get_by_ids([each.id or "" for each in ANIMALS])
    assert found == before == ANIMALS
    found[0].metadata["legs"] = 5
    assert store.get_by_ids(["cat"])[0].metadata["legs"] == 4


def test_metadata_of_every_kind_returns(mimir: Mimir) -> None:
    """Nested lists and dicts, bools, nulls and floats keep their types."""
    place = {"lines": {"from": 1, "to": 9}}
    metadata = {"loc": place, "tags": ["a", 1, None], "ok": True, "x": 0.5}
    store = MimirVectorStore(mimir)
    store.add_texts(["a text"], [metadata], ids=["1"])
    assert store.get_by_ids(["1"])[0].metadata == metadata


def test_a_document_replaces_the_one_of_its_id(store: MimirVectorStore, mimir: Mimir) -> None:
    """An upsert leaves one document, the new one, and of an id given twice the last."""
    store.add_texts(["the cat sleeps", "the cat purrs"], ids=["cat", "cat"])
    assert [each.page_content for each in store.get_by_ids(["cat"])] == ["the cat purrs"]
    assert mimir.namespaces() == {("langchain", "vectors"): 4}
    assert "Pixel" not in [word for memory in mimir.memories() for word in memory.text.split()]


def test_ids_may_be_mixed(mimir: Mimir) -> None:
    """Texts without an id get one of their own; those with one keep it."""
    store = MimirVectorStore(mimir)
    ids: list[Any] = ["x", None, ""]
    given = store.add_texts(["one", "two", "three"], ids=ids)
    assert given[0] == "x"
    assert len(set(given)) == 3
    assert [each.page_content for each in store.get_by_ids(given)] == ["one", "two", "three"]


def test_iterables_are_read_once(mimir: Mimir, words: WordEmbeddings) -> None:
    """Generators of texts, metadata, ids and documents do as well as lists."""
    store = MimirVectorStore(mimir, words)
    store.add_texts(
        (text for text in ("one", "two")),
        ({"n": n} for n in (1, 2)),  # type: ignore[arg-type]  # wider than the interface
        ids=(id_ for id_ in "ab"),  # type: ignore[arg-type]  # wider than the interface
    )
    store.add_documents(each for each in ANIMALS)
    assert store.get_by_ids(["b"]) == [Document(id="b", page_content="two", metadata={"n": 2})]
    assert store.get_by_ids(["eel"]) == ANIMALS[3:]


def test_nothing_added_is_nothing_done(mimir: Mimir, words: WordEmbeddings) -> None:
    """An empty batch writes nothing and asks the model nothing."""
    assert MimirVectorStore(mimir, words).add_texts([]) == []
    assert MimirVectorStore(mimir, words).add_documents([]) == []
    assert mimir.stats().memories == 0
    assert words.texts == []


def test_lookups_keep_the_order_asked_for(store: MimirVectorStore) -> None:
    """`get_by_ids` answers in the order of the ids and passes over those it does not know."""
    assert [each.id for each in store.get_by_ids(["eel", "yeti", "cat"])] == ["eel", "cat"]


def test_deleting_erases(store: MimirVectorStore, mimir: Mimir) -> None:
    """Deleting by ids passes over unknown ones; an empty list deletes nothing."""
    assert store.delete(["cat", "yeti", "cat"]) is True
    assert store.delete([]) is True
    assert {each.key for each in mimir.memories()} == {"dog", "crow", "eel"}
    assert all(each.id != "cat" for each in store.similarity_search("cat Pixel", k=4))


def test_deleting_without_ids_empties_the_namespace_alone(
    store: MimirVectorStore, mimir: Mimir
) -> None:
    """`delete()` erases all documents of its namespace and nothing beside it."""
    other = MimirVectorStore.from_documents(ANIMALS, mimir=mimir, namespace="other")
    below = ("langchain", "vectors", "below")
    mimir.remember("a neighbour", namespace=below)
    assert store.delete() is True
    assert store.delete() is True
    assert store.similarity_search("cat") == []
    assert mimir.namespaces() == {below: 1, ("other",): 4}
    assert other.get_by_ids(["cat"]) == ANIMALS[:1]


def test_namespaces_are_apart(mimir: Mimir, words: WordEmbeddings) -> None:
    """The same id lives in two namespaces, each with a model of its own; neither sees the other."""
    mine = MimirVectorStore(mimir, words, namespace=("ana", "vectors"))
    yours = MimirVectorStore(mimir, DeterministicFakeEmbedding(size=6), namespace="bo")
    mine.add_texts(["the cat is Ana's"], ids=["1"])
    yours.add_texts(["the dog is Bo's"], ids=["1"])
    assert [each.page_content for each in mine.similarity_search("dog")] == ["the cat is Ana's"]
    assert [each.page_content for each in yours.hybrid_search("cat")] == ["the dog is Bo's"]
    yours.delete(["1"])
    assert mine.get_by_ids(["1"]) != []


def test_the_users_model_sees_the_bare_text(mimir: Mimir, words: WordEmbeddings) -> None:
    """The user's model embeds `page_content` and nothing of the metadata."""
    store = MimirVectorStore(mimir, words)
    words.texts.clear()
    store.add_texts(["I painted a lake"], [{"speaker": "Ana"}], ids=["1"])
    assert set(words.texts) - {"dimension"} == {"I painted a lake"}
    exactly = words.embed_query("I painted a lake")
    [(_, score)] = store.similarity_search_with_score_by_vector(exactly)
    assert score == pytest.approx(1, abs=1e-2)


def test_the_vaults_embedder_is_the_cores(store: MimirVectorStore, mimir: Mimir) -> None:
    """A document has the vector that `Mimir.remember` gives the same text."""
    twin = mimir.remember(ANIMALS[0].page_content, namespace="twin")
    cat = mimir.get(key="cat", namespace=("langchain", "vectors")).id
    assert (mimir.vectors([twin]) == mimir.vectors([cat])).all()


def test_own_embeddings_are_the_same_space(store: MimirVectorStore, mimir: Mimir) -> None:
    """The vault's embedder passed as `MimirEmbeddings` reads what it wrote without."""
    same = MimirVectorStore(mimir, MimirEmbeddings(mimir))
    assert same.similarity_search("cat", k=1)[0].id == store.similarity_search("cat", k=1)[0].id
    assert isinstance(store.embeddings, MimirEmbeddings)


def test_another_model_is_refused(mimir: Mimir, words: WordEmbeddings) -> None:
    """Neither the vectors nor the queries of another model enter a namespace."""
    MimirVectorStore(mimir, words).add_texts(["a text"], ids=["1"])
    for other in (None, WordEmbeddings(model="words-2"), WordEmbeddings(size=8)):
        stranger = MimirVectorStore(mimir, other)
        with pytest.raises(SpaceMismatch):
            stranger.add_texts(["another text"])
        with pytest.raises(SpaceMismatch):
            stranger.similarity_search("text")
    assert mimir.stats().memories == 1


def test_a_model_is_known_by_its_name(mimir: Mimir, words: WordEmbeddings) -> None:
    """A second instance of the model fits, and one in a cache; a name of the user's counts."""

    class Cached(WordEmbeddings):
        underlying_embeddings = words

    MimirVectorStore(mimir, words).add_texts(["a text"])
    assert MimirVectorStore(mimir, WordEmbeddings()).similarity_search("text") != []
    assert MimirVectorStore(mimir, Cached()).similarity_search("text") != []
    with pytest.raises(SpaceMismatch):
        MimirVectorStore(mimir, words, space="words, trained again").similarity_search("text")


IMPOSSIBLE = ["", "x" * 1_025, "é" * 513, "half \ud800"]


async def test_ids_that_nobody_can_have_are_passed_over(store: MimirVectorStore) -> None:
    """An id that is empty, too long or no text in UTF-8 is absent, and no error."""
    ids = [IMPOSSIBLE[0], "cat", *IMPOSSIBLE[1:], "dog"]
    assert store.get_by_ids(ids) == ANIMALS[:2]
    assert store.get_by_ids(IMPOSSIBLE) == []
    assert await store.aget_by_ids(ids) == ANIMALS[:2]
    assert store.delete(IMPOSSIBLE)
    assert await store.adelete(ids)
    assert store.get_by_ids(["cat", "dog", "crow"]) == [ANIMALS[2]]


def test_lists_may_be_arrays(store: MimirVectorStore) -> None:
    """Whether a list is given is not asked of the list itself, which may be an array."""
    ids: Any = np.array(["x", "y"])
    assert store.add_texts(np.array(["one", "two"]), ids=ids) == ["x", "y"]
    documents = [Document("three"), Document("four", id="kept")]
    assert store.add_documents(documents, ids=ids) == ["x", "y"]
    assert store.add_documents(documents[1:], ids=[]) == ["kept"]
    assert [each.page_content for each in store.get_by_ids(ids)] == ["three", "four"]


@pytest.mark.parametrize("text", ["", " \n\t", None, 7])
def test_an_empty_text_is_named_and_nothing_written(
    mimir: Mimir, words: WordEmbeddings, text: Any
) -> None:
    """A text without a visible character stops the whole batch before any model is asked."""
    with pytest.raises(InvalidText, match=r"^document 1: "):
        MimirVectorStore(mimir, words).add_texts(["fine", text, "fine too"])
    assert mimir.stats().memories == 0
    assert words.texts == []


@pytest.mark.parametrize(
    "metadata",
    [{"x": object()}, {"x": float("nan")}, {"x": {1}}, {"x": 1 << 64}, {"$x": 1}, {"": 1}, {1: 2}],
)
def test_metadata_that_cannot_be_held_is_refused(store: MimirVectorStore, metadata: Any) -> None:
    """Metadata outside what filters compare stops the whole batch; older documents stay."""
    with pytest.raises(InvalidMetadata):
        store.add_texts(["new", "worse"], [{}, metadata], ids=["cat", "x"])
    assert store.get_by_ids(["cat", "x"]) == ANIMALS[:1]


BAD_ADDS: list[Callable[[MimirVectorStore], object]] = [
    lambda store: store.add_texts(["a", "b"], [{}]),
    lambda store: store.add_texts(["a", "b"], ids=["1"]),
    lambda store: store.add_texts(["a"], ids=["1", "2"]),
    lambda store: store.add_texts("a text"),
    lambda store: store.add_texts(["a", "b"], ids="ab"),  # type: ignore[arg-type]  # is tested
    lambda store: store.add_texts(["a"], ids=["x" * 1025]),
    lambda store: store.add_texts(["a"], ids=[5]),  # type: ignore[list-item]  # is tested
    lambda store: store.delete(where={"legs": 4}),
    lambda store: store.delete("cat"),
]


@pytest.mark.parametrize("call", BAD_ADDS)
def test_bad_input_changes_nothing(
    store: MimirVectorStore, mimir: Mimir, call: Callable[[MimirVectorStore], object]
) -> None:
    """Lists of unequal lengths, ids that are no names and unknown selections are refused."""
    with pytest.raises((InvalidArgument, InvalidText)):
        call(store)
    assert {each.key for each in mimir.memories()} == {"cat", "dog", "crow", "eel"}


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([[float("nan"), 1.0]], InvalidVector),
        ([[0.0, 0.0]], InvalidVector),
        ([[1.0, 2.0, 3.0]], InvalidVector),
        ([], EmbeddingError),
        ([["a", "b"]], EmbeddingError),
    ],
)
def test_a_broken_model_writes_nothing(
    mimir: Mimir, rows: list[list[Any]], error: type[Exception]
) -> None:
    """Vectors that are not finite, zero, too few or of another size are refused."""

    class Broken(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return rows

        def embed_query(self, text: str) -> list[float]:
            return [1.0, 0.0]

    with pytest.raises(error):
        MimirVectorStore(mimir, Broken()).add_texts(["a text"])
    assert mimir.stats().memories == 0


def test_only_a_vault_and_embeddings_will_do(mimir: Mimir, path: Path) -> None:
    """A path for a vault, or a function for Embeddings, is refused at once."""
    with pytest.raises(InvalidArgument):
        MimirVectorStore(str(path))  # type: ignore[arg-type]  # is what is tested
    with pytest.raises(InvalidArgument):
        MimirVectorStore(mimir, len)  # type: ignore[arg-type]  # is what is tested
    with pytest.raises(InvalidArgument):
        MimirVectorStore.from_texts(["a text"], None)


def test_documents_outlive_the_process(path: Path, words: WordEmbeddings) -> None:
    """What was added is there after closing and opening, found by the same model."""
    with create(path) as mimir:
        MimirVectorStore.from_documents(ANIMALS, words, mimir=mimir)
    with reopen(path) as mimir:
        store = MimirVectorStore(mimir, WordEmbeddings())
        assert store.similarity_search("what is the cat called", k=1) == ANIMALS[:1]
        assert store.max_marginal_relevance_search("the dog", k=1) == ANIMALS[1:2]


def test_a_path_and_a_passphrase_will_do(path: Path, words: WordEmbeddings) -> None:
    """`from_path` creates the vault, opens it the next time, and refuses a wrong passphrase."""
    for _ in range(2):
        store = MimirVectorStore.from_path(path, PASSPHRASE, words, profile=FAST, namespace="docs")
        store.add_documents(ANIMALS)
        assert store.get_by_ids(["cat"]) == ANIMALS[:1]
        store.close()
    with pytest.raises(CannotUnlock):
        MimirVectorStore.from_path(path, "another passphrase", words, profile=FAST)
    with pytest.raises(InvalidArgument):
        MimirVectorStore.from_path(path, PASSPHRASE, len, profile=FAST)  # type: ignore[arg-type]
    with reopen(path) as mimir:  # the refusal left nothing open
        assert mimir.namespaces() == {("docs",): 4}


def test_no_word_of_a_document_is_in_the_file(path: Path, words: WordEmbeddings) -> None:
    """Text, metadata, ids and namespaces are sealed; so are the ones replaced and deleted."""
    with create(path) as mimir:
        store = MimirVectorStore(mimir, words, namespace="canaryspace")
        store.add_texts(["canarytext sings", "canarybare"], [{"canaryfield": "canaryvalue"}, {}],
                        ids=["canaryid", "b"])  # fmt: skip
        store.add_texts(["canarynew"], ids=["canaryid"])
        store.hybrid_search("canaryquery", filter={"canaryfield": "canaryvalue"})
        store.delete(["b"])
    for file in path.parent.iterdir():
        assert b"canary" not in file.read_bytes().lower()


def test_handles_stay_where_they_are(store: MimirVectorStore, words: WordEmbeddings) -> None:
    """A store shows nothing in its repr and cannot be pickled or copied; nor can its retriever."""
    retriever = store.as_retriever(search_kwargs={"filter": {"owner": "canary"}})
    assert repr(store) == "<MimirVectorStore>"
    shown = [repr(retriever), str(retriever.model_dump()), dumps(retriever), dumps(store)]
    assert all("canary" not in each and "Mimir object" not in each for each in shown)
    for each in (store, retriever):
        with pytest.raises(NotSerializable):
            pickle.dumps(each)
        with pytest.raises(NotSerializable):
            copy.deepcopy(each)


async def test_a_store_is_made_in_async_as_in_sync(mimir: Mimir) -> None:
    """`afrom_documents` and `afrom_texts` need no Embeddings either; metadata may be None."""
    documents = [Document(id="a", page_content="cats purr", metadata={"n": 1})]
    one = await MimirVectorStore.afrom_documents(documents, mimir=mimir)
    two = await MimirVectorStore.afrom_texts(
        ["dogs bark", "eels swim"],
        metadatas=[None, {"n": 2}],  # type: ignore[list-item]  # is what is tested
        ids=["b", "c"],
        mimir=mimir,
    )
    assert one.get_by_ids(["a"]) == documents
    assert [each.metadata for each in two.get_by_ids(["a", "b", "c"])] == [{"n": 1}, {}, {"n": 2}]


def test_threads_share_a_store(mimir: Mimir, words: WordEmbeddings) -> None:
    """Eight threads that add, replace, search and delete at once lose nothing and mix nothing."""
    store = MimirVectorStore(mimir, words)

    def work(number: int) -> None:
        for turn in range(6):
            ids = [f"{number}-{turn}", f"{number}-last"]
            store.add_texts([f"worker {number} says {turn}", f"turn {turn}"], ids=ids)
            assert store.similarity_search(f"worker {number} says {turn}", k=1) != []
            assert store.max_marginal_relevance_search("worker", k=2) != []
        store.delete([f"{number}-0"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    kept = [f"{number}-{turn}" for number in range(8) for turn in range(1, 6)]
    assert [each.id for each in store.get_by_ids(kept)] == kept
    last = store.get_by_ids([f"{number}-last" for number in range(8)])
    assert [each.page_content for each in last] == ["turn 5"] * 8
    assert mimir.stats().memories == 8 * 6


def test_plain_memories_are_documents_too(mimir: Mimir) -> None:
    """Where `Mimir.remember` filled the namespace, a document's id is its memory's."""
    id_ = mimir.remember_many([Item("the cat is called Pixel", metadata={"legs": 4})])[0]
    store = MimirVectorStore(mimir, namespace="default")
    [found] = store.similarity_search("cat", filter={"legs": 4})
    assert found == Document(id=id_, page_content="the cat is called Pixel", metadata={"legs": 4})
    store.add_texts(["the dog is called Rex"], ids=["dog"])
    other = mimir.remember("a cat elsewhere", namespace="elsewhere")
    assert [each.id for each in store.get_by_ids(["dog", id_, other])] == ["dog", id_]
    store.delete(["dog", id_, other, id_, "0" * 64])
    assert mimir.stats().memories == 1
    assert mimir.get(other).text == "a cat elsewhere"
