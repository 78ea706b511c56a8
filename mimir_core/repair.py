"""Repair of lost vectors: memories whose rows are gone are embedded again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import Embedder
from mimir_core.index.columns import quantize
from mimir_core.intake import checked_vectors, space_digest
from mimir_core.reading import open_memory
from mimir_core.vault.edit import Edit
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.write import NewVectors, Staged, stage_blank_blocks, stage_vectors

Progress = Callable[[int, int], None]
_BATCH = 2_048


def reembed(vault: Vault, embedder: Embedder, progress: Progress | None = None) -> int:
    """Embeds every live text that has no vector in any space; returns how many.

    Blocks that were damaged are overwritten; interrupting it loses nothing.
    """
    with vault.view() as state:
        missing = _without_vectors(state)
    done = 0
    for at in range(0, max(len(missing), 1), _BATCH):
        done += _embed(vault, embedder, missing[at : at + _BATCH])
        if progress is not None:
            progress(done, len(missing))
    return done


def _without_vectors(state: State) -> npt.NDArray[np.int64]:
    owned = np.zeros(len(state.catalog), np.bool_)
    for space in state.spaces:
        rows = space.rows_of(np.arange(len(owned)))
        owned[space.column.owners[rows]] = True
    return np.flatnonzero(state.catalog.live & ~owned)


def _embed(vault: Vault, embedder: Embedder, ordinals: npt.NDArray[np.int64]) -> int:
    with vault.view() as state:
        contents = {int(o): open_memory(state, int(o)).content for o in ordinals}
    texts = {o: content for o, content in contents.items() if isinstance(content, str)}
    space = embedder.space
    vectors = checked_vectors(embedder.embed_documents(list(texts.values())), len(texts), space)
    codes, scales = quantize(vectors)
    owners = np.array(list(texts), np.int64)
    with vault.exclusive() as state:
        live = state.catalog.live[owners]
        fresh = NewVectors(space_digest(space), codes[live], scales[live], owners[live])
        edit, staged = Edit(state.container), Staged(state.root)
        stage_blank_blocks(state, edit)
        stage_vectors(edit, staged, fresh, first=0)
        vault.commit(state, edit, staged)
        for held in state.spaces:
            held.lost_blocks.clear()
    return len(texts)
