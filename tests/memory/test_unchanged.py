"""Read, change, write back: what others wrote in between is never lost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core import Item, Mimir, Seen, retry_conflicts, seen
from mimir_core.errors import Conflict, InputError, MimirError

from ..vault.between import places
from ..vault.vaults import MEMORY_FOLDER, contents, create, reopen, state_of
from ..vault.worker import finish, start_worker
from .unchanged_worker import add, words

COUNTERS = ("a", "b", "c")
WORDS = 12


def root_tag(mimir: Mimir) -> bytes:
    """What names the committed state."""
    return state_of(mimir).container.tag


def test_what_was_seen_is_what_known_and_keys_tell(mimir: Mimir) -> None:
    """Of keys it is the ids they have, of a namespace its newest memory."""
    first = mimir.remember("one", key="a", namespace="n")
    second = mimir.remember("two", namespace="n")
    mimir.remember("elsewhere", key="a")
    assert mimir.seen(["a", "b"], namespace="n") == [
        Seen(first, ("n",), "a"),
        Seen(None, ("n",), "b"),
    ]
    assert mimir.seen(namespace="n") == [Seen(second, ("n",))]
    assert mimir.seen(namespace="m") == [Seen(None, ("m",))]
    assert mimir.seen([]) == []


def test_a_write_on_what_is_as_it_was_seen_succeeds(mimir: Mimir) -> None:
    """Keys, missing keys and whole namespaces that did not change let the write through."""
    old = mimir.remember("one", key="a")
    mimir.remember("two", namespace="n")
    was = [*mimir.seen(["a", "b"]), *mimir.seen(namespace="n"), *mimir.seen(namespace="none")]
    mimir.remember("three")  # in the namespace of the keys, but not theirs
    (new,) = mimir.replace([Item("uno", key="a")], ids=[], unchanged=was)
    assert mimir.known(["a"]) == [new] != [old]
    assert mimir.replace([], keys=["a"], namespace="default", unchanged=mimir.seen(["a"])) == []
    assert mimir.known(["a"]) == [None]


CHANGES: dict[str, Callable[[Mimir], object]] = {
    "superseded": lambda m: m.remember("uno", key="a"),
    "kept history": lambda m: m.remember("uno", key="a", keep_history=True),
    "erased": lambda m: m.forget(key="a"),
    "made": lambda m: m.remember("new", key="b"),
    "made and erased": lambda m: m.forget(m.remember("uno", key="a")),
    "stored in the namespace": lambda m: m.remember("new", namespace="n"),
    "newest of the namespace erased": lambda m: m.forget(key="last", namespace="n"),
    "begun the namespace": lambda m: m.remember("new", namespace="none"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("storing", [True, False])
def test_a_conflict_writes_nothing(
    mimir: Mimir, path: Path, change: Callable[[Mimir], object], storing: bool
) -> None:
    """What another handle changed since is an error, and the file's root stays what it was."""
    mimir.remember("one", key="a")
    mimir.remember_many([Item("first", namespace="n"), Item("two", namespace="n", key="last")])
    doomed = mimir.remember("doomed")
    was = [*mimir.seen(["a", "b"]), *mimir.seen(namespace="n"), *mimir.seen(namespace="none")]
    with reopen(path) as other:
        change(other)
        before, tag = contents(other), root_tag(other)
        with pytest.raises(Conflict) as caught:
            mimir.replace([Item("x", key="a")] if storing else [], ids=[doomed], unchanged=was)
        assert root_tag(mimir) == root_tag(other) == tag
        assert contents(mimir) == contents(other) == before
    assert not any(secret in str(caught.value) for secret in ("default", "one", "last"))
    assert mimir.verify().ok


@pytest.mark.parametrize(
    "wrong",
    [
        "text", ["a"], None, [None], [("id", "n", "k")], [Seen("no id", "n")],
        [Seen(None, "a.b")], [Seen(None, "n", "")], [Seen(None, (), "k")],
    ],
)  # fmt: skip
def test_what_is_no_seen_is_refused(mimir: Mimir, wrong: Any) -> None:
    """A condition that cannot be checked is an error before anything is written."""
    tag = root_tag(mimir)
    with pytest.raises(InputError):
        mimir.replace([Item("x")], ids=[], unchanged=wrong)
    assert root_tag(mimir) == tag


