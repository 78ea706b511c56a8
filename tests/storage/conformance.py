"""What every block store must do: subclass, give the `engine` fixture, and run.

An engine's own tests add what only it can do wrong.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimir_core.errors import (
    Conflict,
    InvalidArgument,
    ScrubPending,
    VaultBusy,
    VaultClosed,
    VaultDamaged,
)
from mimir_core.storage import BLOCK_SIZE, BlockStore

from .blocks import PREAMBLE, block, tag


class Engine(Protocol):
    """Makes vaults of one engine in a place of its own, and handles on the newest of them."""

    def create(self, preamble: bytes, blocks: list[bytes]) -> BlockStore:
        """A handle on a new vault, which `open` means from now on."""
        ...

    def open(self) -> BlockStore:
        """Another handle on the vault made last."""
        ...

    def close(self) -> None:
        """Close every handle given out."""
        ...


def advance(store: BlockStore, seed: int) -> None:
    """Commit a state that is named by `seed`, in its root and its last block."""
    root = store.root_tag()
    store.commit({0: block(seed), 3: block(seed + 1)}, expected_root_tag=root)


class BlockStoreConformance:
    """The contract of `BlockStore`, one behaviour a test."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """The engine under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, engine: Engine) -> BlockStore:
        """A handle on a vault of four blocks, 0 to 3."""
        return engine.create(PREAMBLE, [block(n) for n in range(4)])

    @pytest.fixture
    def other(self, engine: Engine, store: BlockStore) -> BlockStore:
        """A second handle on the same vault."""
        return engine.open()

    def test_what_was_created_is_read_again(self, engine: Engine, store: BlockStore) -> None:
        """A new vault holds its preamble and blocks, also for a handle opened after a close."""
        store.close()
        again = engine.open()
        assert again.preamble() == PREAMBLE
        assert again.count() == 4
        assert again.read(range(4)) == [block(n) for n in range(4)]
        assert again.root_tag() == tag(block(0))

    def test_reads_come_in_the_order_asked(self, store: BlockStore) -> None:
        """Blocks come back in the order of the numbers, repeated ones repeated."""
        assert store.read([3, 0, 3]) == [block(3), block(0), block(3)]
        assert store.read([]) == []

    @pytest.mark.parametrize("number", [4, -1, 2**62, 2**70])
    def test_a_missing_block_is_damage(self, store: BlockStore, number: int) -> None:
        """A block number outside the vault raises VaultDamaged, however large."""
        with pytest.raises(VaultDamaged):
            store.read([0, number])

    def test_a_commit_is_seen_by_all(self, store: BlockStore, other: BlockStore) -> None:
        """A commit replaces blocks, extends the vault and shows at once in another handle."""
        store.commit({0: block(10), 4: block(14), 5: block(15)}, expected_root_tag=tag(block(0)))
        for handle in (store, other):
            assert handle.count() == 6
            assert handle.read([0, 1, 4, 5]) == [block(10), block(1), block(14), block(15)]
            assert handle.root_tag() == tag(block(10))
            assert handle.preamble() == PREAMBLE

    def test_a_snapshot_stays(self, store: BlockStore, other: BlockStore) -> None:
        """Inside reading() every read is of one state, though others commit; after it, the new."""
        with store.reading():
            before = store.root_tag()
            root = block(20)
            other.commit({0: root, 4: block(24)}, expected_root_tag=before, preamble=b"new")
            assert store.root_tag() == before
            assert store.read([0]) == [block(0)]
            assert store.count() == 4
            assert store.preamble() == PREAMBLE
        assert (store.root_tag(), store.count(), store.preamble()) == (tag(root), 5, b"new")

    def test_reading_nests(self, store: BlockStore, other: BlockStore) -> None:
        """Leaving an inner reading() keeps the outer one's snapshot."""
        with store.reading():
            before = store.root_tag()
            with store.reading():
                advance(other, 30)
                store.read([1])
            assert store.root_tag() == before
        assert store.root_tag() == tag(block(30))

    def test_a_writer_reads_the_newest_state(self, store: BlockStore, other: BlockStore) -> None:
        """Inside writing() reads see the newest state, and reading() there changes nothing."""
        advance(other, 40)
        with store.writing(1):
            with store.reading():
                assert store.root_tag() == tag(block(40))
            store.commit({0: block(41)}, expected_root_tag=tag(block(40)))
            assert store.root_tag() == tag(block(41))
        assert other.root_tag() == tag(block(41))

    def test_a_commit_from_inside_a_nested_reading(self, store: BlockStore) -> None:
        """A commit within reading() within writing() lands, and the handle is free afterwards."""
        with store.writing(1), store.reading():
            advance(store, 45)
        with store.writing(0):
            assert store.root_tag() == tag(block(45))

    def test_a_conflict_changes_nothing(self, store: BlockStore, other: BlockStore) -> None:
        """A commit that expects another root tag raises Conflict and writes nothing."""
        advance(other, 50)
        with pytest.raises(Conflict):
            store.commit({0: block(60)}, expected_root_tag=tag(block(0)), preamble=b"new")
        assert store.read([0, 3]) == [block(50), block(51)]
        assert store.preamble() == PREAMBLE

    @pytest.mark.parametrize("numbers", [[0, 5], [0, 4, 6], [0, -1], [2**62], [2**70]])
    def test_numbers_stay_dense(self, store: BlockStore, numbers: list[int]) -> None:
        """New numbers that leave a gap, or are negative, are refused and nothing is written."""
        with pytest.raises(InvalidArgument):
            store.commit({n: block(9) for n in numbers}, expected_root_tag=store.root_tag())
        assert store.read(range(4)) == [block(n) for n in range(4)]
        assert store.count() == 4

    @pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
    def test_blocks_of_another_size_are_refused(self, store: BlockStore, size: int) -> None:
        """A block that is not BLOCK_SIZE bytes is refused and nothing of the commit is written."""
        with pytest.raises(InvalidArgument):
            store.commit({0: block(9), 1: bytes(size)}, expected_root_tag=store.root_tag())
        assert store.read([0, 1]) == [block(0), block(1)]

    @pytest.mark.parametrize("size", [0, BLOCK_SIZE + 1])
    def test_preambles_of_a_wrong_size_are_refused(
        self, engine: Engine, store: BlockStore, size: int
    ) -> None:
        """An empty preamble, and one that fits no page, are refused by commit and create."""
        with pytest.raises(InvalidArgument):
            store.commit({0: block(9)}, expected_root_tag=store.root_tag(), preamble=bytes(size))
        assert (store.preamble(), store.read([0])) == (PREAMBLE, [block(0)])
        with pytest.raises(InvalidArgument):
            engine.create(bytes(size), [block(0)])

    @pytest.mark.parametrize("size", [1, BLOCK_SIZE])
    def test_preambles_can_be_replaced(self, store: BlockStore, size: int) -> None:
        """A commit can replace the preamble by a shorter or longer one."""
        store.commit({}, expected_root_tag=store.root_tag(), preamble=b"p" * size)
        assert store.preamble() == b"p" * size

    def test_an_exception_rolls_back(self, store: BlockStore, other: BlockStore) -> None:
        """An exception inside writing() passes through and gives the right to commit back."""
        with pytest.raises(ZeroDivisionError), store.writing(1):
            raise ZeroDivisionError
        with other.writing(0):
            assert other.read(range(4)) == [block(n) for n in range(4)]

    def test_a_failed_commit_ends_the_transaction(
        self, store: BlockStore, other: BlockStore
    ) -> None:
        """After a refused commit inside writing() another handle can write at once."""
        with store.writing(1):
            with pytest.raises(InvalidArgument):
                store.commit({9: block(9)}, expected_root_tag=store.root_tag())
            advance(other, 70)
            advance(store, 72)
        assert other.read([0, 3]) == [block(72), block(73)]

    def test_a_snapshot_cannot_become_a_writer(self, store: BlockStore) -> None:
        """writing() and commit() inside reading(), and writing() inside itself, are refused."""
        with store.reading():
            with pytest.raises(InvalidArgument), store.writing(0):
                pass
            with pytest.raises(InvalidArgument):
                advance(store, 1)
        with store.writing(0), pytest.raises(InvalidArgument), store.writing(0):
            pass
        advance(store, 80)

    @pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.05])
    def test_a_second_writer_is_told_busy(
        self, store: BlockStore, other: BlockStore, timeout: float
    ) -> None:
        """writing() raises VaultBusy while another handle holds the right to commit."""
        with store.writing(1), pytest.raises(VaultBusy), other.writing(timeout):
            pass
        with other.writing(float("inf")):
            pass

    def test_a_writer_waits_its_turn(self, store: BlockStore, other: BlockStore) -> None:
        """writing() with a timeout goes ahead as soon as the other writer is done."""
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with store.writing(1):
                held.set()
                release.wait(5)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(hold)
            held.wait(5)
            threading.Timer(0.05, release.set).start()
            with other.writing(5):
                assert release.is_set()

    def test_readers_do_not_wait_for_a_writer(self, store: BlockStore, other: BlockStore) -> None:
        """While one handle is writing, another reads the last committed state."""
        with store.writing(1):
            assert other.read([0]) == [block(0)]
            with other.reading():
                assert other.root_tag() == tag(block(0))

    def test_a_handle_in_use_by_a_thread_is_busy(self, store: BlockStore) -> None:
        """writing() raises VaultBusy while another thread is inside the same handle."""

        def attempt() -> None:
            with store.writing(0.01):
                pass

        with store.reading(), ThreadPoolExecutor(1) as pool:
            assert isinstance(pool.submit(attempt).exception(), VaultBusy)

    def test_scrub_waits_for_old_snapshots(self, store: BlockStore, other: BlockStore) -> None:
        """scrub() raises ScrubPending while a reader needs superseded blocks, then succeeds."""
        advance(store, 90)
        with other.reading():
            other.read([0])
            advance(store, 92)
            with pytest.raises(ScrubPending):
                store.scrub(0.02)
            assert other.read([0]) == [block(90)]
        store.scrub(1)
        store.scrub(0)
        assert other.read([0, 3]) == [block(92), block(93)]

    def test_scrub_waits_for_writers(self, store: BlockStore, other: BlockStore) -> None:
        """scrub() raises ScrubPending while another handle, or its own, is inside a transaction."""
        for context in (other.writing(1), store.writing(1), store.reading()):
            with context, pytest.raises(ScrubPending):
                store.scrub(0)
        store.scrub(1)

    def test_closing_twice_is_harmless(self, store: BlockStore, other: BlockStore) -> None:
        """A second close() does nothing, and other handles go on."""
        store.close()
        store.close()
        advance(other, 100)
        assert other.root_tag() == tag(block(100))

    @pytest.mark.parametrize(
        "use",
        [
            lambda store: store.root_tag(),
            lambda store: store.count(),
            lambda store: store.preamble(),
            lambda store: store.read([0]),
            lambda store: store.read([]),
            lambda store: store.reading().__enter__(),
            lambda store: store.writing(0).__enter__(),
            lambda store: store.scrub(0),
            lambda store: store.commit({}, expected_root_tag=b""),
        ],
    )
    def test_a_closed_handle_is_of_no_use(
        self, store: BlockStore, use: Callable[[BlockStore], object]
    ) -> None:
        """Every method of a closed handle raises VaultClosed."""
        store.close()
        with pytest.raises(VaultClosed):
            use(store)

    def test_closing_inside_a_transaction_undoes_it(
        self, store: BlockStore, other: BlockStore
    ) -> None:
        """close() inside writing() or reading() gives every right back."""
        with store.writing(1):
            store.close()
        with other.reading():
            other.close()
        with pytest.raises(VaultClosed):
            other.root_tag()

    def test_threads_share_a_handle(self, store: BlockStore) -> None:
        """Commits from many threads through one handle all land, one after the other."""

        def extend(seed: int) -> None:
            with store.writing(10):
                writes = {0: block(seed), store.count(): block(seed)}
                store.commit(writes, expected_root_tag=store.root_tag())

        seeds = range(1000, 1040)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(extend, seeds))
        assert sorted(store.read(range(4, 44))) == sorted(block(seed) for seed in seeds)

    def test_snapshots_are_never_torn(self, store: BlockStore, other: BlockStore) -> None:
        """While one handle commits pairs of blocks, another never sees half of a pair."""
        advance(store, 500)
        done = threading.Event()

        def write() -> None:
            with suppress(VaultClosed):
                for step in range(150):
                    advance(store, 500 + step)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        pairs = set()
        while not done.is_set():
            with other.reading():
                root = other.root_tag()
                pairs.add((root, other.read([0])[0], other.read([3])[0]))
        writer.join()
        committed = {(tag(block(s)), block(s), block(s + 1)) for s in range(500, 650)}
        assert pairs <= committed

    @given(
        st.lists(
            st.tuples(st.sets(st.integers(0, 12)), st.booleans(), st.booleans()), max_size=12
        )
    )
    @settings(
        max_examples=25,
        deadline=None,
        # Each example makes a vault of its own, and every engine's class runs this same test.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    def test_any_history_reads_as_its_model(
        self, engine: Engine, history: list[tuple[set[int], bool, bool]]
    ) -> None:
        """After any commits, refused ones included, scrubs and reopenings, a list says the same."""
        model = [block(0)]
        store = engine.create(PREAMBLE, model)
        for seed, (numbers, reopen, scrub) in enumerate(history, start=1):
            writes = {number: block(100 * seed + number) for number in numbers | {0}}
            try:
                store.commit(writes, expected_root_tag=tag(model[0]))
            except InvalidArgument:
                assert max(numbers) >= len(model)
            else:
                model.extend(b"" for n in writes if n >= len(model))
                model = [writes.get(number, old) for number, old in enumerate(model)]
            if scrub:
                store.scrub(1)
            if reopen:
                store.close()
                store = engine.open()
            assert store.count() == len(model)
            assert store.read(range(len(model))) == model
        store.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
    @pytest.mark.parametrize("inside", [False, True])
    def test_a_forked_child_has_no_handle(self, store: BlockStore, inside: bool) -> None:
        """In a forked child every use raises VaultClosed and closing is harmless to the parent."""
        with store.reading() if inside else nullcontext():
            child = os.fork()
            if child == 0:
                refused = False
                try:
                    store.root_tag()
                except VaultClosed:
                    refused = True
                finally:
                    store.close()
                    os._exit(0 if refused else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert store.read([0]) == [block(0)]
        advance(store, 110)
        assert store.root_tag() == tag(block(110))
