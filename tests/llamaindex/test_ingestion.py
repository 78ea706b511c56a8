"""An ingestion pipeline with documents, vectors and cache in one vault, on each strategy."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.extractors import KeywordExtractor
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
from llama_index.core.readers import ReaderConfig, StringIterableReader
from llama_index.core.schema import (
    BaseNode,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
    TransformComponent,
)

from mimir_core import Mimir, MiniLM
from mimir_llamaindex import (
    MimirDocumentStore,
    MimirEmbedding,
    MimirKVStore,
    MimirVectorStore,
    mimir_storage_context,
)
from mimir_llamaindex.docstore import content_id

from ..vault.vaults import FAST, PASSPHRASE, create, reopen
from .conftest import Call
from .ingest_worker import long_text, transformations
from .watched import found_in

UPSERTS = DocstoreStrategy.UPSERTS
UPSERTS_AND_DELETE = DocstoreStrategy.UPSERTS_AND_DELETE
DUPLICATES_ONLY = DocstoreStrategy.DUPLICATES_ONLY
ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
LONG = long_text()


class Loud(TransformComponent):
    """Ends each text with an exclamation mark, and counts how often it is asked to."""

    _runs: list[int] = PrivateAttr(default_factory=list)  # a field would be in the cache's key

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        self._runs.append(len(nodes))
        for node in nodes:
            node.set_content(node.get_content() + "!")
        return list(nodes)


class Failing(TransformComponent):
    """Fails."""

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        raise RuntimeError("the transformation failed")


def splitter(**options: Any) -> SentenceSplitter:
    """Cuts into short chunks."""
    return SentenceSplitter(chunk_size=25, chunk_overlap=0, **options)


def pipeline(
    mimir: Mimir,
    strategy: DocstoreStrategy = UPSERTS,
    transformations: list[TransformComponent] | None = None,
    vectors: bool = True,
    **options: Any,
) -> IngestionPipeline:
    """A pipeline all of whose stores are in the vault."""
    embedded: list[TransformComponent] = [splitter(), MimirEmbedding(mimir)]
    return IngestionPipeline(
        transformations=embedded if transformations is None else transformations,
        docstore=MimirDocumentStore(mimir),
        vector_store=MimirVectorStore(mimir) if vectors else None,
        cache=IngestionCache(cache=MimirKVStore(mimir)),
        docstore_strategy=strategy,
        **options,
    )


def stored(mimir: Mimir) -> dict[str, list[str]]:
    """The texts in the vector store by their document."""
    found: dict[str, list[str]] = {}
    for node in MimirVectorStore(mimir).get_nodes():
        found.setdefault(str(node.ref_doc_id), []).append(node.get_content())
    return found


def documents(mimir: Mimir) -> dict[str, str]:
    """The texts in the document store by id."""
    return {key: doc.get_content() for key, doc in MimirDocumentStore(mimir).docs.items()}


def ids(mimir: Mimir, place: str) -> list[str]:
    """The ids of all memories of a store."""
    found = mimir.memories(namespace=("llamaindex", place), descendants=True)
    return [memory.id for memory in found]


def numbers(*names: str) -> list[Document]:
    """A document for each name."""
    return [Document(text=f"this is {name}", id_=name) for name in names]


def chunks(document: str, count: int) -> list[TextNode]:
    """Nodes that share a source document."""
    nodes = [TextNode(text=f"chunk {n}", id_=f"node-{n}") for n in range(count)]
    for node in nodes:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return nodes


# The cases of upstream's pipeline and cache


async def test_readers_and_documents(mimir: Mimir, call: Call) -> None:
    """What readers and documents bring in is transformed, and the result is in the stores."""
    reader = ReaderConfig(reader=StringIterableReader(), reader_kwargs={"texts": ["This is read."]})
    made = pipeline(
        mimir,
        transformations=[
            SentenceSplitter(),
            KeywordExtractor(llm=MockLLM()),
            MimirEmbedding(mimir),
        ],
        readers=[reader],
        documents=[Document(text="This is given.")],
    )
    nodes = await call(made.run)
    assert len(nodes) == 2
    assert all("excerpt_keywords" in node.metadata for node in nodes)
    assert sorted(documents(mimir).values()) == ["This is given.", "This is read."]
    assert len(stored(mimir)) == 2


async def test_ref_doc_id_through_two_parsers(mimir: Mimir, call: Call) -> None:
    """A node that went through two parsers still names the document it came from."""
    steps = [MarkdownNodeParser(), SentenceSplitter(), MimirEmbedding(mimir)]
    (node,) = await call(pipeline(mimir, transformations=steps).run, documents=numbers("one"))
    assert node.ref_doc_id == "one"
    assert stored(mimir) == {"one": ["this is one"]}


async def test_restart(path: Path, call: Call) -> None:
    """A pipeline on a vault that was opened again knows what it has seen; nothing needs saving."""
    steps = [splitter()]
    docs = [*numbers("one", "two"), *numbers("one")]
    with create(path) as mimir:
        made = pipeline(mimir, DUPLICATES_ONLY, steps, vectors=False)
        assert len(await call(made.run, documents=docs)) == 2
        assert len(await call(made.run, documents=docs[-1:])) == 0
    with reopen(path) as mimir:
        made = pipeline(mimir, DUPLICATES_ONLY, steps, vectors=False)
        assert len(await call(made.run, documents=docs[-1:])) == 0
        assert documents(mimir) == {"one": "this is one", "two": "this is two"}


async def test_without_docstore(mimir: Mimir, call: Call) -> None:
    """Without a document store every run takes everything, from the cache if it can."""
    loud = Loud()
    cache = IngestionCache(cache=MimirKVStore(mimir))
    made = IngestionPipeline(transformations=[splitter(), loud], cache=cache)
    first = await call(made.run, documents=numbers("one", "two", "one"))
    assert len(first) == 3
    again = await call(made.run, documents=numbers("one", "two", "one"))
    assert again == first
    assert loud._runs == [3]
    assert len(await call(made.run, documents=numbers("one"))) == 1
    assert loud._runs == [3, 1]


@pytest.mark.parametrize("strategy", [UPSERTS, DUPLICATES_ONLY])
async def test_changed_text(mimir: Mimir, call: Call, strategy: DocstoreStrategy) -> None:
    """A document whose text changed takes the place of the older one."""
    made = pipeline(mimir, strategy)
    nodes = await call(made.run, documents=[Document(text=LONG, id_="1"), *numbers("2")])
    assert len(nodes) > 10
    (node,) = await call(made.run, documents=[Document(text="short", id_="1"), *numbers("2")])
    assert node.get_content() == "short"
    assert documents(mimir) == {"1": "short", "2": "this is 2"}
    if strategy is UPSERTS:
        assert stored(mimir) == {"1": ["short"], "2": ["this is 2"]}


@pytest.mark.parametrize("strategy", [UPSERTS, DUPLICATES_ONLY])
async def test_changed_metadata(mimir: Mimir, call: Call, strategy: DocstoreStrategy) -> None:
    """A document whose metadata changed is taken again, with its new metadata."""
    made = pipeline(mimir, strategy)
    for kind in ("code", "documentation"):
        doc = Document(text="text", id_="1", metadata={"kind": kind})
        (node,) = await call(made.run, documents=[doc])
        assert node.metadata == {"kind": kind}
        (kept,) = MimirDocumentStore(mimir).docs.values()
        assert kept.metadata == {"kind": kind}
    if strategy is UPSERTS:
        (found,) = MimirVectorStore(mimir).get_nodes()
        assert found.metadata == {"kind": "documentation"}


@pytest.mark.parametrize("strategy", list(DocstoreStrategy))
async def test_nothing_twice(mimir: Mimir, call: Call, strategy: DocstoreStrategy) -> None:
    """A second run of the same documents finds nothing to do."""
    made = pipeline(mimir, strategy)
    assert len(await call(made.run, documents=numbers("one", "two", "three"))) == 3
    places = ("docs", "vectors")
    before = [ids(mimir, place) for place in places]
    assert len(await call(made.run, documents=numbers("one", "two", "three"))) == 0
    assert [ids(mimir, place) for place in places] == before
    assert len(stored(mimir)) == 3


async def test_duplicates_of_one_run(mimir: Mimir, call: Call) -> None:
    """Of documents of one content, one is taken."""
    same = [Document(text="same", id_=name) for name in "abc"]
    made = pipeline(mimir, DUPLICATES_ONLY)
    nodes = await call(made.run, documents=[*same, *numbers("other")])
    assert [node.get_content() for node in nodes] == ["same", "this is other"]


async def test_all_nodes_of_a_document(mimir: Mimir, call: Call) -> None:
    """Given as nodes, all chunks of a document are taken, in place of what it was before."""
    made = pipeline(mimir, transformations=[MimirEmbedding(mimir)])
    await call(made.run, documents=[Document(text="first version", id_="source")])
    result = await call(made.run, nodes=chunks("source", 5))
    assert {node.id_ for node in result} == {f"node-{n}" for n in range(5)}
    assert sorted(stored(mimir)["source"]) == [f"chunk {n}" for n in range(5)]
    info = MimirDocumentStore(mimir).get_ref_doc_info("source")
    assert info is not None
    assert len(info.node_ids) == 5


async def test_removed_documents(mimir: Mimir, call: Call) -> None:
    """What is no longer among the documents goes, from both stores."""
    made = pipeline(mimir, UPSERTS_AND_DELETE)
    await call(made.run, documents=numbers("one", "two", "three"))
    changed = Document(text="changed", id_="two")
    await call(made.run, documents=[*numbers("one"), changed])
    assert stored(mimir) == {"one": ["this is one"], "two": ["changed"]}
    assert documents(mimir) == {"one": "this is one", "two": "changed"}
    assert MimirDocumentStore(mimir).get_document_hash("three") is None


async def test_removed_documents_without_text(mimir: Mimir, call: Call) -> None:
    """That holds too where only hashes of documents are kept."""
    made = pipeline(mimir, UPSERTS_AND_DELETE)
    await call(made.run, documents=numbers("one", "two"), store_doc_text=False)
    await call(made.run, documents=numbers("two"), store_doc_text=False)
    assert stored(mimir) == {"two": ["this is two"]}


@pytest.mark.parametrize("strategy", [UPSERTS, UPSERTS_AND_DELETE])
async def test_strategies_need_vectors(
    mimir: Mimir, call: Call, strategy: DocstoreStrategy
) -> None:
    """Without a vector store they fall back to duplicates for the run, with a warning."""
    made = pipeline(mimir, strategy, [splitter()], vectors=False)
    with pytest.warns(UserWarning, match="requires a vector store"):
        await call(made.run, documents=numbers("one"))
    assert made.docstore_strategy is strategy
    assert documents(mimir) == {"one": "this is one"}


@pytest.mark.parametrize("strategy", list(DocstoreStrategy))
async def test_failed_transformation(
    mimir: Mimir, call: Call, strategy: DocstoreStrategy
) -> None:
    """If a transformation fails, no document is stored, and no vector."""
    failing = pipeline(mimir, strategy, [splitter(), Failing()])
    with pytest.raises(RuntimeError):
        await call(failing.run, documents=numbers("one"))
    assert documents(mimir) == stored(mimir) == {}


@pytest.mark.parametrize("strategy", [UPSERTS, UPSERTS_AND_DELETE])
async def test_retry_after_a_failure(
    mimir: Mimir, call: Call, strategy: DocstoreStrategy
) -> None:
    """After a failed run of a changed document a good one brings both stores up to date."""
    made = pipeline(mimir, strategy)
    await call(made.run, documents=[Document(text="old", id_="1"), *numbers("2")])
    news = [Document(text="new", id_="1"), *numbers("2")]
    with pytest.raises(RuntimeError):
        await call(pipeline(mimir, strategy, [splitter(), Failing()]).run, documents=news)
    await call(made.run, documents=news)
    assert stored(mimir) == {"1": ["new"], "2": ["this is 2"]}
    assert documents(mimir) == {"1": "new", "2": "this is 2"}


def test_cache(mimir: Mimir) -> None:
    """A cache in the vault gives back what was put for the same nodes and transformation."""
    cache = IngestionCache(cache=MimirKVStore(mimir), collection="any name.at all")
    loud = Loud()
    node = TextNode(text="dummy")
    key = get_transformation_hash([node], loud)
    new = loud([node])
    cache.put(key, new)
    assert cache.get(key) == new
    assert cache.get(get_transformation_hash(new, loud)) is None
    assert cache.get(key, collection="another") is None
    cache.clear()
    assert cache.get(key) is None
    assert mimir.stats().memories == 0


def test_cache_of_a_large_run(mimir: Mimir) -> None:
    """What one transformation made of everything is one value, however large."""
    cache = IngestionCache(cache=MimirKVStore(mimir))
    nodes = [TextNode(text=f"{n} " + "x" * 10_000, embedding=[0.1] * 100) for n in range(900)]
    cache.put("key", nodes)
    assert cache.get("key") == nodes


# Crashes, and a real corpus


class Crash(BaseException):
    """Stands for the end of the process."""


class Crashing(MimirDocumentStore):
    """Never gets to write what was ingested."""

    def set_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        raise Crash

    async def aset_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        raise Crash


def crashing(mimir: Mimir, **options: Any) -> IngestionPipeline:
    """A pipeline that ends between the vectors' and the documents' write."""
    made = pipeline(mimir, **options)
    return made.model_copy(update={"docstore": Crashing(mimir)})


@pytest.mark.parametrize("strategy", [UPSERTS, UPSERTS_AND_DELETE])
@pytest.mark.parametrize("older", [True, False])
async def test_crash_and_retry(
    path: Path, call: Call, strategy: DocstoreStrategy, older: bool
) -> None:
    """After a crash between vectors and documents a retry leaves every chunk once.

    The cache is off, so that it is the ids made from content that do it; and it is another batch,
    as it is when a file was added meanwhile.
    """

    def options(mimir: Mimir) -> dict[str, Any]:
        steps: list[TransformComponent] = [splitter(id_func=content_id), MimirEmbedding(mimir)]
        return {"strategy": strategy, "transformations": steps, "disable_cache": True}

    news = [Document(text=LONG, id_="1"), *numbers("2")]
    with create(path) as mimir:
        if older:
            made = pipeline(mimir, **options(mimir))
            await call(made.run, documents=[Document(text="old", id_="1")])
        with pytest.raises(Crash):
            await call(crashing(mimir, **options(mimir)).run, documents=news)
        once = stored(mimir)
    with reopen(path) as mimir:
        assert stored(mimir) == once
        made = pipeline(mimir, **options(mimir))
        await call(made.run, documents=[*news, *numbers("3")])
        assert {**stored(mimir), "3": []} == {**once, "3": []}
        assert documents(mimir) == {"1": LONG, "2": "this is 2", "3": "this is 3"}


async def test_crash_and_retry_with_the_cache(path: Path, call: Call) -> None:
    """With the cache in the vault the same batch has the same ids, whoever made them."""
    docs = [Document(text=LONG, id_="1"), *numbers("2")]
    with create(path) as mimir:
        with pytest.raises(Crash):
            await call(crashing(mimir).run, documents=docs)
        once = stored(mimir)
    with reopen(path) as mimir:
        await call(pipeline(mimir).run, documents=docs)
        assert stored(mimir) == once


def test_killed_and_retried(path: Path) -> None:
    """That holds when the process is killed for good."""
    with create(path):
        pass
    command = [sys.executable, "-m", "tests.llamaindex.ingest_worker", str(path)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=240).returncode == -SIGKILL
    with reopen(path) as mimir:
        once = stored(mimir)
        assert len(once["1"]) > 10
        assert documents(mimir) == {}
        made = pipeline(mimir, transformations=transformations(mimir), disable_cache=True)
        made.run(documents=[Document(text=LONG, id_="1")])
        assert stored(mimir) == once
        assert documents(mimir) == {"1": LONG}


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    """The built-in model."""
    return MiniLM()


CANARIES = ("axolotlremoved", "axolotlkept")
QUESTIONS = [f"what does {CANARIES[0]} do?", "how do I partition my disk?", "sound is broken"]


def whole(mimir: Mimir) -> IngestionPipeline:
    """A pipeline whose stores are those of a storage context, with chunks as people use them."""
    context = mimir_storage_context(mimir, model=MimirEmbedding(mimir))
    return IngestionPipeline(
        transformations=[SentenceSplitter(id_func=content_id), MimirEmbedding(mimir)],
        docstore=context.docstore,
        vector_store=context.vector_store,
        cache=IngestionCache(cache=MimirKVStore(mimir)),
        docstore_strategy=UPSERTS_AND_DELETE,
    )


def asked(mimir: Mimir) -> list[list[NodeWithScore]]:
    """What an index on the vault finds for each question."""
    model = MimirEmbedding(mimir)
    store = mimir_storage_context(mimir, model=model).vector_store
    index = VectorStoreIndex.from_vector_store(store, embed_model=model)
    retriever = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=9)
    return [retriever.retrieve(question) for question in QUESTIONS]


def conversations(count: int) -> list[Document]:
    """Real chat conversations, a document each."""
    file = DATA / "ubuntu_irc_120k.jsonl.gz"
    if not file.exists():
        pytest.skip("../shared/data/ubuntu_irc_120k.jsonl.gz is absent")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(2_000)]
    texts = [
        ("\n".join(f"{row['speaker']}: {row['text']}" for row in turns), name)
        for name, turns in groupby(rows, key=lambda row: row["conversation"])
    ]
    pieces = [(text[at : at + 2_000], f"{name}/{at}") for text, name in texts
              for at in range(0, len(text), 2_000)]  # fmt: skip
    return [Document(text=text, id_=name) for text, name in pieces[:count]]


async def test_real_corpus(path: Path, tmp_path: Path, minilm: MiniLM, call: Call) -> None:
    """Real conversations: ingested, found after a restart, and gone when they are removed."""
    corpus = conversations(12)
    corpus[3] = Document(text=f"{corpus[3].text}\nzeno: the {CANARIES[0]} swims", id_="removed")
    corpus[4] = Document(text=f"{corpus[4].text}\nzeno: the {CANARIES[1]} flies", id_="kept")
    with Mimir.create(path, PASSPHRASE, embedder=minilm, profile=FAST) as mimir:
        await call(whole(mimir).run, documents=corpus)
        before = asked(mimir)
        assert before[0][0].node.ref_doc_id == "removed"
        whole(mimir).persist(str(tmp_path / "pipeline"))
    with Mimir.open(path, PASSPHRASE, embedder=minilm, profile=FAST) as mimir:
        assert asked(mimir) == before
        assert await call(whole(mimir).run, documents=corpus) == []
        del corpus[3]
        await call(whole(mimir).run, documents=corpus)
        assert set(documents(mimir)) == set(stored(mimir)) == {doc.id_ for doc in corpus}
        assert "removed" not in {hit.node.ref_doc_id for hits in asked(mimir) for hit in hits}
        recalled = mimir.recall(CANARIES[0], k=50, namespace=("llamaindex",), descendants=True)
        assert not any(CANARIES[0] in hit.text for hit in recalled)
        assert CANARIES[1] in mimir.recall(CANARIES[1], namespace=("llamaindex", "vectors"))[0].text
    assert found_in(path.parent, *CANARIES) == {}
    assert not any(file.is_file() for file in tmp_path.rglob("*"))
