"""What one scope holds in one state of the vault, kept from one recall to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import VectorSpace
from mimir_core.errors import NotFound, VectorsLost
from mimir_core.index.moments import Population
from mimir_core.intake import space_digest
from mimir_core.scope import Scope
from mimir_core.vault.layout import Root
from mimir_core.vault.space import SpaceState, check_model
from mimir_core.vault.state import State

Mask = npt.NDArray[np.bool_]
_KEPT = 16


@dataclass(frozen=True, slots=True)
class Dense:
    """The vectors of a scope: which rows may be found (None: all that live), and a sample."""

    held: SpaceState
    allowed: Mask | None
    population: Population


@dataclass(frozen=True, slots=True)
class Searched:
    """What may be found: bool [nodes], how many, whether every live one, and the vectors."""

    mask: Mask
    count: int
    everything: bool
    dense: Dense | None


class ScopeCache:
    """The last few scopes of the newest state. Thread-safe.

    A commit of any process drops all of them, with the vectors they hold copies of.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._of: tuple[State, Root] | None = None
        self._scopes: OrderedDict[tuple[Scope, VectorSpace], Searched] = OrderedDict()

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._of = None
            self._scopes.clear()

    def get(self, state: State, scope: Scope, space: VectorSpace | None) -> Searched:
        """What the scope holds; without a vector space, only what needs none.

        Callers hold the vault's lock, as the state asks.

        Raises:
            VectorsLost: vectors of this space are damaged, or the scope's may be those of another
                one that are.
            SpaceMismatch: the scope holds vectors of another one.
        """
        with self._lock:
            if self._of is None or self._of[0] is not state or self._of[1] is not state.root:
                self.clear()
                self._of = state, state.root
            if space is None or not scope.lasting:
                return _searched(state, scope, space)
            return self._kept(state, scope, space)

    def _kept(self, state: State, scope: Scope, space: VectorSpace) -> Searched:
        known = scope, space
        found = self._scopes.get(known)
        if found is None:
            found = self._scopes[known] = _searched(state, scope, space)
        self._scopes.move_to_end(known)
        if len(self._scopes) > _KEPT:
            self._scopes.popitem(last=False)
        return found


def _searched(state: State, scope: Scope, space: VectorSpace | None) -> Searched:
    held = None if space is None else _space(state, space)
    mask = scope.mask(state)
    count = int(np.count_nonzero(mask))
    everything = count == int(np.count_nonzero(state.catalog.live))
    if space is not None:
        check_model(state.spaces, [other for other in state.spaces if other is not held], mask)
    dense = None if held is None else _dense(held, mask, everything)
    return Searched(mask, count, everything, dense)


def _dense(held: SpaceState, mask: Mask, everything: bool) -> Dense | None:
    owners = held.column.owners
    known = owners < len(mask)  # an erased row has no owner
    allowed = known & mask[np.where(known, owners, 0)] if len(mask) else known
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return None
    return Dense(held, None if everything else allowed, Population(held.column, rows))


def stored_vectors(
    state: State, ids: Sequence[bytes], space: VectorSpace
) -> npt.NDArray[np.float32]:
    """Each memory's first vector, float32 [n, dimension]. Raises NotFound, VectorsLost."""
    held = _space(state, space)
    ordinals = [state.find(id_) for id_ in ids]
    for number, ordinal in enumerate(ordinals):
        if held is None or ordinal is None or state.is_erased(ordinal):
            raise NotFound(f"id {number}: no such memory, or none with a vector of this model")
    if held is None:
        return np.empty((0, space.dimension), np.float32)
    rows = held.column.first_rows(np.array(ordinals, np.int64))
    if (rows < 0).any():
        raise NotFound(f"id {int(np.argmax(rows < 0))}: it has no vector of this model")
    return held.column.vectors(rows)


def _space(state: State, space: VectorSpace) -> SpaceState | None:
    """The vectors of this model; None while there are none. Raises VectorsLost."""
    digest = space_digest(space)
    for held, stored in zip(state.spaces, state.root.spaces, strict=True):
        if stored.digest == digest:
            if held.lost_blocks:
                raise VectorsLost("vector blocks of this vault are damaged")
            return held
    return None
