"""Bad input: a typed error that says what to do, and a vault that is as it was."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimir_core import Item, KdfProfile, Mimir
from mimir_core.embedding import HashEmbedder
from mimir_core.errors import (
    CannotUnlock,
    DiskFull,
    DuplicateKey,
    InputError,
    InvalidArgument,
    InvalidFilter,
    InvalidMetadata,
    InvalidNamespace,
    InvalidText,
    InvalidVector,
    KdfOutOfBounds,
    LimitExceeded,
    MimirError,
    NotAVault,
    NotFound,
    SpaceMismatch,
    UnsupportedFormat,
    VaultBusy,
    VaultExists,
)

from ..vault.vaults import EMBEDDER, FAST, PASSPHRASE, contents, create, reopen
from ..vault.worker import run_worker, start_worker

SECRET = "xylophone"
DEEP: dict[str, Any] = {}
for _ in range(20):
    DEEP = {"deeper": DEEP}

REMEMBER: list[tuple[type[MimirError], dict[str, Any]]] = [
    (InvalidText, {"content": ""}),
    (InvalidText, {"content": " \n\t"}),
    (InvalidArgument, {"content": b"bytes", "vector": [1.0] * 32}),
    (InvalidArgument, {"content": b"bytes", "attachment": b"more"}),
    (InvalidArgument, {"content": "text", "attachment": "more"}),
    (InvalidVector, {"content": "text", "vector": []}),
    (InvalidText, {"content": 7}),
    (InvalidText, {"content": None}),
    (InvalidText, {"content": SECRET + "\ud800"}),
    (InvalidText, {"content": SECRET * 1_200_000}),
    (InvalidText, {"content": b"x" * 10_000_000}),
    (InvalidNamespace, {"namespace": ()}),
    (InvalidNamespace, {"namespace": ""}),
    (InvalidNamespace, {"namespace": ("a", "")}),
    (InvalidNamespace, {"namespace": SECRET + ".b"}),
    (InvalidNamespace, {"namespace": ("a", SECRET + ".c")}),
    (InvalidNamespace, {"namespace": 7}),
    (InvalidNamespace, {"namespace": None}),
    (InvalidNamespace, {"namespace": ("a",) * 17}),
    (InvalidArgument, {"thread": ""}),
    (InvalidArgument, {"thread": 7}),
    (InvalidArgument, {"thread": SECRET * 200}),
    (InvalidArgument, {"thread": SECRET + "\ud800"}),
    (InvalidArgument, {"key": ""}),
    (InvalidArgument, {"key": ["k"]}),
    (InvalidArgument, {"key": SECRET * 200}),
    (InvalidMetadata, {"metadata": [SECRET]}),
    (InvalidMetadata, {"metadata": {1: SECRET}}),
    (InvalidMetadata, {"metadata": {"$eq": SECRET}}),
    (InvalidMetadata, {"metadata": {"set": {SECRET}}}),
    (InvalidMetadata, {"metadata": {"bytes": SECRET.encode()}}),
    (InvalidMetadata, {"metadata": {"nan": math.nan}}),
    (InvalidMetadata, {"metadata": {"big": 1 << 70}}),
    (InvalidMetadata, {"metadata": {"object": object()}}),
    (InvalidMetadata, {"metadata": {"long": SECRET * 200_000}}),
    (InvalidMetadata, {"metadata": DEEP}),
    (InvalidArgument, {"time": SECRET}),
    (InvalidArgument, {"time": math.inf}),
    (InvalidArgument, {"time": 1e30}),
    (InvalidArgument, {"time": True}),
    (InvalidArgument, {"derived_from": ["not an id"]}),
    (InvalidArgument, {"derived_from": [" " * 64]}),
    (InvalidArgument, {"derived_from": "0" * 64}),
    (InvalidArgument, {"derived_from": 7}),
    (NotFound, {"derived_from": ["0" * 64]}),
    (InvalidVector, {"vector": [1.0] * 31}),
    (InvalidVector, {"vector": [1.0] * 33}),
    (InvalidVector, {"vector": [[1.0] * 32, [0.0] * 32]}),
    (InvalidVector, {"vector": [[1.0] * 32] * 65}),
    (InvalidVector, {"vector": [[[1.0] * 32]]}),
    (InvalidVector, {"vector": [math.nan] * 32}),
    (InvalidVector, {"vector": [math.inf] * 32}),
    (InvalidVector, {"vector": [0.0] * 32}),
    (InvalidVector, {"vector": 1.0}),
    (InvalidVector, {"vector": [SECRET] * 32}),
    (InvalidVector, {"vector": np.ones(32, np.complex64)}),
    (InvalidArgument, {"keep_history": "yes"}),
]
RECALL: list[tuple[type[MimirError], dict[str, Any]]] = [
    (InvalidText, {"query": ""}),
    (InvalidText, {"query": "  "}),
    (InvalidText, {"query": 7}),
    (InvalidText, {"query": SECRET + "\ud800"}),
    (InvalidText, {"query": SECRET * 1_200_000}),
    (InvalidArgument, {"k": 0}),
    (InvalidArgument, {"k": -1}),
    (InvalidArgument, {"k": 10_001}),
    (InvalidArgument, {"k": 2.5}),
    (InvalidArgument, {"k": True}),
    (InvalidArgument, {"k": None}),
    (InvalidArgument, {"mode": SECRET}),
    (InvalidArgument, {"mode": ["dense"]}),
    (InvalidArgument, {"neighbours": -1}),
    (InvalidArgument, {"neighbours": 101}),
    (InvalidArgument, {"neighbours": "two"}),
    (InvalidArgument, {"neighbours": 1.5}),
    (InvalidArgument, {"thread": ""}),
    (InvalidArgument, {"thread": ["t"]}),
    (InvalidArgument, {"since": SECRET}),
    (InvalidArgument, {"until": []}),
    (InvalidNamespace, {"namespace": ()}),
    (InvalidNamespace, {"namespace": None}),
    (InvalidNamespace, {"namespace": SECRET + ".b"}),
    (InvalidFilter, {"where": {"n": {"$near": SECRET}}}),
    (InvalidFilter, {"where": SECRET}),
    (InvalidFilter, {"where": {"n": {"$gt": math.nan}}}),
    (InvalidFilter, {"where": {"n": {"$in": SECRET}}}),
]
OTHER: list[tuple[type[MimirError], Callable[[Mimir], object]]] = [
    (InvalidArgument, lambda m: m.get()),
    (InvalidArgument, lambda m: m.get("0" * 64, key="k")),
    (InvalidArgument, lambda m: m.get("")),
    (InvalidArgument, lambda m: m.get(" " * 64)),
    (InvalidArgument, lambda m: m.get(7)),
    (InvalidArgument, lambda m: m.get(key=[])),
    (NotFound, lambda m: m.get("0" * 64)),
    (NotFound, lambda m: m.get(key="k")),
    (InvalidArgument, lambda m: m.lineage("zz")),
    (NotFound, lambda m: m.lineage("0" * 64)),
    (InvalidArgument, lambda m: m.get_many(keys="abc")),
    (InvalidArgument, lambda m: m.get_many(keys=[["a"]])),
    (InvalidArgument, lambda m: m.known("abc")),
    (InvalidArgument, lambda m: m.known([None])),
    (InvalidArgument, lambda m: m.thread([])),
    (InvalidArgument, lambda m: m.thread("")),
    (InvalidArgument, lambda m: m.thread(None)),
    (InvalidNamespace, lambda m: m.thread("t", namespace="")),
    (InvalidNamespace, lambda m: m.threads(namespace=())),
    (InvalidNamespace, lambda m: list(m.memories(namespace=""))),
    (InvalidFilter, lambda m: list(m.memories(where=SECRET))),
    (InvalidArgument, lambda m: m.remember_many(7)),
    (InvalidArgument, lambda m: m.remember_many([SECRET])),
    (InvalidArgument, lambda m: m.change_passphrase("")),
    (InvalidArgument, lambda m: m.change_passphrase(7)),
    (InvalidArgument, lambda m: m.change_passphrase("x\ud800")),
]


@contextmanager
def unchanged(mimir: Mimir, path: Path) -> Iterator[None]:
    """Checks that a block changes neither a byte of the vault's files nor what it holds."""
    mimir.checkpoint()
    files, before = run_worker("digests", path), contents(mimir)
    commits = mimir.stats().commits
    yield
    assert run_worker("digests", path) == files
    assert contents(mimir) == before
    assert mimir.stats().commits == commits


