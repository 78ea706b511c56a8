"""What the benchmarks of the adapters share: their figures, and how long an event loop waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from bench.sides import Work, in_turn, timed

ROUNDS = 3
AT_ONCE = 50
TICK = 1e-3
CORE = ("core",)


def compare(
    name: str,
    work: Sequence[Work],
    adapter: Callable[[Work], object],
    core: Callable[[Work], object],
) -> dict[str, float]:
    """Does each piece of work by both, in changing order.

    Returns the median difference in percent of the core's median, and both medians.
    """
    found = in_turn(name, work, timed(adapter), timed(core))
    return {
        f"{name}_percent": found.percent,
        f"{name}_adapter_ms": found.ours_ms,
        f"{name}_core_ms": found.theirs_ms,
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
