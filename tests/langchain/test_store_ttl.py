"""Time to live: expiry, renewal by reading, sweeping. Time stands still unless a test moves it."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
from langgraph.store.base import GetOp, PutOp, SearchOp

from mimir_core import Mimir
from mimir_core.errors import DiskFull, StorageFailed, VaultBusy
from mimir_langchain import MimirStore
from mimir_langchain import store as module

PLACE = ("a", "b")


class Clock:
    """Minutes that pass when they are told to."""

    def __init__(self) -> None:
        self.minutes = 1_000_000.0

    def __call__(self) -> int:
        return int(self.minutes * 60_000_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that stores go by."""
    clock = Clock()
    monkeypatch.setattr(module, "_now", clock)
    return clock


@pytest.fixture
def store(mimir: Mimir, clock: Clock) -> MimirStore:
    """A store whose items live for ten minutes unless something else is said."""
    return MimirStore(mimir, ttl={"default_ttl": 10, "refresh_on_read": True})


def keys(store: MimirStore, query: str | None = None) -> list[str]:
    """What a search finds, without renewing it."""
    return [item.key for item in store.search((), query=query, refresh_ttl=False, limit=100)]


def test_what_has_expired_is_not_there(store: MimirStore, clock: Clock) -> None:
    """Before any sweep, neither get, search, ranked search nor listing shows an expired item."""
    store.put(PLACE, "default", {"text": "cat"})
    store.put(PLACE, "short", {"text": "cat"}, ttl=1)
    store.put(("c",), "short", {"text": "cat"}, ttl=1, index=False)
    store.put(PLACE, "ever", {"text": "cat"}, ttl=None)
    clock.minutes += 1
    assert keys(store) == ["default", "ever"]
    assert sorted(keys(store, "cat")) == ["default", "ever"]
    assert store.get(PLACE, "short") is None
    assert store.list_namespaces() == [PLACE]
    clock.minutes += 10
    assert keys(store) == ["ever"]
    assert store.sweep_ttl() == 3
    assert store.sweep_ttl() == 0
    assert keys(store) == ["ever"]


def test_pages_are_full_though_items_expire(store: MimirStore, clock: Clock) -> None:
    """Expired items take no room on a page."""
    for n in range(20):
        store.put(PLACE, f"{n:02}", {"text": f"cat {n}"}, ttl=1 if n % 2 else None)
    clock.minutes += 2
    even = [f"{n:02}" for n in range(0, 20, 2)]
    first, second = (store.search(PLACE, limit=5, offset=at) for at in (0, 5))
    assert [item.key for item in first + second] == even
    first, second = (store.search(PLACE, query="cat", limit=5, offset=at) for at in (0, 5))
    assert sorted(item.key for item in first + second) == even


def test_reading_renews(store: MimirStore, clock: Clock) -> None:
    """A get or a search gives what it returns its whole time again, and nothing else."""
    for key in ("got", "found", "ignored", "peeked"):
        store.put(PLACE, key, {"name": key})
    clock.minutes += 6
    store.get(PLACE, "got")
    store.search(PLACE, filter={"name": "found"})
    store.get(PLACE, "peeked", refresh_ttl=False)
    clock.minutes += 6
    assert keys(store) == ["got", "found"]
    assert store.sweep_ttl() == 2
    clock.minutes += 6
    assert keys(store) == []
    assert store.get(PLACE, "got") is None


def test_reading_does_not_bring_back_what_expired(store: MimirStore, clock: Clock) -> None:
    """An expired item that is read stays expired."""
    store.put(PLACE, "k", {})
    clock.minutes += 11
    assert store.batch([GetOp(PLACE, "k"), SearchOp(PLACE)]) == [None, []]
    assert store.sweep_ttl() == 1


def test_a_store_may_not_renew(mimir: Mimir, clock: Clock) -> None:
    """With `refresh_on_read` off only a read that asks for it renews."""
    store = MimirStore(mimir, ttl={"default_ttl": 10, "refresh_on_read": False})
    store.put(PLACE, "k", {})
    store.put(PLACE, "asked", {})
    clock.minutes += 6
    store.get(PLACE, "k")
    store.get(PLACE, "asked", refresh_ttl=True)
    clock.minutes += 6
    assert keys(store) == ["asked"]


