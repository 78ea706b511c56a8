"""What the benchmarks of the adapters share: work in turn, and how long an event loop waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

ROUNDS = 3
BATCH = 256
AT_ONCE = 50
TICK = 1e-3
CORE = ("core",)
Work = TypeVar("Work")


def batches(work: Sequence[Work]) -> list[Sequence[Work]]:
    """The work in pieces of 256."""
    return [work[at : at + BATCH] for at in range(0, len(work), BATCH)]


def compare(
    name: str,
    work: Sequence[Work],
    adapter: Callable[[Work], object],
    core: Callable[[Work], object],
) -> dict[str, float]:
    """Does each piece of work by both, in changing order.

    Returns the median difference in percent of the core's median, and both medians.
    """
    ours: list[float] = []
    bare: list[float] = []
    for number, piece in enumerate(tqdm(work, desc=name, disable=None)):
        both = [(adapter, ours), (core, bare)]
        for action, times in both if number % 2 else reversed(both):
            start = time.perf_counter()
            action(piece)
            times.append(1e3 * (time.perf_counter() - start))
    return {
        f"{name}_percent": float(100 * np.median(np.subtract(ours, bare)) / np.median(bare)),
        f"{name}_adapter_ms": float(np.median(ours)),
        f"{name}_core_ms": float(np.median(bare)),
    }


def loop_blocked(
    ask: Callable[[str], Coroutine[Any, Any, object]], texts: Sequence[str]
) -> dict[str, float]:
    """The longest gap between two turns of the event loop while 50 calls run, less the tick.

    Other processes' work lengthens some rounds, hence the median beside the longest.
    """
    asked = [texts[number % len(texts)] for number in range(AT_ONCE)]
    gaps = [asyncio.run(longest_gap(map(ask, asked))) for _ in range(2 * ROUNDS)]
    return {"loop_blocked_ms": max(gaps), "loop_blocked_median_ms": float(np.median(gaps))}


async def longest_gap(calls: Iterable[Coroutine[Any, Any, object]]) -> float:
    """Awaits all at once while a ticker runs; returns its longest delay in milliseconds."""
    gaps = [0.0]

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            gaps.append(1e3 * (now - last - TICK))
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await asyncio.gather(*calls)
    await asyncio.sleep(TICK)  # the last gap ends
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    return max(gaps)