def check(expected: type[MimirError], call: Callable[[], object]) -> None:
    """Checks that a call raises exactly that error, with a text that holds nothing of the input."""
    with pytest.raises(expected) as caught:
        call()
    text = "".join(traceback.format_exception(caught.value)[-1:])
    chain: BaseException | None = caught.value
    while chain is not None:
        assert SECRET not in str(chain)
        chain = chain.__cause__
    assert SECRET not in text
    assert len(str(caught.value)) > 15


def test_bad_memories_are_refused(mimir: Mimir, path: Path) -> None:
    """Each bad memory raises its error, alone and after a good one, and nothing is written."""
    mimir.remember("a cat")
    with unchanged(mimir, path):
        for expected, fields in REMEMBER:
            arguments: dict[str, Any] = {"content": "fine", **fields}
            check(expected, lambda a=arguments: mimir.remember(**a))
            batch = [Item("good"), Item(**arguments)]
            check(expected, lambda b=batch: mimir.remember_many(b))


@pytest.mark.parametrize("fields", [
    {"vector": [math.nan] * 32}, {"vector": [0.0] * 32}, {"content": ""}, {"metadata": {"x": {1}}},
])  # fmt: skip
def test_a_bad_memory_at_the_end_of_a_long_batch_stops_its_beginning(
    mimir: Mimir, fields: dict[str, Any]
) -> None:
    """A batch of several transactions is checked as a whole before the first is written."""
    good = [Item("good", vector=np.ones(32)) for _ in range(2_049)]
    with pytest.raises(InputError):
        mimir.remember_many([*good, Item(**{"content": "bad", **fields})])
    assert mimir.stats().memories == 0


