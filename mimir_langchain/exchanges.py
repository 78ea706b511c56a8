"""Which earlier exchanges to hand a model, and how many of them fit its budget of tokens.

An exchange is what a person said and what was answered: two memories of one time, neighbours in
their thread. It comes back whole, whichever of the two was found.
"""

from __future__ import annotations

from collections.abc import Callable

from mimir_core import Hit, Memory, Mimir, Namespace
from mimir_core.errors import InvalidArgument

__all__ = ["CountTokens", "Exchange", "check_counts", "estimate_tokens", "recall_exchanges"]

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
    seen: Callable[[Memory], bool],
    seen_count: int,
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
        seen: Whether a memory is before the model anyway; exchanges of these alone are passed over.
        seen_count: How many memories that may be.
        namespace, thread: As in `Mimir.recall`.

    Raises:
        As `Mimir.recall`.
    """
    if not k or not query.strip():
        return []
    hits = mimir.recall(
        query,
        k=min(2 * k + seen_count, _MOST_HITS),
        namespace=namespace,
        thread=thread,
        neighbours=1,
    )
    chosen: list[Exchange] = []
    taken: set[str] = set()
    for hit in hits:
        exchange = tuple(memory for memory in _whole(hit) if memory.id not in taken)
        if len(chosen) == k or all(map(seen, exchange)):
            continue
        cost = tokens(exchange)
        if cost <= room:
            chosen.append(exchange)
            taken.update(memory.id for memory in exchange)
            room -= cost
    return sorted(chosen, key=lambda exchange: exchange[0].time)


def _whole(hit: Hit) -> Exchange:
    """The hit with its other half: the neighbour in the thread that bears the same time."""
    around = (*hit.before, hit.memory, *hit.after)
    return tuple(memory for memory in around if memory.time == hit.memory.time)
