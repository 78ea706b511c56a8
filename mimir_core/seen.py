"""What a caller saw before it writes, so that nobody's change in between is lost.

A change made from what was read (read, change, write back) is safe beside other writers if the
write says what was seen: it is checked inside the write's own transaction.

    def add(name):
        seen = mimir.seen(["list"])
        (found,) = mimir.get_many(keys=["list"])
        text = name if found is None else f"{found.text}, {name}"
        mimir.replace([Item(text, key="list")], ids=[], unchanged=seen)

    retry_conflicts(lambda: add("Ana"))

It is optimistic concurrency control with serial validation (H. T. Kung and J. T. Robinson, 1981)
of what the caller names; writes that name nothing are not checked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mimir_core.errors import Conflict, InvalidArgument
from mimir_core.intake import check_name, node_id
from mimir_core.types import Namespace, check_namespace, checked_each
from mimir_core.vault.state import State

T = TypeVar("T")
TRIES = 100
_LONGEST_PAUSE = 0.02


@dataclass(frozen=True, slots=True, repr=False)
class Seen:
    """The newest live memory of a key, or of a whole namespace, at one moment.

    Attributes:
        id: Its id; None if there was none.
        namespace: Labels, or one label.
        key: The key; None for the namespace, in which then nothing may have been stored since.
            (What was erased there since, other than its newest memory, does not matter.)
    """

    id: str | None
    namespace: Namespace | str
    key: str | None = None


def newest(state: State, namespace: Namespace, key: str | None) -> int | None:
    """The ordinal of the newest live memory of a key, or of a namespace; None if there is none."""
    if key is not None:
        return state.catalog.by_key(namespace, key)
    ordinals = np.flatnonzero(state.catalog.mask(namespace))
    return int(ordinals[-1]) if len(ordinals) else None


def checker(unchanged: Iterable[Seen]) -> Callable[[State], None]:
    """What raises Conflict unless a state still is as it was seen.

    Raises:
        InvalidArgument, InvalidNamespace: for what is no `Seen`.
    """
    if not isinstance(unchanged, Iterable):
        raise InvalidArgument("what was seen is a list, as `Mimir.seen` gives it")
    expected = checked_each(unchanged, _checked, "what was seen")

    def check(state: State) -> None:
        for id_, namespace, key in expected:
            found = newest(state, namespace, key)
            if (None if found is None else state.node_id(found)) != id_:
                raise Conflict("another writer changed what this change was made from")

    return check


def retry_conflicts(change: Callable[[], T]) -> T:
    """Calls a function that reads, changes and writes back, until nobody came in between.

    Args:
        change: Reads anew at each call; raises Conflict if it came too late.

    Raises:
        Conflict: others were faster 100 times, with random pauses between (about a second in all).
    """
    for number in range(TRIES - 1):
        with suppress(Conflict):
            return change()
        time.sleep(random.uniform(0, min(0.001 * number, _LONGEST_PAUSE)))
    return change()


def _checked(seen: object) -> tuple[bytes | None, Namespace, str | None]:
    if not isinstance(seen, Seen):
        raise InvalidArgument("what was seen is a list of `Seen`, as `Mimir.seen` gives it")
    id_ = None if seen.id is None else node_id(seen.id)
    return id_, check_namespace(seen.namespace), check_name(seen.key, "key")
