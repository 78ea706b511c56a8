"""Ctrl-C or SIGTERM anywhere inside a call: nothing hangs, nothing is lost, debts are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mimir_core import Item, Mimir
from mimir_core.crypto.blocks import BLOCK_SIZE
from mimir_core.errors import VaultBusy, VaultClosed
from mimir_core.storage.handle import owns
from mimir_core.vault.checkpoint import Checkpointer
from mimir_core.vault.container import Container
from mimir_core.vault.layout import Stream
from mimir_core.vault.state import State

from ..storage.interrupts import interrupted
from .vaults import BARE, contents, create, everything, reopen, state_of

unix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs Unix's signals and tools")


pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # it may strike where a generator is dropped
)


@pytest.fixture(autouse=True)
def _no_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty no journal in the background."""
    monkeypatch.setattr("mimir_core.vault.vault.IDLE_SECONDS", 1_000.0)


def check_free(mimir: Mimir, other: Mimir) -> None:
    """Checks that the handle holds no lock, and that another can write at once."""
    assert not mimir._vault.entered
    assert not owns(mimir._vault._store._lock)  # type: ignore[attr-defined]  # it is SQLite's
    with other._vault._store.writing(0):
        pass


def everywhere(work: Callable[[], object], check: Callable[[bool], None], step: int = 1) -> None:
    """Interrupt the work at every step-th place; call `check` with whether it came so far."""
    place, came = 0, True
    while came:
        came = interrupted(work, place)
        check(came)
        place += step
    assert place > 100


def test_reading(mimir: Mimir, path: Path) -> None:
    """Wherever it strikes a read, the same handle reads on and another writes at once."""
    id_ = mimir.remember("a cat")
    with reopen(path) as other:

        def check(came: bool) -> None:
            check_free(mimir, other)
            assert mimir.get(id_).text == "a cat"

        everywhere(lambda: mimir.get(id_), check)


def test_remembering(mimir: Mimir, path: Path) -> None:
    """Wherever it strikes a remember, all of it is stored or nothing, and the handle goes on."""
    with reopen(path) as other:
        turns = 0

        def work() -> None:
            nonlocal turns
            turns += 1
            mimir.remember_many([Item(f"cat {turns}", key="k"), Item(f"dog {turns}")])

        def check(came: bool) -> None:
            check_free(mimir, other)
            texts = [memory.text for memory in mimir.memories()]
            dogs = [text for text in texts if text.startswith("dog")]
            assert [text for text in texts if text.startswith("cat")] == [
                f"cat {text.split()[1]}" for text in dogs[-1:]
            ]
            if not came:
                assert f"dog {turns}" in dogs

        everywhere(work, check, step=5)
        assert mimir.verify().ok
        assert everything(mimir) == everything(other)


@unix_only
def test_forgetting(mimir: Mimir, path: Path) -> None:
    """Wherever it strikes a forget, the next commit leaves no key of what is gone in any file."""
    mimir.remember_many([Item(f"turn {n}") for n in range(20)])
    mimir.checkpoint()
    with reopen(path) as other:
        id_, keybook = "", b""

        def prepare() -> None:
            nonlocal id_, keybook
            id_ = mimir.remember("a secret")
            container = state_of(mimir).container
            number = container._numbers[Stream.KEYBOOK, 0]
            (keybook,) = mimir._vault._store.read([number])
            assert len(keybook) == BLOCK_SIZE

        def check(came: bool) -> None:
            check_free(mimir, other)
            mimir.remember("a dog")
            if id_ in contents(mimir):
                assert came
                mimir.forget(id_)
            assert keybook[:64] not in files(path)
            prepare()

        prepare()
        assert keybook[:64] in files(path)
        everywhere(lambda: mimir.forget(id_), check, step=5)
        assert mimir.verify().ok
        assert everything(mimir) == everything(other)


