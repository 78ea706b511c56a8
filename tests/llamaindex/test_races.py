"""Stores of LlamaIndex beside other processes: what is read, changed and written back is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from llama_index.core.schema import Document, NodeRelationship, TextNode

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument
from mimir_llamaindex import MimirDocumentStore, MimirFileSystem, MimirKVStore, kvstore

from ..vault.between import Work, places
from ..vault.vaults import create, reopen
from ..vault.worker import finish, start_worker
from .docstore_worker import CHUNKS, chunk

PARENT = Document(text="whole", id_="d")


def add(*numbers: int, allow_update: bool = True) -> Work:
    """Adds chunks of one document."""
    nodes = [chunk(PARENT, f"n{number}") for number in numbers]
    return lambda mimir: MimirDocumentStore(mimir).add_documents(nodes, allow_update)


def delete(number: int) -> Work:
    """Deletes a chunk."""
    return lambda mimir: MimirDocumentStore(mimir).delete_document(f"n{number}", raise_error=False)


def delete_all(mimir: Mimir) -> None:
    """Deletes the document with its chunks."""
    MimirDocumentStore(mimir).delete_ref_doc("d", raise_error=False)


def consistent(mimir: Mimir) -> set[str]:
    """The chunks that there are: the document's info names each of them, once, and no other."""
    docs = MimirDocumentStore(mimir)
    info = docs.get_ref_doc_info("d")
    named = [] if info is None else info.node_ids
    assert sorted(named) == sorted(docs.docs)
    assert (info is None) == (not named)
    return set(named)


def names(*numbers: int) -> set[str]:
    """The ids of chunks."""
    return {f"n{number}" for number in numbers}


RACES: dict[str, tuple[Work, Work, list[set[str]]]] = {
    "add, add": (add(1), add(2), [names(0, 1, 2)]),
    "add, add the same": (add(1), add(1), [names(0, 1)]),
    "add, delete another": (add(1), delete(0), [names(1)]),
    "delete, add another": (delete(0), add(1), [names(1)]),
    "delete, delete": (delete(0), delete(0), [set()]),
    "delete all, add": (delete_all, add(1), [names(1), set()]),
    "add, delete all": (add(1), delete_all, [names(1), set()]),
    "delete, delete all": (delete(0), delete_all, [set()]),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_a_document_keeps_its_chunks(race: tuple[Work, Work, list[set[str]]]) -> None:
    """Chunks added or deleted at the same time are all in the document's info, as in an order."""
    one, other, outcomes = race
    for mimir in places(add(0), one, other):
        assert consistent(mimir) in outcomes


def test_chunks_that_move_meanwhile() -> None:
    """A chunk that is deleted while another process moves it to another document is in neither."""
    moved = TextNode(text="n0", id_="n0")
    moved.relationships[NodeRelationship.SOURCE] = Document(id_="e").as_related_node_info()

    def move(mimir: Mimir) -> None:
        MimirDocumentStore(mimir).add_documents([moved, chunk(Document(id_="e"), "m")])

    for mimir in places(add(0, 1), delete(0), move):
        docs = MimirDocumentStore(mimir)
        other = docs.get_ref_doc_info("e")
        assert other is not None
        assert ("n0" in docs.docs) == ("n0" in other.node_ids)


def test_what_must_not_be_replaced() -> None:
    """Of two that add the same chunk and allow no update, one is refused."""
    refused = 0

    def once(mimir: Mimir) -> None:
        nonlocal refused
        try:
            add(1, allow_update=False)(mimir)
        except InvalidArgument:
            refused += 1

    for number, mimir in enumerate(places(add(0), once, once), 1):
        assert consistent(mimir) == names(0, 1)
        assert refused == number


@pytest.mark.parametrize("batch", [1, 3])
def test_large_adds(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Chunks that take several transactions are all in the document's info, beside others' too."""
    monkeypatch.setattr(kvstore, "BATCH", batch)
    for mimir in places(add(0), add(1, 2, 3), add(4, 5)):
        assert consistent(mimir) == names(*range(6))


def test_processes_add_chunks_of_one_document(path: Path) -> None:
    """Three processes that add chunks of one document all the time find all of them in its info."""
    create(path).close()
    workers = [
        start_worker("add", path, number, package="llamaindex", module="docstore_worker")
        for number in range(3)
    ]
    finish(workers)
    with reopen(path) as mimir:
        expected = {f"{number}-{turn}" for number in range(3) for turn in range(CHUNKS)}
        assert consistent(mimir) == expected
        assert mimir.verify().ok


def test_pieces_of_a_value_that_is_being_replaced() -> None:
    """Of a large value that others replace or delete at once, no piece is left behind."""

    def put(size: int) -> Work:
        return lambda mimir: MimirKVStore(mimir).put("k", {"x": "x" * size})

    works = [put(1), put(150), put(350), lambda mimir: MimirKVStore(mimir).delete("k")]
    with patch.object(kvstore, "PIECE_BYTES", 100):
        for begin in (works[0], works[2]):
            for one in works:
                for other in works:
                    for mimir in places(begin, one, other):
                        value: Any = MimirKVStore(mimir).get("k")
                        size = 0 if value is None else len(f'["k",{{"x":"{value["x"]}"}}]')
                        assert mimir.stats().memories == -(-size // 100)


def test_a_file_and_a_folder_of_one_name() -> None:
    """Of two that make a file and a folder of one name, one is refused."""

    def file(mimir: Mimir) -> None:
        try:
            MimirFileSystem(mimir).write("/a", b"file")
        except OSError:
            return

    def inside(mimir: Mimir) -> None:
        try:
            MimirFileSystem(mimir).write("/a/b", b"inside")
        except OSError:
            return

    for one, other in ((file, inside), (inside, file)):
        for mimir in places(lambda _: None, one, other):
            files = MimirFileSystem(mimir)
            assert files.isfile("/a") != files.exists("/a/b")


def test_a_folder_is_made_once() -> None:
    """Of two that make the same folder, the second is told that it is there."""
    made = 0

    def make(mimir: Mimir) -> None:
        nonlocal made
        try:
            MimirFileSystem(mimir).mkdir("/a")
            made += 1
        except FileExistsError:
            return

    for number, _ in enumerate(places(lambda _: None, make, make), 1):
        assert made == number


def test_a_folder_that_is_being_removed() -> None:
    """A file made in a folder that is removed meanwhile has a folder, or the folder stays."""

    def remove(mimir: Mimir) -> None:
        try:
            MimirFileSystem(mimir).rmdir("/a")
        except OSError:
            return

    def write(mimir: Mimir) -> None:
        MimirFileSystem(mimir).write("/a/b", b"x")

    for one, other in ((remove, write), (write, remove)):
        for mimir in places(lambda m: MimirFileSystem(m).mkdir("/a"), one, other):
            assert MimirFileSystem(mimir).find("/") == ["/a/b"]
