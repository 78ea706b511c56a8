"""Repair of lost vectors: memories whose rows are gone are embedded again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import Embedder, VectorSpace, embed_whole
from mimir_core.errors import VectorsLost
from mimir_core.index.columns import quantize
from mimir_core.index.speech import spoken
from mimir_core.intake import checked_vectors, space_digest
from mimir_core.reading import open_memory
from mimir_core.vault.edit import Edit
from mimir_core.vault.space import SpaceState, without_vectors
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.write import NewVectors, Staged, stage_blank_blocks, stage_vectors

Progress = Callable[[int, int], None]
Mask = npt.NDArray[np.bool_]
Ordinals = npt.NDArray[np.int64]
Rows = tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], Ordinals]
"""Codes, scales and the ordinals of their owners."""
_BATCH = 2_048


def reembed(vault: Vault, embedder: Embedder, progress: Progress | None = None) -> int:
    """Embeds the live texts that have no vector in any space; returns how many.

    Texts of a namespace that holds vectors of other models alone are left to those models'
    embedders; so is what may be theirs, while theirs alone are lost.

    One transaction at the end replaces the damaged blocks: an interruption changes nothing, and a
    vault that lacks vectors goes on saying so.

    Raises:
        VectorsLost: nothing was written: another model's embedder has to do its part first.
        ScrubPending: done, but what the damaged blocks held still stands in the journal.
    """
    with vault.view() as state:
        state.reread_vectors()
        damaged = any(held.lost_blocks for held in state.spaces)
        missing = np.flatnonzero(_missing(state, embedder.space))
    pieces = [_nothing(embedder.space.dimension)]
    for at in range(0, len(missing), _BATCH):
        pieces.append(_embedded(vault, embedder, missing[at : at + _BATCH]))
        if progress is not None:
            progress(min(at + _BATCH, len(missing)), len(missing))
    codes, scales, owners = (np.concatenate(column) for column in zip(*pieces, strict=True))
    if not damaged and not len(owners):
        return 0
    wordless = np.setdiff1d(missing, owners)
    return _store(vault, embedder.space, (codes, scales, owners), wordless)


def _nothing(dimension: int) -> Rows:
    return np.empty((0, dimension), np.int8), np.empty(0, np.float32), np.empty(0, np.int64)


def _spaces(state: State, space: VectorSpace) -> tuple[list[SpaceState], list[SpaceState]]:
    """Those of this model, which are one or none, and the others."""
    named = list(zip(state.spaces, state.root.spaces, strict=True))
    digest = space_digest(space)
    own = [held for held, stored in named if stored.digest == digest]
    return own, [held for held, stored in named if stored.digest != digest]


def _missing(state: State, space: VectorSpace) -> Mask:
    """Live nodes without any vector that are this model's to embed, bool [nodes]."""
    catalog = state.catalog
    own, others = _spaces(state, space)
    missing = without_vectors(state.spaces, catalog.live)
    elsewhere = not _damaged(own) and bool(_damaged(others))
    for namespace in catalog.namespaces() if others else ():
        mask = catalog.mask(namespace)
        theirs = elsewhere or any(held.owns_any(mask) for held in others)
        if theirs and not any(held.owns_any(mask) for held in own):
            missing &= ~mask
    return missing


def _damaged(spaces: list[SpaceState]) -> list[SpaceState]:
    return [held for held in spaces if held.lost_blocks]


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


def _store(vault: Vault, space: VectorSpace, rows: Rows, wordless: Ordinals) -> int:
    """Stores the vectors of those that still lack them; returns of how many.

    Args:
        wordless: Nodes that are no texts, so that none is opened again while others wait.
    """
    with vault.exclusive() as state:
        codes, scales, owners = rows
        lacking = _missing(state, space)[owners]
        fresh = NewVectors(space_digest(space), codes[lacking], scales[lacking], owners[lacking])
        left = without_vectors(state.spaces, state.catalog.live)
        left[wordless] = left[fresh.owners] = False
        mended = _mendable(state, space, left)
        if mended or len(fresh.owners):
            edit, staged = Edit(state.container), Staged(state.root)
            for held in mended:
                stage_blank_blocks(edit, held)
            stage_vectors(edit, staged, fresh, first=0)
            vault.commit(state, edit, staged)
            for held in mended:
                held.lost_blocks.clear()
        return len(fresh.owners)


def _mendable(state: State, space: VectorSpace, left: Mask) -> list[SpaceState]:
    """Spaces whose damaged blocks can go: the last to say that a vector is missing stays.

    Args:
        left: Nodes that go on without a vector, bool [nodes]; texts among them are missing one.
    """
    own, others = map(_damaged, _spaces(state, space))
    if not own + others or not any(state.is_text(int(o)) for o in np.flatnonzero(left)):
        return own + others
    if own and not others:
        raise VectorsLost(
            "memories without vectors lie in a namespace that holds vectors of another model",
            hint="call `Mimir.reembed()` with that model's embedder first",
        )
    return own
