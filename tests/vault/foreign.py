"""Records of another device, put into a vault by hand, as a merge of two vaults will."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mimir_core import Mimir
from mimir_core.dag import Draft, Link, Metadata, Parent, Payload, seal
from mimir_core.index.columns import quantize
from mimir_core.index.speech import spoken_terms
from mimir_core.intake import space_digest
from mimir_core.types import Namespace
from mimir_core.vault.edit import Edit
from mimir_core.vault.new_nodes import NewNode
from mimir_core.vault.write import NewVectors, Staged, stage_vectors

from .vaults import EMBEDDER

DEVICE = b"elsewher"


def merge(
    mimir: Mimir,
    text: str,
    lamport: int,
    *,
    namespace: Namespace = ("default",),
    key: str | None = None,
    parents: tuple[Parent, ...] = (),
    thread: tuple[bytes, str] | None = None,
    root_lamport: int | None = None,
    adopt: bool = True,
) -> str:
    """Adds a memory with a clock of another device's; returns its id.

    Args:
        root_lamport: What the root says the largest clock is, if not what it is.
        adopt: Whether the handle takes it into its views, or is to load everything anew.
    """
    id_, name = thread if thread else (None, None)
    link = Link(id_, DEVICE, lamport, parents)
    metadata = Metadata(0, namespace, name, key, {})
    sealed = seal(Draft(link, metadata, Payload(text)))
    with mimir._vault.exclusive() as state:
        edit, root = Edit(state.container), state.root
        node = NewNode(sealed.id, root.log_size, len(sealed.record), link, metadata,
                       spoken_terms(text, {}))  # fmt: skip
        codes, scales = quantize(EMBEDDER.embed_documents([text]))
        vectors = NewVectors(space_digest(EMBEDDER.space), codes, scales, np.zeros(1, np.int64))
        largest = max(root.lamport, lamport) if root_lamport is None else root_lamport
        edit.set_key(root.nodes, sealed.secret)
        size = edit.append_log(root.log_size, sealed.record)
        staged = Staged(replace(root, lamport=largest, log_size=size, nodes=root.nodes + 1))
        stage_vectors(edit, staged, vectors, first=root.nodes)
        staged.nodes, staged.sealed = [node], [sealed]
        if adopt:
            mimir._vault.commit(state, edit, staged)
        else:
            edit.commit(staged.root)
    if not adopt:
        mimir._vault._state = None
    return sealed.id.hex()
