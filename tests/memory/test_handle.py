"""The handle: threads, forks, copies, closing, and what it shows of itself."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import multiprocessing
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mimir_core.dag
import mimir_core.index.catalog
import mimir_core.index.fusion
import mimir_core.recall
import mimir_core.vault.state
import mimir_core.vault.write
from mimir_core import Item, Mimir
from mimir_core.errors import CannotUnlock, MimirError, NotSerializable, VaultClosed

from ..vault.vaults import FAST, PASSPHRASE, contents, create, reopen

SECRET = "xylophone"

USES: list[Callable[[Mimir], object]] = [
    lambda m: m.remember("a cat"),
    lambda m: m.remember_many([Item("a cat")]),
    lambda m: m.recall("cat"),
    lambda m: m.get(key="k"),
    lambda m: m.thread("t"),
    lambda m: list(m.memories()),
    lambda m: m.lineage("0" * 64),
    lambda m: m.namespaces(),
    lambda m: m.threads(),
    lambda m: m.stats(),
    lambda m: m.forget(namespace="default"),
    lambda m: m.forget(namespace="default", dry_run=True),
    lambda m: m.verify(),
    lambda m: m.checkpoint(),
    lambda m: m.reembed(),
    lambda m: m.change_passphrase("new"),
]


def test_a_closed_handle_refuses_everything(mimir: Mimir) -> None:
    """After close, or lock, every use raises, and closing again does nothing."""
    mimir.remember("a cat", key="k")
    mimir.lock()
    mimir.close()
    for use in USES:
        with pytest.raises(VaultClosed):
            use(mimir)


def test_the_context_manager_closes(path: Path) -> None:
    """Leaving the context closes the vault, also when an error leaves it."""
    with create(path) as mimir:
        mimir.remember("a cat", key="k")
    with pytest.raises(VaultClosed):
        mimir.stats()
    with pytest.raises(KeyError), reopen(path) as again:
        raise KeyError
    with pytest.raises(VaultClosed):
        again.stats()


def test_closing_leaves_one_file(mimir: Mimir, path: Path) -> None:
    """After close neither journal nor shared memory lie beside the vault."""
    mimir.remember("a cat")
    mimir.close()
    assert os.listdir(path.parent) == [path.name]


def test_handles_are_not_copied(mimir: Mimir) -> None:
    """Pickle, copy and deepcopy of a handle, or of what holds keys, are refused."""
    state = mimir._vault._state
    for thing in (mimir, mimir._vault, mimir._vault._keys):
        for copying in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(NotSerializable):
                copying(thing)
    with pytest.raises((NotSerializable, TypeError)):
        pickle.dumps(state)


def instances() -> list[Any]:
    """Everything of ours that could be printed, made from secrets."""
    with_secret = {"metadata": {SECRET: SECRET}, "thread": SECRET, "key": SECRET}
    write, dag = mimir_core.vault.write, mimir_core.dag
    metadata = dag.Metadata(0, (SECRET,), SECRET, SECRET, {SECRET: SECRET})
    link = dag.Link(None, bytes(8), 1)
    sealed = dag.seal(dag.Draft(link, metadata, dag.Payload(SECRET)))
    return [
        Item(SECRET, namespace=SECRET, **with_secret),
        write.NewMemory(SECRET, (SECRET,), 0, SECRET, SECRET, {SECRET: SECRET}, terms=[SECRET]),
        mimir_core.vault.state.NewNode(bytes(32), 0, 0, link, metadata, [SECRET]),
        metadata,
        dag.Draft(link, metadata, dag.Payload(SECRET)),
        sealed,
        mimir_core.recall.Query.checked(SECRET, 5, "dense", 0),
        mimir_core.scope.Scope.checked(SECRET, False, SECRET, {SECRET: SECRET}),
    ]


def test_reprs_show_no_content(mimir: Mimir) -> None:
    """The repr of whatever holds content, names or keys shows none of them."""
    id_ = mimir.remember(
        SECRET, namespace=SECRET, thread=SECRET, key=SECRET, metadata={SECRET: SECRET}
    )
    hits = mimir.recall(SECRET, namespace=SECRET, neighbours=2)
    with mimir._vault.view() as state:
        inside = [state, state.root, state.container, state.catalog, state.lexical, *state.spaces]
        secret = state.entry(0)
    outside = [mimir, mimir._vault, mimir._vault._keys, mimir.get(id_), *hits, mimir.lineage(id_)]
    for thing in [*instances(), *inside, *outside]:
        shown = f"{thing!r} {thing!s} {[thing]!r}"
        assert SECRET not in shown
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    sealed = instances()[5]
    assert repr(sealed.secret)[2:-1] not in repr(sealed)


def test_dataclasses_that_hold_content_hide_it() -> None:
    """No dataclass with a field named for content has a generated repr."""
    telling = {"content", "text", "metadata", "terms", "vocabulary", "secret", "keys", "key"}
    modules = (mimir_core.dag.node, mimir_core.vault.write, mimir_core.vault.state,
               mimir_core.intake, mimir_core.results, mimir_core.recall)  # fmt: skip
    for module in modules:
        for _, kind in inspect.getmembers(module, dataclasses.is_dataclass):
            if telling & {field.name for field in dataclasses.fields(kind)}:
                assert not hasattr(kind.__repr__, "__wrapped__"), kind  # a generated one is wrapped


def test_eight_threads_share_a_handle(mimir: Mimir, path: Path) -> None:
    """Eight threads remember, read, upsert and forget at once; nothing is lost or mixed up."""
    failures: list[BaseException] = []
    kept: list[dict[str, str]] = [{} for _ in range(8)]

    def work(number: int) -> None:
        try:
            for turn in range(12):
                text = f"thread {number} turn {turn}"
                id_ = mimir.remember(text, thread=f"t{number}", namespace=f"n{number}")
                kept[number][id_] = text
                mimir.remember(f"value {turn}", key=f"k{number}")
                assert mimir.get(id_).text == text
                hits = mimir.recall(f"turn {turn}", namespace=f"n{number}", k=50)
                assert {hit.id for hit in hits} <= set(kept[number])
                if turn % 3 == 2:
                    mimir.forget(id_)
                    del kept[number][id_]
                if turn % 5 == 4:
                    mimir.checkpoint()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for number, expected in enumerate(kept):
        found = {m.id: m.text for m in mimir.memories(namespace=f"n{number}")}
        assert found == expected
        assert mimir.get(key=f"k{number}").text == "value 11"
    assert mimir.verify().ok
    before = contents(mimir)
    mimir.close()
    with reopen(path) as again:
        assert contents(again) == before
        assert again.verify().ok


def test_recalls_beside_forgets_keep_their_scopes_apart(mimir: Mimir) -> None:
    """What a recall remembers of its scope may be dropped by another thread at any moment."""
    mimir.remember_many([Item(f"cat {n}", namespace=f"n{n % 20}") for n in range(200)])
    failures: list[BaseException] = []
    until = time.monotonic() + 2

    def work(use: Callable[[int], object]) -> None:
        try:
            for turn in itertools.takewhile(lambda _: time.monotonic() < until, itertools.count()):
                use(turn)
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        uses = [lambda n: mimir.recall("cat", namespace=f"n{n % 20}")] * 2
        uses.append(lambda _: mimir._scopes.clear())
        threads = [threading.Thread(target=work, args=(use,)) for use in uses]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures


@pytest.mark.parametrize("change", ["forget", "supersede", "replace"])
def test_no_scope_keeps_a_vector_that_is_gone(mimir: Mimir, change: str) -> None:
    """After a memory went, however it did, no recall's scope holds its vector any more."""
    id_ = mimir.remember("my address", key="home")
    mimir.recall("address")
    assert mimir._scopes._scopes
    if change == "forget":
        mimir.forget(id_)
    elif change == "supersede":
        mimir.remember("new address", key="home")
    else:
        mimir.replace([Item("new address")], ids=[id_])
    assert not mimir._scopes._scopes


