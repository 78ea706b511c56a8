"""Two sides that do the same work in turn, so that what else the machine does hits both alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm.auto import tqdm

BATCH = 256
Work = TypeVar("Work")


class Difference(NamedTuple):
    """What one side takes beyond the other.

    Attributes:
        percent: The median difference of a piece of work, in percent of the other's median.
        ours_ms: The median of the one side.
        theirs_ms: The median of the other.
    """

    percent: float
    ours_ms: float
    theirs_ms: float


def batches(work: Sequence[Work]) -> list[Sequence[Work]]:
    """The work in pieces of 256."""
    return [work[at : at + BATCH] for at in range(0, len(work), BATCH)]


def timed(
    action: Callable[[Work], object],
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Callable[[Work], float]:
    """An action that returns its milliseconds; entering what it stands within is not counted."""

    def act(piece: Work) -> float:
        with within():
            start = time.perf_counter()
            action(piece)
            return 1e3 * (time.perf_counter() - start)

    return act


def in_turn(
    name: str,
    work: Sequence[Work],
    ours: Callable[[Work], float],
    theirs: Callable[[Work], float],
) -> Difference:
    """Does each piece of work by both, in changing order; each returns its milliseconds."""
    one: list[float] = []
    other: list[float] = []
    for number, piece in enumerate(tqdm(work, desc=name, disable=None)):
        both = [(ours, one), (theirs, other)]
        for act, times in both if number % 2 else reversed(both):
            times.append(act(piece))
    percent = 100 * np.median(np.subtract(one, other)) / np.median(other)
    return Difference(float(percent), float(np.median(one)), float(np.median(other)))
