"""Segments: long documents fit, what does not fit is kept all the same, old places are cleared."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mimir_core import Item, Mimir
from mimir_core.vault.layout import Stream
from mimir_core.vault.segment import SEGMENT_NODES, SEGMENT_PARTS

from .vaults import contents, create, reopen, state_of

WORDS = random.Random(7)


def document(words: int) -> str:
    """A text of so many words, no two of them alike."""
    return " ".join(f"{WORDS.getrandbits(48):012x}" for _ in range(words))


def segments(mimir: Mimir) -> list[int]:
    """The indexes of the blocks that segments take."""
    return state_of(mimir).container.indexes(Stream.SEGMENTS)


def test_a_document_of_many_words_gets_its_segment(path: Path) -> None:
    """Eight megabytes of words that occur once are written with the views, as anything is."""
    with create(path) as mimir:
        mimir.remember(document(600_000), vector=[1.0] * 32)
    with reopen(path) as mimir:
        assert mimir.stats().tail == 0
        assert len(segments(mimir)) > 256
        assert mimir.verify().ok


def test_what_is_too_large_for_a_segment_stays_in_the_tail(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing succeeds, nothing is lost, and the views are written as soon as they fit."""
    with monkeypatch.context() as patch:
        patch.setattr("mimir_core.vault.write.SEGMENT_PARTS", 1)
        with create(path) as mimir:
            mimir.remember_many([Item(document(20)) for _ in range(300)])
            mimir.checkpoint()
            before = contents(mimir)
        with reopen(path) as mimir:
            assert contents(mimir) == before
            assert mimir.stats().tail == 300
            mimir.forget(list(before)[:100])
            before = contents(mimir)
    with reopen(path) as mimir:
        assert contents(mimir) == before
        mimir.checkpoint()
        assert mimir.stats().tail == 0
        assert mimir.verify().ok


def test_segments_that_lie_elsewhere_are_rebuilt_and_freed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where segments took 256 places each, nothing of them stays once they are written anew."""
    with monkeypatch.context() as patch:
        for module in ("write", "state"):
            patch.setattr(f"mimir_core.vault.{module}.SEGMENT_PARTS", 256)
        with create(path) as mimir:
            mimir.remember_many([Item(f"cat {n}") for n in range(2 * SEGMENT_NODES + 5)])
            before = contents(mimir)
    with reopen(path) as mimir:
        assert any(0 < index // 256 < SEGMENT_PARTS // 256 for index in segments(mimir))
        assert contents(mimir) == before
    with reopen(path) as mimir:
        assert {index // SEGMENT_PARTS for index in segments(mimir)} == {0, 1, 2}
        assert not any(index % SEGMENT_PARTS >= 256 for index in segments(mimir))
        assert contents(mimir) == before
        assert mimir.verify().ok