@pytest.mark.parametrize("wrong", ["key", 7, [None], [""], [7]])
def test_what_is_no_key_cannot_be_seen(mimir: Mimir, wrong: Any) -> None:
    """`seen` takes a list of keys."""
    with pytest.raises(InputError):
        mimir.seen(wrong)


def test_no_interleaving_loses_a_word() -> None:
    """Wherever another handle adds its word, both words are there, each once."""
    lists = []
    for mimir in places(
        lambda m: add(m, "list", "first"),
        lambda m: retry_conflicts(lambda: add(m, "list", "mine")),
        lambda m: retry_conflicts(lambda: add(m, "list", "theirs")),
    ):
        lists.append(words(mimir, "list"))
    assert {tuple(sorted(each)) for each in lists} == {("first", "mine", "theirs")}
    assert lists[0] == ["first", "theirs", "mine"]
    assert lists[-1] == ["first", "mine", "theirs"]
    assert len(lists) == 4  # before it, before the read, before the write, after it


STEP = st.tuples(st.integers(0, 2), st.sampled_from(["see", "read", "write"]), st.integers(0, 2))


@settings(max_examples=40)
@given(st.lists(STEP, max_size=40))
def test_no_schedule_of_three_loses_a_write(steps: list[tuple[int, str, int]]) -> None:
    """Three handles that see, read and write in any order lose no acknowledged increment."""
    oracle = dict.fromkeys(COUNTERS, 0)
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder, ExitStack() as handles:
        path = Path(folder) / "v.mimir"
        mimirs = [handles.enter_context(opener(path)) for opener in (create, reopen, reopen)]
        those = [_Counting(mimir) for mimir in mimirs]
        for who, step, counter in steps:
            done = those[who].step(step, COUNTERS[counter])
            if done is not None:
                oracle[done] += 1
        stored = {key: sum(map(int, words(mimirs[0], key))) for key in COUNTERS}
    assert stored == oracle


class _Counting:
    """One that increments counters, a step at a time."""

    def __init__(self, mimir: Mimir) -> None:
        self._mimir = mimir
        self._key = COUNTERS[0]
        self._seen: list[Seen] | None = None
        self._value: int | None = None

    def step(self, step: str, key: str) -> str | None:
        """Does one step if it is due; returns the counter if an increment was acknowledged."""
        if step == "see":
            self._key, self._seen, self._value = key, self._mimir.seen([key]), None
        elif step == "read" and self._seen is not None:
            self._value = sum(map(int, words(self._mimir, self._key)))
        elif step == "write" and self._seen is not None and self._value is not None:
            item, was = Item(str(self._value + 1), key=self._key), self._seen
            self._seen = self._value = None
            tag = root_tag(self._mimir)
            try:
                self._mimir.replace([item], ids=[], unchanged=was)
            except Conflict:
                assert root_tag(self._mimir) == tag
                return None
            return self._key
        return None


def test_processes_lose_no_word(path: Path) -> None:
    """Four processes that add to one list all the time find all words in it at the end."""
    create(path).close()
    workers = [
        start_worker("append", path, number, WORDS, module="unchanged_worker", package="memory")
        for number in range(4)
    ]
    finish(workers)
    with reopen(path) as mimir:
        found = words(mimir, "list")
    assert sorted(found) == sorted(f"{n}-{turn}" for n in range(4) for turn in range(WORDS))


def test_trying_again_ends(mimir: Mimir) -> None:
    """A change that others always outrun is tried so many times, and then the error comes out."""
    calls = 0

    def outrun() -> None:
        nonlocal calls
        calls += 1
        was = mimir.seen(["a"])
        mimir.remember("faster", key="a")
        mimir.replace([Item("slower", key="a")], ids=[], unchanged=was)

    with patch.object(seen.time, "sleep"), pytest.raises(Conflict):
        retry_conflicts(outrun)
    assert calls == seen.TRIES
    assert mimir.get(key="a").text == "faster"


def test_only_conflicts_are_tried_again() -> None:
    """Any other error comes out at once, and so does a result."""
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise MimirError("something else")

    with pytest.raises(MimirError):
        retry_conflicts(fails)
    assert len(calls) == 1
    assert retry_conflicts(lambda: 7) == 7
