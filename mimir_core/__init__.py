"""Mimir: encrypted, local-first memory for AI agents.

    from mimir_core import Mimir

    with Mimir.create("agent.mimir", passphrase) as mimir:
        mimir.remember("Ana's cat is called Pixel", thread="monday")
        print(mimir.recall("what is the cat's name?")[0].text)
"""

import mimir_core.quiet  # noqa: F401  # first: onnxruntime reads its switch as it is imported
from mimir_core.crypto.kdf import KdfProfile
from mimir_core.embedding import Embedder, FunctionEmbedder, MiniLM, VectorSpace, embed_whole
from mimir_core.graph import Graph
from mimir_core.intake import DEFAULT_NAMESPACE, Item
from mimir_core.memory import Mimir
from mimir_core.results import (
    Forgotten,
    Hit,
    Hits,
    Lineage,
    Memory,
    Relative,
    Report,
    Stats,
    Thread,
)
from mimir_core.seen import Seen, retry_conflicts
from mimir_core.types import EdgeKind, Namespace, check_namespace

__all__ = [
    "DEFAULT_NAMESPACE",
    "EdgeKind",
    "Embedder",
    "Forgotten",
    "FunctionEmbedder",
    "Graph",
    "Hit",
    "Hits",
    "Item",
    "KdfProfile",
    "Lineage",
    "Memory",
    "Mimir",
    "MiniLM",
    "Namespace",
    "Relative",
    "Report",
    "Seen",
    "Stats",
    "Thread",
    "VectorSpace",
    "check_namespace",
    "embed_whole",
    "retry_conflicts",
]