def test_one_key_twice_in_a_batch_is_refused(mimir: Mimir, path: Path) -> None:
    """Two memories of one namespace and key in a batch raise; in two namespaces they do not."""
    with unchanged(mimir, path), pytest.raises(DuplicateKey):
        mimir.remember_many([Item("one", key="k"), Item("two", key="k")])
    mimir.remember_many([Item("one", key="k", namespace="a"), Item("two", key="k")])


def test_too_many_parents_are_refused(mimir: Mimir, path: Path) -> None:
    """A memory has at most 1,024 parents."""
    ids = mimir.remember_many([Item(f"turn {n}") for n in range(1_025)])
    with unchanged(mimir, path), pytest.raises(LimitExceeded):
        mimir.remember("summary", derived_from=ids)
    mimir.remember("summary", derived_from=ids[1:])
    assert mimir.verify().ok


def test_bad_queries_are_refused(mimir: Mimir, path: Path) -> None:
    """Each bad query raises its error in every mode, on an empty vault and on one with memories."""
    for _ in range(2):
        with unchanged(mimir, path):
            for expected, fields in RECALL:
                for mode in ("dense", "lexical", "hybrid"):
                    arguments = {"query": "cat", "mode": mode, **fields}
                    check(expected, lambda a=arguments: mimir.recall(**a))
        mimir.remember("a cat", thread="t", metadata={"n": 1})


