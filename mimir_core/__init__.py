"""Mimir: encrypted, local-first memory for AI agents.

    from mimir_core import Mimir

    with Mimir.create("agent.mimir", passphrase) as mimir:
        mimir.remember("Ana's cat is called Pixel", thread="monday")
        print(mimir.recall("what is the cat's name?")[0].text)
"""

from mimir_core.crypto.kdf import KdfProfile
from mimir_core.embedding import Embedder, FunctionEmbedder, MiniLM, VectorSpace
from mimir_core.intake import DEFAULT_NAMESPACE, Item
from mimir_core.memory import Mimir
from mimir_core.results import Forgotten, Hit, Lineage, Memory, Relative, Report, Stats
from mimir_core.types import EdgeKind, Namespace

__all__ = [
    "DEFAULT_NAMESPACE",
    "EdgeKind",
    "Embedder",
    "Forgotten",
    "FunctionEmbedder",
    "Hit",
    "Item",
    "KdfProfile",
    "Lineage",
    "Memory",
    "Mimir",
    "MiniLM",
    "Namespace",
    "Relative",
    "Report",
    "Stats",
    "VectorSpace",
]