def test_renewals_of_a_batch_are_one_commit(
    store: MimirStore, mimir: Mimir, clock: Clock
) -> None:
    """A search that renews many items commits once; reading again at once commits nothing."""
    store.batch([PutOp(PLACE, str(n), {}, ttl=10) for n in range(30)])
    clock.minutes += 1
    before = mimir.stats().commits
    assert len(store.search(PLACE, limit=100)) == 30
    assert mimir.stats().commits == before + 1
    store.search(PLACE, limit=100)
    store.search(PLACE, limit=100, refresh_ttl=False)
    assert mimir.stats().commits == before + 1


def test_renewing_keeps_the_item(store: MimirStore, clock: Clock) -> None:
    """Renewal changes neither times nor vectors nor order."""
    store.put(PLACE, "a", {"text": "cat"})
    store.put(PLACE, "b", {"text": "dog"})
    before = store.search(PLACE, query="cat")
    clock.minutes += 5
    assert store.search(PLACE, query="cat") == before
    assert store.search(PLACE, query="cat")[0].score == before[0].score
    assert keys(store) == ["a", "b"]


def test_a_put_sets_the_time_anew(store: MimirStore, clock: Clock) -> None:
    """The last put says how long an item lives, for ever included."""
    for key in ("renewed", "ever", "shorter"):
        store.put(PLACE, key, {})
    clock.minutes += 6
    store.put(PLACE, "renewed", {})
    store.put(PLACE, "ever", {}, ttl=None)
    store.put(PLACE, "shorter", {}, ttl=1)
    clock.minutes += 6
    assert keys(store) == ["renewed", "ever"]
    clock.minutes += 60
    assert store.sweep_ttl() == 2
    assert keys(store) == ["ever"]


def test_an_expired_item_starts_anew(store: MimirStore, clock: Clock) -> None:
    """What is put where something expired is a new item, created now."""
    store.put(PLACE, "k", {"n": 1})
    old = store.get(PLACE, "k").created_at
    clock.minutes += 20
    store.put(PLACE, "k", {"n": 2})
    item = store.get(PLACE, "k")
    assert item.created_at == item.updated_at > old


def test_a_deleted_item_leaves_no_lease(store: MimirStore, mimir: Mimir, clock: Clock) -> None:
    """Delete, put without a time to live, and sweep leave no trace of the lease."""
    for key in ("deleted", "ever", "swept"):
        store.put(PLACE, key, {})
    store.delete(PLACE, "deleted")
    store.put(PLACE, "ever", {}, ttl=None)
    clock.minutes += 20
    store.sweep_ttl()
    assert mimir.namespaces() == {("langgraph", "store", *PLACE): 1}


def test_zero_minutes_are_over_at_once(store: MimirStore) -> None:
    """A time to live of nothing is allowed, and one without end too."""
    store.put(PLACE, "never", {}, ttl=0)
    store.put(PLACE, "always", {}, ttl=1e300)
    assert keys(store) == ["always"]


def test_what_is_written_while_sweeping_stays(
    store: MimirStore, mimir: Mimir, clock: Clock
) -> None:
    """A sweep erases nothing that another store writes between its looking and its erasing."""
    other = MimirStore(mimir)
    store.put(PLACE, "k", {"n": 1})
    store.put(PLACE, "gone", {"n": 1})
    clock.minutes += 20
    forget, calls = Mimir.forget, []

    def late(self: Mimir, *args: object, **kwargs: object) -> object:
        if not calls and not kwargs:
            calls.append(1)
            other.put(PLACE, "k", {"n": 2})
        return forget(self, *args, **kwargs)  # type: ignore[arg-type]

    with patch.object(Mimir, "forget", late):
        assert store.sweep_ttl() == 1
    assert calls
    assert store.get(PLACE, "k").value == {"n": 2}


