"""What sealing costs: the same code, with and without a cipher, turn by turn in one process."""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.latency import PROFILE, K
from bench.lines import Line
from bench.sides import batches, in_turn, timed
from bench.turns import PASSPHRASE, as_item, queries, read_turns
from mimir_core import Mimir, MiniLM
from mimir_core.crypto import blocks, graph, nodes
from mimir_core.errors import VaultDamaged

ROUNDS = 5
TAGS = itertools.count(1)  # never the same tag twice, for blocks are known by their tags


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports into a sealed and an unsealed vault in turn, then queries both in turn.

    Raises:
        InvalidArgument: for bad input.
        VaultDamaged: the null cipher reached the sealed vault, so the figures are none.
    """
    turns = read_turns(arguments.turns, arguments.count, K)
    texts = queries(arguments.turns, arguments.count)
    embedder = MiniLM()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sealed = stack.enter_context(_vault(Path(folder) / "sealed.mimir", embedder))
        with null_cipher():
            plain = _vault(Path(folder) / "plain.mimir", embedder)
        stack.callback(_close_plain, plain)
        both = timed(partial(store, sealed)), timed(partial(store, plain), null_cipher)
        stored = in_turn("import", batches(turns), *both)
        check(sealed)  # before the checkpoint, which writes some blocks anew
        _checkpoint(sealed, plain)
        both = timed(partial(_ask, sealed)), timed(partial(_ask, plain), null_cipher)
        asked = in_turn("query", texts * ROUNDS, *both)
        check(sealed)
    return {
        "count": len(turns), "query_percent": asked.percent, "import_percent": stored.percent,
    }  # fmt: skip


@contextmanager
def null_cipher() -> Iterator[None]:
    """Replaces every key derivation and cipher of blocks, nodes and graph by a copy of bytes.

    It does so for the whole process: no other vault may be at work meanwhile.
    """

    def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return bytes(plaintext) + next(TAGS).to_bytes(16, "little")

    def open_(key: bytes, sealed: bytes, aad: bytes) -> bytes:
        return sealed[:-16]

    def expand(key: bytes, info: bytes, length: int) -> bytes:
        return bytes(length)

    names = {
        "aes_gcm_seal": seal, "xchacha_seal": seal,
        "aes_gcm_open": open_, "xchacha_open": open_, "hkdf_expand": expand,
    }  # fmt: skip
    with ExitStack() as stack:
        for module in (blocks, nodes, graph):
            for name, function in names.items():
                if hasattr(module, name):
                    stack.enter_context(patch.object(module, name, function))
        yield


def store(vault: Mimir, turns: Sequence[Line]) -> None:
    """Stores turns, and waits for the checkpoint that they may start in the background.

    Otherwise it would run into the other side's turn, under the other side's cipher.
    """
    vault.remember_many(map(as_item, turns))
    checkpoint = vault._vault._checkpointer._thread
    if checkpoint is not None:
        checkpoint.join()


def check(sealed: Mimir) -> None:
    """Raises VaultDamaged unless every block and memory of the vault is authentic."""
    if not sealed.verify().ok:
        raise VaultDamaged("the sealed vault does not verify", hint="its figures mean nothing")


def _ask(vault: Mimir, text: str) -> None:
    vault.recall(text, k=K)


def _vault(path: Path, embedder: MiniLM) -> Mimir:
    return Mimir.create(path, PASSPHRASE, embedder=embedder, profile=PROFILE)


def _close_plain(vault: Mimir) -> None:
    with null_cipher():
        vault.close()


def _checkpoint(sealed: Mimir, plain: Mimir) -> None:
    sealed.checkpoint()
    with null_cipher():
        plain.checkpoint()
