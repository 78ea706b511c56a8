"""Files in the vault behave as files do, are replaced whole, and are seen nowhere else."""

from __future__ import annotations

import copy
import json
import os
import pickle
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests import abstract
from llama_index.core import (
    Document,
    MockEmbedding,
    StorageContext,
    SummaryIndex,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.graph_stores.simple import SimpleGraphStore

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, NotSerializable, VaultClosed
from mimir_llamaindex import MimirFileSystem

from ..vault.vaults import MEMORY_FOLDER, create, reopen
from .watched import Watched, found_in

BIG = b"0123456789abcdef" * 600_000
assert len(BIG) > 2 * (4 << 20)


@pytest.fixture
def fs(mimir: Mimir) -> MimirFileSystem:
    """An empty file system."""
    return MimirFileSystem(mimir)


@pytest.mark.parametrize("data", [b"", b"x", b"a\nb\r\n\0\xff", BIG[: 4 << 20], BIG])
def test_write_and_read(fs: MimirFileSystem, data: bytes) -> None:
    """What is written is what is read, empty files and those over 8 MiB too."""
    with fs.open("/a/b/file", "wb") as file:
        file.write(data[:1])
        file.write(data[1:])
    with fs.open("/a/b/file", "rb") as file:
        assert file.size == len(data)
        assert file.read() == data
        file.seek(1)
        assert file.read(3) == data[1:4]
    assert fs.cat_file("/a/b/file", 1, 5) == data[1:5]
    assert fs.info("/a/b/file")["size"] == fs.size("/a/b/file") == len(data)


def test_text(fs: MimirFileSystem) -> None:
    """Text has its encoding and newlines; appending continues it."""
    with fs.open("/t", "w", encoding="utf-16") as file:
        file.write("grüße\n")
    with fs.open("/t", "r", encoding="utf-16") as file:
        assert file.read() == "grüße\n"
    fs.write_text("/u", "one\n")
    with fs.open("/u", "a") as file:
        file.write("two\n")
    with fs.open("/u") as file:
        assert file.readlines() == [b"one\n", b"two\n"]
    with fs.open("/new", "a") as file:
        file.write("made")
    assert fs.read_text("/new") == "made"


def test_other_modes(fs: MimirFileSystem) -> None:
    """Exclusive creation, changes within a file, and no writing to what is open for reading."""
    with fs.open("/f", "xb") as file:
        file.write(b"0123456789")
    with pytest.raises(FileExistsError):
        fs.open("/f", "xb")
    with fs.open("/f", "r+b") as file:
        file.seek(3)
        file.write(b"abc")
    with fs.open("/f", "ab") as file:
        file.seek(0)
        file.write(b"end")
    assert fs.cat_file("/f") == b"012abc6789end"
    with fs.open("/f", "rb") as file, pytest.raises(OSError, match="reading"):
        file.write(b"x")
    for mode in ("r+b", "rb"):
        with pytest.raises(FileNotFoundError):
            fs.open("/nowhere", mode)
    with pytest.raises(ValueError, match="opened as"):
        fs.open("/f", "w+b")


def test_replaced_when_closed(mimir: Mimir, fs: MimirFileSystem) -> None:
    """Until it is closed the older file stands; then it is replaced whole, and nothing is left."""
    fs.pipe_file("/f", BIG)
    reader = fs.open("/f", "rb")
    before = mimir.stats().commits
    with fs.open("/f", "wb") as file:
        file.write(b"new" * 3)
        file.flush()
        assert fs.cat_file("/f") == BIG
        assert mimir.stats().commits == before
    assert fs.cat_file("/f") == b"newnewnew"
    assert mimir.stats().commits == before + 1
    assert reader.read() == BIG
    assert mimir.stats().memories == 2


def test_readers_beside_a_writer(mimir: Mimir, fs: MimirFileSystem) -> None:
    """A reader sees one state of a file or the other, never a mixture or none."""
    states = [b"a" * (9 << 20), b"b", b"c" * (5 << 20)]
    fs.pipe_file("/d/f", states[0])
    other = MimirFileSystem(mimir)
    writer = threading.Thread(target=lambda: [other.pipe_file("/d/f", s) for s in states * 2])
    writer.start()
    while writer.is_alive():
        assert fs.cat_file("/d/f") in states
        assert fs.ls("/d", detail=False) == ["/d/f"]
    writer.join()


def test_replaced_while_it_is_read(mimir: Mimir, fs: MimirFileSystem) -> None:
    """A file that is replaced between a look at it and its reading is read as it is then."""
    fs.pipe_file("/f", b"old")

    class Meddled(Watched):
        def get_many(self, *, keys: list[str], **where: Any) -> Any:
            if any(key.startswith("#") for key in keys) and "meddled" not in self.calls:
                self.calls.append("meddled")
                fs.pipe_file("/f", b"newer")
            return mimir.get_many(keys=keys, **where)

    other = MimirFileSystem(Meddled(mimir))  # type: ignore[arg-type]  # it does all of a Mimir
    assert other.cat_file("/f") == b"newer"


def test_folders(fs: MimirFileSystem) -> None:
    """Folders are made, listed, and removed when empty; files make those above them."""
    fs.mkdir("/empty")
    fs.makedirs("/a/b/c")
    fs.makedirs("/a/b/c", exist_ok=True)
    fs.pipe_file("/x/y/z.txt", b"12")
    assert fs.ls("/", detail=False) == ["/a", "/empty", "/x"]
    assert fs.ls("/empty") == []
    (only,) = fs.ls("/x/y")
    assert (only["name"], only["size"], only["type"]) == ("/x/y/z.txt", 2, "file")
    assert fs.ls("/x/y/z.txt", detail=False) == ["/x/y/z.txt"]
    assert [one for one in ("/", "/x", "/x/y/z.txt", "/no") if fs.isdir(one)] == ["/", "/x"]
    assert [one for one in ("/", "/x", "/x/y/z.txt", "/no") if fs.isfile(one)] == ["/x/y/z.txt"]
    fs.rmdir("/empty")
    assert not fs.exists("/empty")
    assert fs.find("/") == ["/x/y/z.txt"]
    assert fs.find("/a", withdirs=True) == ["/a", "/a/b", "/a/b/c"]
    assert fs.glob("/x/**/*.txt") == fs.glob("/*/y/z.*") == ["/x/y/z.txt"]
    assert [top for top, _, _ in fs.walk("/x")] == ["/x", "/x/y"]


def test_errors(fs: MimirFileSystem) -> None:
    """What cannot be done is refused as an operating system would, and changes nothing."""
    fs.pipe_file("/d/f", b"x")
    wrong: list[tuple[type[OSError], Any]] = [
        (FileExistsError, lambda: fs.mkdir("/d")),
        (FileExistsError, lambda: fs.makedirs("/d/f", exist_ok=True)),
        (NotADirectoryError, lambda: fs.makedirs("/d/f/g")),
        (FileNotFoundError, lambda: fs.mkdir("/no/way", create_parents=False)),
        (NotADirectoryError, lambda: fs.pipe_file("/d/f/g", b"")),
        (IsADirectoryError, lambda: fs.pipe_file("/d", b"")),
        (IsADirectoryError, lambda: fs.open("/d", "ab")),
        (IsADirectoryError, lambda: fs.cat_file("/d")),
        (IsADirectoryError, lambda: fs.cat_file("/")),
        (IsADirectoryError, lambda: fs.rm("/d")),
        (OSError, lambda: fs.rmdir("/d")),
        (OSError, lambda: fs.rmdir("/")),
        (NotADirectoryError, lambda: fs.rmdir("/d/f")),
        (FileNotFoundError, lambda: fs.rmdir("/nowhere")),
        (FileNotFoundError, lambda: fs.rm("/nowhere")),
        (FileNotFoundError, lambda: fs.ls("/nowhere")),
        (FileNotFoundError, lambda: fs.info("/nowhere")),
        (FileNotFoundError, lambda: fs.mv("/nowhere", "/y")),
        (OSError, lambda: fs.pipe_file("/" + "l" * 2_000, b"")),
        (OSError, lambda: fs.rm("/", recursive=True, maxdepth=1)),
    ]
    for error, attempt in wrong:
        with pytest.raises(error) as caught:
            attempt()
        assert "nowhere" not in str(caught.value)
    assert fs.find("/", withdirs=True) == ["/", "/d", "/d/f"]


@pytest.mark.parametrize(
    "unnameable",
    ["/" + "l" * 2_000, "/" + "l" * 2_000 + "/f", "/\ud800"],
    ids=["long", "long folder", "surrogate"],
)
def test_what_no_vault_can_name_is_not_there(fs: MimirFileSystem, unnameable: str) -> None:
    """A path too long for a vault, or outside UTF-8, is one that nobody has stored."""
    assert not fs.exists(unnameable)
    for look in (fs.info, fs.ls, fs.cat_file, fs.rm, fs.rmdir, fs.modified):
        with pytest.raises(FileNotFoundError):
            look(unnameable)
    with pytest.raises((OSError, InvalidArgument)):
        fs.pipe_file(unnameable, b"x")
    assert fs.find("/", withdirs=True) == ["/"]


def test_remove(mimir: Mimir, fs: MimirFileSystem) -> None:
    """What is removed leaves no memory behind, in one transaction."""
    fs.pipe({"/d/a": b"1", "/d/e/b": BIG, "/c": b"2"})
    before = mimir.stats().commits
    fs.rm("/d", recursive=True)
    assert mimir.stats().commits == before + 1
    assert fs.find("/", withdirs=True) == ["/", "/c"]
    fs.rm_file("/c")
    assert mimir.stats().memories == 0
    fs.pipe({"/a1": b"", "/a2": b"", "/b": b""})
    fs.rm("/a*")
    assert fs.find("/") == ["/b"]
    fs.rm("/", recursive=True)
    assert mimir.stats().memories == 0


def test_copy_and_move(mimir: Mimir, fs: MimirFileSystem) -> None:
    """Files and folders are copied and moved, over what is there too."""
    fs.pipe({"/d/a": BIG, "/d/e/b": b"2", "/t": b"old"})
    fs.cp("/d/a", "/t")
    assert fs.cat_file("/t") == fs.cat_file("/d/a") == BIG
    fs.mv("/d", "/moved", recursive=True)
    assert fs.find("/") == ["/moved/a", "/moved/e/b", "/t"]
    fs.mv("/t", "/u")
    assert fs.cat_file("/u") == BIG
    assert not fs.exists("/t")
    fs.rm("/", recursive=True)
    assert mimir.stats().memories == 0


def test_paths(fs: MimirFileSystem) -> None:
    """A file has one name, however it is written."""
    fs.pipe_file("./storage/f", b"x")
    spellings = ["storage/f", "/storage/f", "mimir://storage/f", "//storage/./f", "/x/../storage/f"]
    for path in [*spellings, Path("storage/f"), "../../storage/f"]:
        assert fs.cat_file(path) == b"x"
    assert fs.unstrip_protocol("/storage/f") == "mimir:///storage/f"
    for odd in ("/a b/ü", "/#f", "/a.b", "/" + "x" * 1_000):
        fs.pipe_file(odd, b"x")
        assert fs.ls(odd, detail=False) == [odd]


def test_times(fs: MimirFileSystem) -> None:
    """A file remembers when it was made and when it was last written."""
    fs.pipe_file("/f", b"1")
    created = fs.created("/f")
    assert created == fs.modified("/f")
    fs.pipe_file("/f", b"2")
    assert fs.created("/f") == created
    assert fs.modified("/f") > created
    assert fs.ukey("/f") != fs.ukey("/")


def test_transaction(fs: MimirFileSystem) -> None:
    """In an fsspec transaction files appear at its end, or not at all."""
    with fs.transaction:
        fs.pipe_file("/a", b"1")
        assert not fs.exists("/a")
    assert fs.cat_file("/a") == b"1"
    with suppress(RuntimeError), fs.transaction:
        fs.pipe_file("/a", b"2")
        raise RuntimeError
    assert fs.cat_file("/a") == b"1"


def test_local_files(fs: MimirFileSystem, tmp_path: Path) -> None:
    """Files go in from the disk and come back out."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(BIG)
    fs.put(str(tmp_path / "in"), "/in", recursive=True)
    fs.get("/in", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "f").read_bytes() == BIG
    assert fs.get_mapper("/in")["f"] == BIG


def test_vaults_apart(mimir: Mimir, fs: MimirFileSystem, tmp_path: Path) -> None:
    """fsspec caches no instance, so that none outlives its vault or stands for another's."""
    with create(tmp_path / "vault.mimir") as second:
        other = MimirFileSystem(second)
        assert repr(second) == repr(mimir)
        fs.pipe_file("/f", b"1")
        assert not other.exists("/f")
        assert fs != other
        assert fs == MimirFileSystem(mimir)
        assert hash(fs) == hash(MimirFileSystem(mimir))
        assert fs is not MimirFileSystem(mimir)
        assert MimirFileSystem(mimir, ("elsewhere",)).find("/") == []
    assert MimirFileSystem._cache == {}
    assert "mimir" not in fsspec.available_protocols()
    with pytest.raises(VaultClosed):
        other.exists("/f")
    with pytest.raises(VaultClosed):
        other.pipe_file("/f", b"x")


def test_no_copies(fs: MimirFileSystem) -> None:
    """Neither the file system nor an open file can be pickled, copied or turned into JSON."""
    fs.pipe_file("/f", b"axolotl")
    with fs.open("/f", "rb") as file:
        for thing in (fs, file):
            for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(NotSerializable):
                    attempt(thing)
            assert "axolotl" not in repr(thing)
    with pytest.raises(TypeError):
        fs.to_json()


class Vault(abstract.AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    """What fsspec's own tests need to know."""

    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls) -> Iterator[MimirFileSystem]:
        """One file system for all: each test cleans up after itself."""
        folder = tempfile.TemporaryDirectory(dir=MEMORY_FOLDER)
        with folder, create(Path(folder.name) / "vault.mimir") as mimir:
            yield MimirFileSystem(mimir)

    @pytest.fixture
    def fs_path(self) -> str:
        """Where the tests may write."""
        return "/tests"


class TestFsspecCopy(abstract.AbstractCopyTests, Vault):  # type: ignore[misc]  # as above
    """fsspec's tests of copying."""


class TestFsspecGet(abstract.AbstractGetTests, Vault):  # type: ignore[misc]  # as above
    """fsspec's tests of getting files out."""


class TestFsspecPut(abstract.AbstractPutTests, Vault):  # type: ignore[misc]  # as above
    """fsspec's tests of putting files in."""


class TestFsspecPipe(abstract.AbstractPipeTests, Vault):  # type: ignore[misc]  # as above
    """fsspec's tests of writing bytes."""


class TestFsspecOpen(abstract.AbstractOpenTests, Vault):  # type: ignore[misc]  # as above
    """fsspec's tests of opening."""


def words() -> list[Document]:
    """A small corpus with a canary in it."""
    return [Document(text=f"the axolotlcanary number {n} swims", id_=f"d{n}") for n in range(3)]


def test_storage_context_of_plain_stores(path: Path) -> None:
    """LlamaIndex's own stores, persisted with it, are loaded again and lie sealed in the vault."""
    model = MockEmbedding(embed_dim=8)
    with create(path) as mimir:
        fs = MimirFileSystem(mimir)
        graph = SimpleGraphStore()
        graph.upsert_triplet("axolotlcanary", "lives in", "water")
        context = StorageContext.from_defaults(graph_store=graph)
        VectorStoreIndex.from_documents(words(), storage_context=context, embed_model=model)
        SummaryIndex.from_documents(words(), storage_context=context)
        context.persist(persist_dir="./storage", fs=fs)
    assert found_in(path.parent, "axolotlcanary") == {}
    assert not os.path.exists("./storage")
    with reopen(path) as mimir:
        fs = MimirFileSystem(mimir)
        names = [os.path.basename(name) for name in fs.ls("/storage", detail=False)]
        assert {"docstore.json", "index_store.json", "graph_store.json"} <= set(names)
        assert "axolotlcanary" in json.dumps(json.loads(fs.cat_file("/storage/docstore.json")))
        loaded = StorageContext.from_defaults(persist_dir="./storage", fs=fs)
        before = context.to_dict()
        before["vector_store"].pop("image")  # empty; LlamaIndex loads one store from any fsspec
        assert loaded.to_dict() == before
        structs = loaded.index_store.index_structs()
        (vectors,) = (one for one in structs if one.get_type() == "vector_store")
        index = load_index_from_storage(loaded, index_id=vectors.index_id, embed_model=model)
        assert len(index.as_retriever(similarity_top_k=3).retrieve("swims")) == 3