def test_renewal_gives_way_to_other_writers(store: MimirStore, mimir: Mimir, clock: Clock) -> None:
    """An item put for ever by another store while it is renewed here lives for ever."""
    other = MimirStore(mimir)
    store.put(PLACE, "k", {"n": 1})
    clock.minutes += 5
    replace, calls = Mimir.replace, []

    def late(self: Mimir, items: object, **kwargs: object) -> object:
        if not calls:
            calls.append(1)
            other.put(PLACE, "k", {"n": 2})
        return replace(self, items, **kwargs)  # type: ignore[arg-type]

    with patch.object(Mimir, "replace", late):
        assert store.get(PLACE, "k").value == {"n": 1}
    clock.minutes += 100
    store.sweep_ttl()
    assert store.get(PLACE, "k").value == {"n": 2}


@pytest.mark.parametrize("error", [VaultBusy("another writer"), DiskFull("no room")])
def test_a_read_succeeds_though_it_cannot_renew(
    store: MimirStore, clock: Clock, error: Exception
) -> None:
    """Where the vault cannot be written now, a read answers all the same; a put does not."""
    store.put(PLACE, "k", {"n": 1})
    clock.minutes += 5
    with patch.object(Mimir, "replace", side_effect=error):
        assert store.get(PLACE, "k").value == {"n": 1}
        with pytest.raises(type(error)):
            store.batch([GetOp(PLACE, "k"), PutOp(PLACE, "other", {})])


def test_the_sweeper_sweeps_until_stopped(mimir: Mimir) -> None:
    """The thread erases what has expired, survives an error, and ends when told to."""
    store = MimirStore(mimir, ttl={"sweep_interval_minutes": 1})
    swept, real = threading.Event(), store.sweep_ttl
    outcomes = iter([StorageFailed("for once")])

    def sweep() -> int:
        for error in outcomes:
            raise error
        count = real()
        if count:
            swept.set()
        return count

    store.put(PLACE, "k", {}, ttl=0)
    with patch.object(store, "sweep_ttl", sweep):
        ended = store.start_ttl_sweeper(0.0001)
        assert swept.wait(10)
    assert not ended.done()
    assert store.stop_ttl_sweeper(timeout=10)
    assert ended.result(10) is None
    assert mimir.namespaces() == {}
    assert store.stop_ttl_sweeper()


def test_the_sweeper_starts_once_and_again(mimir: Mimir) -> None:
    """A second start joins the first, cancelling ends it, and it can be started anew."""
    store = MimirStore(mimir, ttl={"default_ttl": 1, "sweep_interval_minutes": 60})
    before = threading.active_count()
    store.start_ttl_sweeper()
    store.start_ttl_sweeper().cancel()
    assert store.stop_ttl_sweeper(10)
    assert threading.active_count() == before
    store.start_ttl_sweeper()
    assert threading.active_count() == before + 1
    assert store.stop_ttl_sweeper(10)


def test_nothing_sweeps_without_a_configuration(mimir: Mimir) -> None:
    """A store without `ttl` starts no thread."""
    store = MimirStore(mimir)
    assert store.start_ttl_sweeper().done()
    assert store.stop_ttl_sweeper()


def test_the_sweeper_keeps_no_store_alive(mimir: Mimir) -> None:
    """A store that nobody holds is collected, and its sweeper ends."""
    store = MimirStore(mimir, ttl={"sweep_interval_minutes": 60})
    ended = store.start_ttl_sweeper()
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None
    assert ended.result(10) is None


def test_the_sweeper_ends_with_the_vault(mimir: Mimir) -> None:
    """Closing the vault ends the thread at its next turn."""
    store = MimirStore(mimir, ttl={"sweep_interval_minutes": 1})
    ended = store.start_ttl_sweeper(0.0001)
    mimir.close()
    assert ended.result(10) is None


def test_threads_renew_and_write_together(store: MimirStore, clock: Clock) -> None:
    """Readers that renew, writers and a sweep at once lose nothing that is alive."""
    store.batch([PutOp(PLACE, str(n), {"n": 0}, ttl=10) for n in range(8)])
    clock.minutes += 5

    def work(n: int) -> None:
        if n % 3 == 0:
            store.put(PLACE, str(n % 8), {"n": n}, ttl=10)
        elif n % 3 == 1:
            store.search(PLACE, limit=100)
        else:
            store.sweep_ttl()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(60)))
    assert sorted(keys(store)) == [str(n) for n in range(8)]