def files(path: Path) -> bytes:
    """The file and its journal, read by another process."""
    command = ["cat", str(path), f"{path}-wal"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize("where", [(Container, "_adopt"), (State, "adopt")])
def test_between_commit_and_views(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str]
) -> None:
    """An interrupt after the commit leaves no half-changed map or view in use, and the debt."""
    ids = mimir.remember_many([Item(f"turn {n}") for n in range(3)])

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    for work in (mimir.checkpoint, lambda: mimir.forget(ids[0])):
        with monkeypatch.context() as patch:
            patch.setattr(*where, strike)
            with pytest.raises(KeyboardInterrupt):
                work()
        container = state_of(mimir).container
        used = set(container._map["stream"][: container.root.blocks].nonzero()[0].tolist())
        assert set(container._numbers.values()) == used
        assert not used & set(container._free)
    assert mimir._vault._scrub_owed
    mimir.remember("a dog")
    assert Path(f"{path}-wal").stat().st_size <= BARE
    assert not mimir._vault._scrub_owed
    assert mimir.verify().ok


def test_a_refused_commit_owes_nothing(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forget that the store refuses changes nothing, neither the views nor what is owed."""
    id_ = mimir.remember("a cat")
    state = state_of(mimir)

    def refuse(*_: object, **__: object) -> None:
        raise VaultBusy("no")

    with monkeypatch.context() as patch:
        patch.setattr(mimir._vault._store, "commit", refuse)
        with pytest.raises(VaultBusy):
            mimir.forget(id_)
    assert state_of(mimir) is state
    assert not mimir._vault._scrub_owed
    assert mimir.get(id_).text == "a cat"


def test_no_thread_is_to_be_had(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no threads, an open, a remember and a forget do all that they say."""
    monkeypatch.setattr("mimir_core.index.vectors.GRAPH_FROM", 50)
    monkeypatch.setattr("mimir_core.vault.checkpoint._LEAST_TAIL", 10)
    with create(path) as mimir:
        ids = mimir.remember_many([Item(f"turn {n} {n % 7}") for n in range(120)])
        mimir.checkpoint()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with reopen(path) as mimir:
        mimir.remember_many([Item(f"turn {n} {n % 7}") for n in range(120, 150)])
        mimir.forget(ids[0])
        assert Path(f"{path}-wal").stat().st_size <= BARE
        assert len(mimir.recall("turn 3 3", k=200)) == 149
        assert mimir.verify().ok


@unix_only
@pytest.mark.parametrize("where", ["checkpoint", "transaction", "scrub"])
def test_a_handler_that_closes(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """SIGTERM closes the vault amid a call, which ends with VaultClosed; what was stored stays."""
    id_ = mimir.remember("a cat")
    owner, name = {
        "checkpoint": (Checkpointer, "_write"),
        "transaction": (Container, "commit"),
        "scrub": (type(mimir._vault._store), "_scrub"),
    }[where]
    real = getattr(owner, name)

    def strike(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(owner, name, real)
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **named)

    before = signal.signal(signal.SIGTERM, lambda *_: mimir.close())
    try:
        monkeypatch.setattr(owner, name, strike)
        with pytest.raises(VaultClosed):
            mimir.checkpoint() if where == "checkpoint" else mimir.forget(id_)
    finally:
        signal.signal(signal.SIGTERM, before)
    mimir.close()
    assert os.listdir(path.parent) == [path.name]
    with reopen(path) as again:
        assert again.verify().ok
        assert list(contents(again)) == ([] if where == "scrub" else [id_])


@unix_only
def test_a_handler_that_closes_while_the_background_waits(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for a checkpoint that waits for the interrupted call."""
    waiting, run = threading.Event(), Checkpointer.run

    def told(self: Checkpointer, progress: None = None) -> None:
        with self._running:
            waiting.set()
            run(self, progress)

    monkeypatch.setattr(Checkpointer, "run", told)
    before = signal.signal(signal.SIGTERM, lambda *_: mimir.close())
    id_ = mimir.remember("a cat")
    try:
        with mimir._vault.view():
            mimir._vault._checkpointer._start(mimir._vault._checkpointer.run)
            assert waiting.wait(20)
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(VaultClosed):
                mimir.get(id_)
    finally:
        signal.signal(signal.SIGTERM, before)
    with reopen(path) as again:
        assert list(contents(again)) == [id_]


def test_waiting_for_a_stored_graph(mimir: Mimir) -> None:
    """Wherever it strikes one who waits until the graph is attached, all others still can."""
    place = 0
    while interrupted(mimir._vault._settle, place):
        thread = threading.Thread(target=mimir._vault._settle, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        place += 1
    assert place > 3
