"""What a forget takes: the selection in the newest state, and what is said of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mimir_core.reading import with_derived
from mimir_core.results import Excerpt, Forgotten
from mimir_core.scope import Pick
from mimir_core.types import Namespace
from mimir_core.vault.state import State


class Selection:
    """A selection that remembers what it came to when it was last asked.

    Args:
        pick: Selects in a state.
        cascade: Takes along what was derived.
    """

    def __init__(self, pick: Pick, *, cascade: bool) -> None:
        self._pick = pick
        self._cascade = cascade
        self._ids: list[str] = []
        self._unnamed = 0
        self._places: Counter[Namespace] = Counter()

    def __call__(self, state: State) -> npt.NDArray[np.int64]:
        ordinals = self._pick(state)
        if self._cascade:
            ordinals = with_derived(state, ordinals)
        chosen = ordinals.tolist()
        self._ids = state.known_ids(ordinals)
        self._unnamed = len(chosen) - len(self._ids)
        self._places = Counter(filter(None, map(state.catalog.namespace, chosen)))
        return ordinals

    def result(
        self, *, dry_run: bool, excerpts: Sequence[Excerpt] = (), unread: int = 0
    ) -> Forgotten:
        """What was erased, or would be."""
        shown = tuple(excerpts) if dry_run else ()
        places = dict(self._places)
        return Forgotten(tuple(self._ids), dry_run, places, self._unnamed, unread, shown)
