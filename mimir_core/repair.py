"""Repair of lost vectors: memories whose rows are gone are embedded again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import Embedder, embed_whole
from mimir_core.index.columns import quantize
from mimir_core.index.speech import spoken
from mimir_core.intake import checked_vectors, space_digest
from mimir_core.reading import open_memory
from mimir_core.vault.edit import Edit
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.write import NewVectors, Staged, stage_blank_blocks, stage_vectors

Progress = Callable[[int, int], None]
Rows = tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Codes, scales and the ordinals of their owners."""
_BATCH = 2_048


def reembed(vault: Vault, embedder: Embedder, progress: Progress | None = None) -> int:
    """Embeds every live text that has no vector in any space; returns how many.

    One transaction at the end replaces the damaged blocks: an interruption changes nothing, and a
    vault that lacks vectors goes on saying so.
    """
    with vault.view() as state:
        missing = _without_vectors(state)
        damaged = any(space.lost_blocks for space in state.spaces)
    pieces = [_nothing(embedder.space.dimension)]
    for at in range(0, len(missing), _BATCH):
        pieces.append(_embedded(vault, embedder, missing[at : at + _BATCH]))
        if progress is not None:
            progress(min(at + _BATCH, len(missing)), len(missing))
    codes, scales, owners = (np.concatenate(column) for column in zip(*pieces, strict=True))
    if damaged or len(owners):
        _store(vault, NewVectors(space_digest(embedder.space), codes, scales, owners))
    return len(owners)


def _nothing(dimension: int) -> Rows:
    return np.empty((0, dimension), np.int8), np.empty(0, np.float32), np.empty(0, np.int64)


def _without_vectors(state: State) -> npt.NDArray[np.int64]:
    owned = np.zeros(len(state.catalog), np.bool_)
    for space in state.spaces:
        rows = space.rows_of(np.arange(len(owned)))
        owned[space.column.owners[rows]] = True
    return np.flatnonzero(state.catalog.live & ~owned)


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


def _store(vault: Vault, vectors: NewVectors) -> None:
    with vault.exclusive() as state:
        live = state.catalog.live[vectors.owners]
        fresh = replace(vectors, codes=vectors.codes[live], scales=vectors.scales[live],
                        owners=vectors.owners[live])  # fmt: skip
        edit, staged = Edit(state.container), Staged(state.root)
        stage_blank_blocks(state, edit)
        stage_vectors(edit, staged, fresh, first=0)
        vault.commit(state, edit, staged)
        for held in state.spaces:
            held.lost_blocks.clear()
