"""Repair of lost vectors: memories whose rows are gone are embedded again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import Embedder, VectorSpace, embed_whole
from mimir_core.index.columns import quantize
from mimir_core.index.speech import spoken
from mimir_core.intake import checked_vectors, space_digest
from mimir_core.reading import open_memory
from mimir_core.vault.edit import Edit
from mimir_core.vault.space import SpaceState
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.write import NewVectors, Staged, stage_blank_blocks, stage_vectors

Progress = Callable[[int, int], None]
Rows = tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Codes, scales and the ordinals of their owners."""
_BATCH = 2_048


def reembed(vault: Vault, embedder: Embedder, progress: Progress | None = None) -> int:
    """Embeds the live texts that have no vector in any space; returns how many.

    Texts of a namespace that holds vectors of another model are left to that model's embedder.

    One transaction at the end replaces the damaged blocks: an interruption changes nothing, and a
    vault that lacks vectors goes on saying so.
    """
    with vault.view() as state:
        own, others = _spaces(state, embedder.space)
        damaged = any(held.lost_blocks for held in own)
        if not damaged and any(held.lost_blocks for held in others):
            return 0  # what lacks vectors lacks another model's
        missing = _without_vectors(state, others)
    pieces = [_nothing(embedder.space.dimension)]
    for at in range(0, len(missing), _BATCH):
        pieces.append(_embedded(vault, embedder, missing[at : at + _BATCH]))
        if progress is not None:
            progress(min(at + _BATCH, len(missing)), len(missing))
    codes, scales, owners = (np.concatenate(column) for column in zip(*pieces, strict=True))
    if damaged or len(owners):
        _store(vault, embedder.space, (codes, scales, owners))
    return len(owners)


def _nothing(dimension: int) -> Rows:
    return np.empty((0, dimension), np.int8), np.empty(0, np.float32), np.empty(0, np.int64)


def _spaces(state: State, space: VectorSpace) -> tuple[list[SpaceState], list[SpaceState]]:
    """Those of this model, which are one or none, and the others."""
    named = list(zip(state.spaces, state.root.spaces, strict=True))
    digest = space_digest(space)
    own = [held for held, stored in named if stored.digest == digest]
    return own, [held for held, stored in named if stored.digest != digest]


def _without_vectors(state: State, others: list[SpaceState]) -> npt.NDArray[np.int64]:
    """Live nodes without any vector, but for the namespaces of other models."""
    catalog = state.catalog
    settled = np.zeros(len(catalog), np.bool_)
    for held in state.spaces:
        rows = held.rows_of(np.arange(len(settled)))
        settled[held.column.owners[rows]] = True
    for namespace in catalog.namespaces() if others else ():
        mask = catalog.mask(namespace)
        if any(held.owns_any(mask) for held in others):
            settled |= mask
    return np.flatnonzero(catalog.live & ~settled)


def _embedded(vault: Vault, embedder: Embedder, ordinals: npt.NDArray[np.int64]) -> Rows:
    """Codes, scales and owners of those that are texts."""
    with vault.view() as state:
        live = [int(o) for o in ordinals if not state.is_erased(int(o))]
        memories = {ordinal: open_memory(state, ordinal) for ordinal in live}
    texts = {
        ordinal: spoken(memory.content, memory.metadata)
        for ordinal, memory in memories.items()
        if isinstance(memory.content, str)
    }
    if not texts:
        return _nothing(embedder.space.dimension)
    found = embed_whole(embedder, list(texts.values()))
    codes, scales = quantize(checked_vectors(found, len(texts), embedder.space))
    return codes, scales, np.array(list(texts), np.int64)


def _store(vault: Vault, space: VectorSpace, rows: Rows) -> None:
    with vault.exclusive() as state:
        live = state.catalog.live[rows[2]]
        codes, scales, owners = rows
        fresh = NewVectors(space_digest(space), codes[live], scales[live], owners[live])
        edit, staged = Edit(state.container), Staged(state.root)
        own, _ = _spaces(state, space)
        for held in own:
            stage_blank_blocks(edit, held)
        stage_vectors(edit, staged, fresh, first=0)
        vault.commit(state, edit, staged)
        for held in own:
            held.lost_blocks.clear()
