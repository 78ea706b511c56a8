"""Keys in order, by how they begin: the same as sorting all of them, at the cost of a few."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mimir_core import Item, Mimir
from mimir_core.errors import InvalidArgument
from mimir_core.index import catalog_threads

from ..vault.vaults import create, reopen

PREFIXES = ("", "a", "a ", "a b", "b", "é", "\U0010ffff", "nobody's")
KEYS = [f"{begin}{n}" for begin in ("a", "a ", "a b ", "b", "é", "\uffff", "\U0010ffff")
        for n in range(6)]  # fmt: skip


def check(mimir: Mimir) -> None:
    """Compares every question with the plain answer."""
    for namespace in ("n", ("n", "below"), "empty"):
        keys = sorted(set(mimir.keys(namespace=namespace)))  # with history, some are there twice
        for prefix in PREFIXES:
            plain = [key for key in keys if key.startswith(prefix)]
            assert mimir.sorted_keys(prefix, namespace=namespace) == plain
            for last in (0, 1, 3, 1_000):
                found = mimir.sorted_keys(prefix, namespace=namespace, last=last)
                assert found == plain[max(len(plain) - last, 0) :]


def test_keys_come_sorted_while_they_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is stored, superseded and forgotten, by this handle or another, one or many."""
    monkeypatch.setattr(catalog_threads, "_FEW_CHANGES", 5)
    choice = random.Random(1)
    with create(path) as one, reopen(path) as other:
        for _ in range(60):
            mimir = choice.choice([one, other])
            keys = choice.sample(KEYS, choice.choice([1, 1, 2, 12]))
            place: Any = choice.choice(["n", ("n", "below")])
            if choice.random() < 0.6:
                history = choice.random() < 0.3
                mimir.remember_many(
                    [Item(key, place, key=key, keep_history=history) for key in keys]
                )
            else:
                mimir.forget(keys=keys, namespace=place)
            if choice.random() < 0.5:
                check(one)
        check(one)
        check(other)
    with reopen(path) as mimir:
        check(mimir)


def test_what_is_no_question_is_refused(mimir: Mimir) -> None:
    """A prefix is a string, and `last` a number."""
    for prefix, last in ((None, None), (b"a", None), ("a", -1), ("a", 1.5)):
        with pytest.raises(InvalidArgument):
            mimir.sorted_keys(prefix, last=last)  # type: ignore[arg-type]