def _use_inherited(mimir: Mimir, report: Any) -> None:
    names = []
    for use in USES:
        try:
            use(mimir)
            names.append("worked")
        except MimirError as error:
            names.append(type(error).__name__)
    mimir.close()
    report.put(set(names))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_must_open_its_own(mimir: Mimir, path: Path, busy: bool) -> None:
    """An inherited handle raises in the child, even forked while a thread is inside a call."""
    context = multiprocessing.get_context("fork")
    report = context.Queue()
    id_ = mimir.remember("a cat")
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with mimir._vault.view():
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    if busy:
        holder.start()
        entered.wait(30)
    child = context.Process(target=_use_inherited, args=(mimir, report))
    child.start()
    assert report.get(timeout=30) == {"VaultClosed"}
    child.join(30)
    leave.set()
    if busy:
        holder.join()
    assert child.exitcode == 0
    assert mimir.get(id_).text == "a cat"
    mimir.remember("a dog")
    assert mimir.verify().ok
    mimir.close()
    with reopen(path) as again:
        assert len(contents(again)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_open_the_vault_anew(mimir: Mimir, path: Path) -> None:
    """A child opens the vault itself, writes, and the parent follows."""
    mimir.remember("a cat")
    child = os.fork()
    if child == 0:
        with reopen(path) as own:
            own.remember("a dog", key="k")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert mimir.get(key="k").text == "a dog"
    assert mimir.verify().ok


def test_changing_the_passphrase(mimir: Mimir, path: Path) -> None:
    """The new passphrase opens, the old one does not, and open handles go on."""
    id_ = mimir.remember("a cat")
    with reopen(path) as other:
        mimir.change_passphrase("new", profile=FAST)
        assert other.get(id_).text == "a cat"
        other.remember("a dog")
        other.change_passphrase("newer", profile=FAST)
    assert mimir.stats().memories == 2
    mimir.close()
    for wrong in (PASSPHRASE, "new"):
        with pytest.raises(CannotUnlock):
            reopen(path, wrong)
    with reopen(path, "newer") as again:
        assert again.get(id_).text == "a cat"
        assert again.verify().ok


def test_equivalent_spellings_of_a_passphrase_open(path: Path) -> None:
    """A passphrase typed with composed or decomposed accents is the same one."""
    create(path, "caf\u00e9").close()
    reopen(path, "cafe\u0301").close()
