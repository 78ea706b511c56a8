"""What the benchmarks of the adapters have in common."""

from __future__ import annotations

import asyncio
import time

from bench import adapters


def test_a_difference_shows() -> None:
    """Work that takes longer in the adapter than in the core is a positive percentage."""
    result = adapters.compare("x", range(5), lambda _: sum(range(200_000)), lambda _: None)
    assert result["x_percent"] > 0
    assert result["x_adapter_ms"] > result["x_core_ms"]


def test_both_do_every_piece() -> None:
    """Each piece of work is done once by the adapter and once by the core."""
    ours: list[int] = []
    bare: list[int] = []
    adapters.compare("x", [1, 2, 3], ours.append, bare.append)
    assert ours == bare == [1, 2, 3]


def test_a_blocked_loop_shows() -> None:
    """A call that works on the loop's own thread is seen to block it."""

    async def blocking() -> None:
        time.sleep(0.02)

    assert asyncio.run(adapters.longest_gap([blocking(), blocking()])) > 20
