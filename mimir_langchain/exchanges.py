"""Which earlier exchanges to hand a model, and how many of them fit its budget of tokens.

An exchange is what a person said and what was answered: memories of one thread and one time. It
comes back whole, whichever of them was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from mimir_core import Memory, Mimir, Namespace
from mimir_core.errors import InvalidArgument

__all__ = [
    "CountTokens",
    "Exchange",
    "check_counts",
    "estimate_tokens",
    "grouped",
    "recall_exchanges",
]

CountTokens = Callable[[str], int]
Exchange = tuple[Memory, ...]

_BYTES_A_TOKEN = 4
_MOST_HITS = 10_000


def estimate_tokens(text: str) -> int:
    """About how many tokens a model makes of a text: one for every 4 bytes of UTF-8, rounded up.

    English prose takes a little less than that with the tokenizers of today's models, code and
    long numbers take more.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN)


def check_counts(**counts: object) -> None:
    """Raises InvalidArgument unless each is a whole number, at least 0."""
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise InvalidArgument(f"{name} is a whole number, at least 0")


def recall_exchanges(
    mimir: Mimir,
    query: str,
    *,
    k: int,
    room: int,
    tokens: Callable[[Exchange], int],
    held: Callable[[Memory], bool],
    held_count: int,
    redundant: Callable[[Exchange], bool] = lambda exchange: False,
    namespace: Namespace | str,
    thread: str | None = None,
) -> list[Exchange]:
    """The exchanges that bear most on a query and fit together into `room` tokens, oldest first.

    One that is too long is passed over for the next best that is not.

    Args:
        mimir: Where to look.
        query: What is being asked; what says nothing, such as an image, finds nothing.
        k: How many exchanges at most.
        room: Tokens to spend.
        tokens: What an exchange costs.
        held: Whether a memory, and with it its exchange, is before the model anyway.
        held_count: How many memories that may be.
        redundant: Whether an exchange says nothing new.
        namespace, thread: As in `Mimir.recall`.

    Raises:
        As `Mimir.recall`.
    """
    if not k or not query.strip():
        return []
    wanted = min(2 * k + held_count, _MOST_HITS)
    chosen: list[Exchange] = []
    taken: set[str] = set()
    for hit in mimir.recall(query, k=wanted, namespace=namespace, thread=thread):
        if len(chosen) == k:
            break
        if hit.id in taken or held(hit.memory):
            continue
        exchange = _whole(mimir, hit.memory)
        cost = tokens(exchange)
        if exchange and cost <= room and not redundant(exchange):
            chosen.append(exchange)
            taken.update(memory.id for memory in exchange)
            room -= cost
    return sorted(chosen, key=lambda exchange: exchange[0].time)


def grouped(turns: Iterable[Memory]) -> list[Exchange]:
    """Consecutive turns of a thread as exchanges."""
    return [tuple(group) for _, group in groupby(turns, key=_moment)]


def _whole(mimir: Mimir, memory: Memory) -> Exchange:
    """The exchange a memory is part of; empty if it was forgotten meanwhile."""
    if memory.thread is None or _moment(memory) != memory.time:
        return (memory,)
    moment, place = memory.time, memory.namespace
    return tuple(mimir.memories(namespace=place, thread=memory.thread, since=moment, until=moment))


def _moment(memory: Memory) -> object:
    """What the memories of one exchange share.

    Texts that no chain or agent stored stand alone: their times may be as coarse as a day.
    """
    return memory.time if "role" in memory.metadata else memory.id
