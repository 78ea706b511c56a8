"""What sealing costs: the same code, with and without a cipher, turn by turn in one process."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm.auto import tqdm

from bench.latency import PROFILE, K
from bench.turns import PASSPHRASE, as_item, queries, read_turns
from mimir_core import Mimir, MiniLM
from mimir_core.crypto import blocks, graph, nodes

ROUNDS = 5
BATCH = 256
TAGS = itertools.count(1)  # never the same tag twice, for blocks are known by their tags


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports into a sealed and an unsealed vault in turn, then queries both in turn."""
    turns = read_turns(arguments.turns, arguments.count)
    texts = queries(arguments.turns, arguments.count)
    embedder = MiniLM()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sealed = stack.enter_context(_vault(Path(folder) / "sealed.mimir", embedder))
        with null_cipher():
            plain = _vault(Path(folder) / "plain.mimir", embedder)
        stack.callback(_close_plain, plain)
        imports = _compare(
            [turns[at : at + BATCH] for at in range(0, len(turns), BATCH)],
            lambda vault, batch: vault.remember_many(map(as_item, batch)),
            sealed,
            plain,
        )
        _checkpoint(sealed, plain)
        found = _compare(texts * ROUNDS, lambda vault, text: vault.recall(text, k=K), sealed, plain)
    return {"count": len(turns), "query_percent": found, "import_percent": imports}


@contextmanager
def null_cipher() -> Iterator[None]:
    """Replaces every key derivation and cipher of blocks, nodes and graph by a copy of bytes."""

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


def _vault(path: Path, embedder: MiniLM) -> Mimir:
    return Mimir.create(path, PASSPHRASE, embedder=embedder, profile=PROFILE)


def _close_plain(vault: Mimir) -> None:
    with null_cipher():
        vault.close()


def _checkpoint(sealed: Mimir, plain: Mimir) -> None:
    sealed.checkpoint()
    with null_cipher():
        plain.checkpoint()


def _compare(
    work: list[Any], action: Callable[[Mimir, Any], object], sealed: Mimir, plain: Mimir
) -> float:
    """Does each piece of work on both vaults, in changing order.

    Returns the median difference between sealed and unsealed, in percent of the unsealed median.
    """
    times: dict[bool, list[float]] = {True: [], False: []}
    for number, piece in enumerate(tqdm(work, disable=None)):
        for is_sealed in (True, False) if number % 2 else (False, True):
            with ExitStack() as stack:
                if not is_sealed:
                    stack.enter_context(null_cipher())
                start = time.perf_counter()
                action(sealed if is_sealed else plain, piece)
                times[is_sealed].append(time.perf_counter() - start)
    difference = np.median(np.subtract(times[True], times[False]))
    return float(100 * difference / np.median(times[False]))