def test_other_bad_calls_are_refused(mimir: Mimir, path: Path) -> None:
    """Reading, walking and passphrase changes check their arguments too."""
    mimir.remember("a cat")
    with unchanged(mimir, path):
        for expected, call in OTHER:
            check(expected, lambda c=call: c(mimir))


def test_k_beyond_the_count_returns_all(mimir: Mimir) -> None:
    """Asking for more than there is returns what there is, each once."""
    ids = {mimir.remember(f"cat {n}") for n in range(7)}
    for mode in ("dense", "lexical", "hybrid"):
        hits = mimir.recall("cat", k=10_000, mode=mode)
        assert sorted(hit.id for hit in hits) == sorted(ids)


def test_an_empty_vault_answers(mimir: Mimir) -> None:
    """Nothing to find is an empty answer, not an error."""
    for mode in ("dense", "lexical", "hybrid"):
        assert mimir.recall("cat", mode=mode) == []
    assert mimir.namespaces() == {}
    assert mimir.verify().ok
    assert mimir.forget(namespace="nowhere").count == 0


def test_another_models_vectors_are_refused(mimir: Mimir, path: Path) -> None:
    """A vault filled by one model refuses the search, and the memories, of another."""
    mimir.remember("a cat")
    with Mimir.open(path, PASSPHRASE, embedder=HashEmbedder(16), profile=FAST) as other:
        with pytest.raises(SpaceMismatch):
            other.recall("cat")
        assert other.recall("cat", mode="lexical")
        with unchanged(other, path), pytest.raises(SpaceMismatch):
            other.remember("a dog")


def test_an_embedder_that_breaks_its_promise_is_refused(path: Path) -> None:
    """Vectors of the wrong number, size or value from an embedder write nothing."""

    class Broken(HashEmbedder):
        answer: Any = None

        def embed_documents(self, texts: Any) -> Any:
            return self.answer

        def embed_query(self, text: str) -> Any:
            return self.answer

    broken = Broken(32)
    wrong = (np.ones((2, 32)), np.ones((1, 31)), np.full((1, 32), np.nan), np.zeros((1, 32)), None)
    with Mimir.create(path, PASSPHRASE, embedder=broken, profile=FAST) as mimir:
        mimir.remember("a cat", vector=np.ones(32))
        for answer in wrong:
            broken.answer = answer
            with pytest.raises(InvalidVector):
                mimir.remember("a dog")
            with pytest.raises(InvalidVector):
                mimir.recall("a dog", mode="dense")
        assert mimir.stats().memories == 1


def test_wrong_passphrases_do_not_open(mimir: Mimir, path: Path) -> None:
    """A wrong passphrase opens nothing and says so; one that cannot be one is bad input."""
    mimir.remember("a cat")
    with unchanged(mimir, path):
        for wrong in ("wrong", PASSPHRASE + " ", PASSPHRASE.upper()):
            check(CannotUnlock, lambda w=wrong: reopen(path, w))
        for wrong in ("", 7, None, b"bytes", SECRET + "\ud800"):
            check(InvalidArgument, lambda w=wrong: reopen(path, w))


def test_what_is_not_a_vault_does_not_open(folder: Path) -> None:
    """Missing files, folders, other files, other databases and empty files are not vaults."""
    cases = {"empty": b"", "text": b"hello" * 5_000, "header": b"SQLite format 3\0" + bytes(16_000)}
    for name, data in cases.items():
        (folder / name).write_bytes(data)
    for name in (*cases, "missing", "missing/deeper", "."):
        check(NotAVault, lambda n=name: reopen(folder / n))
    assert {name: (folder / name).read_bytes() for name in cases} == cases
    run_worker("other_database", folder / "other.db")
    check(NotAVault, lambda: reopen(folder / "other.db"))


