"""What a traceback, or a pickle, gives away: nothing of keys, passphrases and content."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mimir_core import Item, Mimir
from mimir_core.crypto.preamble import Preamble
from mimir_core.errors import MimirError, NotSerializable

from ..vault.raw import flip, flip_preamble, read_blocks, read_preamble
from ..vault.vaults import EMBEDDER, FAST, PASSPHRASE, create, reopen

SECRET = "xylophone"
NEW = "another passphrase, as secret"
OPENING: dict[str, Callable[[Path], object]] = {
    "wrong": lambda path: reopen(path, f"not {PASSPHRASE}"),
    "surrogate": lambda path: reopen(path, f"{PASSPHRASE}\ud800"),
    "exists": create,
    "surrogate of a new one": lambda path: create(path.with_name("new"), f"{PASSPHRASE}\ud800"),
    "no folder": lambda path: create(path / "below" / "it"),
    "no vault": lambda path: reopen(Path(__file__)),
    "missing": lambda path: reopen(path.with_name("missing")),
    "cost": lambda path: Mimir.open(path, PASSPHRASE, embedder=EMBEDDER),
    "slots": lambda path: (flip_preamble(path, 70), reopen(path)),
    "mac": lambda path: (flip_preamble(path, 11_350), reopen(path)),
    "version": lambda path: (flip_preamble(path, 8), reopen(path)),
    "root": lambda path: (flip(path, 0), reopen(path)),
    "blocks": lambda path: ([flip(path, no) for no in read_blocks(path) if no], reopen(path)),
}


def failure(action: Callable[[], object]) -> BaseException:
    """The error that an action ends with."""
    try:
        action()
    except BaseException as error:
        return error
    pytest.fail("nothing was raised")


def frames(error: BaseException | None) -> Iterator[FrameType]:
    """The frames of our own packages in an error's traceback, and in those behind it."""
    if error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals["__name__"].split(".")[0] in ("mimir_core", "argon2", "nacl"):
                yield frame
        yield from frames(error.__cause__)
        yield from frames(error.__context__)


def shown(error: BaseException) -> str:
    """All that someone sees who is shown the local variables."""
    return repr([frame.f_locals for frame in frames(error)])


def secrets_of(path: Path) -> list[Any]:
    """The vault's passphrase, what is derived from it, its keys and its memories' secrets."""
    settings = Preamble.parse(read_preamble(path)).settings
    with reopen(path) as mimir:
        keys = mimir._vault._keys
        with mimir._vault.view() as state:
            entries = [state.entry(ordinal) for ordinal in range(len(state.catalog))]
        held = [keys.root_key, keys.block_key, keys.preamble_key, *entries]
    return [settings.derive(PASSPHRASE), *held]


@pytest.mark.parametrize("way", OPENING)
def test_locals_of_a_failed_opening_hold_no_secret(path: Path, way: str) -> None:
    """However opening or creating fails, no frame of ours holds the passphrase or a key."""
    with create(path) as mimir:
        mimir.remember_many([Item(f"{SECRET} {number}") for number in range(5)])
    secrets = secrets_of(path)
    error = failure(lambda: OPENING[way](path))
    assert isinstance(error, MimirError)
    seen = shown(error)
    assert list(frames(error))  # the traceback itself is whole
    assert PASSPHRASE not in seen
    assert not [one for one in secrets if repr(one)[2:-1] in seen or one.hex() in seen]


def test_locals_of_a_failed_change_hold_no_passphrase(mimir: Mimir) -> None:
    """A passphrase that is refused is in no frame of ours."""
    error = failure(lambda: mimir.change_passphrase(f"{NEW}\ud800", profile=FAST))
    assert NEW not in shown(error)


def test_locals_of_a_failed_read_hold_no_key_and_no_content(mimir: Mimir, path: Path) -> None:
    """Whoever meets damage sees neither a memory's key nor an opened one in our frames."""
    ids = mimir.remember_many([Item(f"{SECRET} {number}") for number in range(5)])
    with mimir._vault.view() as state:
        entries = [state.entry(ordinal) for ordinal in range(5)]
        state.keybook.set(3, bytes(32))  # as if it had been damaged in memory
    error = failure(lambda: mimir.get_many(ids))
    seen = shown(error)
    assert SECRET not in seen
    assert not [entry for entry in entries if repr(entry)[2:-1] in seen]


def test_an_error_that_the_caller_handles_keeps_its_locals(mimir: Mimir) -> None:
    """What was raised before is the caller's own, and its generators go on."""

    def turns() -> Iterator[int]:
        kept = 1
        try:
            raise LookupError
        except LookupError:
            with pytest.raises(MimirError):
                mimir.get("ab" * 32)
            yield kept
            with pytest.raises(MimirError):
                mimir.get("ab" * 32)
            yield kept + 1

    assert list(turns()) == [1, 2]

    def inner() -> None:
        kept = 1
        raise LookupError(kept)

    try:
        inner()
    except LookupError as own:
        with pytest.raises(MimirError):
            mimir.get("ab" * 32)
        found = [frame.f_locals.get("kept") for frame, _ in traceback.walk_tb(own.__traceback__)]
    assert found[-1] == 1


def opened(mimir: Mimir) -> list[Any]:
    """One of everything opened that a vault gives."""
    id_ = mimir.remember(SECRET, thread=SECRET, metadata={"tags": [SECRET]})
    hits = mimir.recall(SECRET, neighbours=1)
    return [mimir.get(id_), hits[0], hits, hits[:1], mimir.thread(SECRET), [hits[0]]]


def test_what_was_opened_is_not_pickled(mimir: Mimir) -> None:
    """No protocol of pickle takes a memory or a hit along, alone or in a list."""
    for thing in opened(mimir):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(NotSerializable) as caught:
                pickle.dumps(thing, protocol)
            assert SECRET not in str(caught.value)


def test_what_was_opened_is_copied(mimir: Mimir) -> None:
    """Copies are equal and of the same class; deep ones share nothing that can change."""
    for thing in opened(mimir):
        for made in (copy.copy(thing), copy.deepcopy(thing)):
            assert type(made) is type(thing)
            assert made == thing
    memory = opened(mimir)[0]
    assert copy.deepcopy(memory).metadata["tags"] is not memory.metadata["tags"]