def test_an_existing_file_is_not_overwritten(mimir: Mimir, path: Path, folder: Path) -> None:
    """Creating over a vault, or any other file, is refused and leaves it alone."""
    mimir.remember("a cat")
    with unchanged(mimir, path):
        check(VaultExists, lambda: create(path))
    (folder / "other").write_bytes(b"precious")
    check(VaultExists, lambda: create(folder / "other"))
    assert (folder / "other").read_bytes() == b"precious"


def test_a_bad_passphrase_creates_nothing(folder: Path) -> None:
    """A vault that could not be opened is not made."""
    for wrong in ("", None, 7):
        check(InvalidArgument, lambda w=wrong: create(folder / "v.mimir", w))
    assert list(folder.iterdir()) == []


def test_a_newer_format_is_named_as_such(path: Path) -> None:
    """A vault of a later format version is refused by name, whatever else it holds."""
    create(path).close()
    run_worker("patch_preamble", path, 8, "0200")
    check(UnsupportedFormat, lambda: reopen(path))


@pytest.mark.parametrize(("offset", "data"), [
    (32, "ffffff7f"), (32, "00000000"), (36, "ff000000"), (36, "00000000"), (40, "ff000000"),
])  # fmt: skip
def test_kdf_costs_out_of_bounds_are_refused(path: Path, offset: int, data: str) -> None:
    """An Argon2id cost outside the bounds is refused before anything is derived."""
    create(path).close()
    run_worker("patch_preamble", path, offset, data)
    check(KdfOutOfBounds, lambda: reopen(path))


def test_a_test_vault_needs_to_be_allowed_by_name(path: Path) -> None:
    """A vault made at the insecure cost does not open without being allowed to."""
    create(path).close()
    check(KdfOutOfBounds, lambda: Mimir.open(path, PASSPHRASE, embedder=EMBEDDER))


def test_the_standard_cost_works(path: Path) -> None:
    """A vault of the standard cost opens, and is refused nothing."""
    with Mimir.create(path, PASSPHRASE, embedder=EMBEDDER, profile=KdfProfile.STANDARD) as mimir:
        id_ = mimir.remember("a cat")
    with Mimir.open(path, PASSPHRASE, embedder=EMBEDDER) as mimir:
        assert mimir.get(id_).text == "a cat"


def test_a_busy_vault_says_so(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the writer's lock, writing raises and reading goes on."""
    monkeypatch.setattr("mimir_core.vault.vault.WRITER_TIMEOUT", 0.1)
    id_ = mimir.remember("a cat")
    with start_worker("hold_write_lock", path) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        check(VaultBusy, lambda: mimir.remember("a dog"))
        check(VaultBusy, lambda: mimir.forget(id_))
        assert mimir.get(id_).text == "a cat"
        holder.stdin.close()
    mimir.remember("a dog")
    assert mimir.stats().memories == 2


@pytest.mark.parametrize("mode", ["400", "000"])
def test_a_read_only_file_says_so(mimir: Mimir, path: Path, folder: Path, mode: str) -> None:
    """A vault that cannot be written does not open, and says why."""
    mimir.close()
    folder.chmod(0o777)
    path.chmod(int(mode, 8))
    assert run_worker("open_as_nobody", path) == ["VaultReadOnly"]


def test_a_full_disk_says_so(mimir: Mimir, path: Path) -> None:
    """When there is no room, the call raises DiskFull, nothing changes, and later it works."""
    id_ = mimir.remember("a cat", key="k")
    store = mimir._vault._store
    ((pages,),) = store._connection.execute("PRAGMA page_count")  # type: ignore[attr-defined]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]
    with unchanged(mimir, path):
        check(DiskFull, lambda: mimir.remember(os.urandom(2 << 20), key="k"))
        assert mimir.get(key="k").id == id_
    assert mimir.verify().ok
    store._connection.execute("PRAGMA max_page_count = 100000")  # type: ignore[attr-defined]
    mimir.remember(os.urandom(2 << 20), key="k")
    assert mimir.verify().ok
