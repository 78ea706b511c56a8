"""The loaded model: pinned files, tokenizer, sessions, batches."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer

from mimir_core.embedding.space import Vectors
from mimir_core.embedding.windows import head
from mimir_core.errors import EmbeddingError, ModelMissing

MAX_TOKENS = 256
"""What the model reads of a text, its two marker tokens included."""

BATCH_TOKENS = 256
"""Tokens in one batch: measured best, larger batches leave the CPU's caches."""

FEW_TEXTS = 64
"""Up to so many texts a call is not bulk work."""

BRIEF_CHARS = 1024
"""Up to so many characters a text is tokenized in less than a millisecond."""

Positions: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ModelFile:
    """A file of the model and the SHA-256 that it must have."""

    path: Path
    digest: str

    def read(self) -> bytes:
        """The file's bytes, which reach a native parser only if they are the pinned ones.

        Raises:
            ModelMissing: The file is missing or is another.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ModelMissing("the built-in embedding model cannot be read") from error
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise ModelMissing("the built-in embedding model is damaged")
        return data


class Model:
    """Runs the encoder in one process. Thread-safe.

    A single text is spread over all threads. Bulk work is one batch a thread instead, which has
    no thread waiting for another; they share a session whose calls run on the caller's thread.

    Raises:
        ModelMissing: A file is missing or damaged.
    """

    def __init__(self, graph: ModelFile, tokenizer: ModelFile, threads: int) -> None:
        self.process = os.getpid()
        self.tokenizer = Tokenizer.from_str(tokenizer.read().decode())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self._graph = graph
        self._threads = threads
        self._session = _session(graph, threads)
        _loaded.add(self)

    @cached_property
    def _bulk_session(self) -> ort.InferenceSession:
        return self._session if self._threads == 1 else _session(self._graph, 1)

    def embed_one(self, text: str) -> Vectors:
        """The text's vector, float32 [384]."""
        vector: Vectors = _run(self._session, self.encode([text]))[0]
        return vector

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenize as much of each text as the model reads, and a little more of a long one."""
        return self.tokens([head(text, self.tokens, MAX_TOKENS) for text in texts])

    def tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenize whole texts, and let other threads run meanwhile.

        The tokenizer's `encode` holds the interpreter's lock, for seconds if a text is long;
        `encode_batch` does not, and takes all CPUs. A forked child goes on without its threads.
        """
        if len(texts) == 1 and len(texts[0]) <= BRIEF_CHARS:
            return [self.tokenizer.encode(texts[0])]  # sooner done than handed to another thread
        return self.tokenizer.encode_batch(list(texts))

    def embed(self, encodings: Sequence[Encoding]) -> Iterator[tuple[Positions, Vectors]]:
        """Embed in batches; yields each batch's positions in the input, and its vectors."""
        planned = list(batches([len(each) for each in encodings]))
        if len(encodings) <= FEW_TEXTS:
            for rows in planned:
                yield rows, _run(self._session, [encodings[i] for i in rows])
            return
        session = self._bulk_session
        with ThreadPoolExecutor(self._threads) as pool:
            found = pool.map(lambda rows: _run(session, [encodings[i] for i in rows]), planned)
            yield from zip(planned, found, strict=True)


_loaded: WeakSet[Model] = WeakSet()


def _abandon() -> None:
    """Keep a forked child from ever freeing its parent's models.

    A session's destructor waits for its threads, which do not exist in the child.
    """
    for model in _loaded:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(model))


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_abandon)


def batches(lengths: Sequence[int]) -> Iterator[Positions]:
    """Positions in batches of one token count, shortest first, within BATCH_TOKENS.

    Only equal lengths share a batch: then nothing is padded, and a text's vector is its own.
    """
    counts = np.array(lengths, np.intp)
    order = np.argsort(counts, kind="stable")
    for same in np.split(order, np.nonzero(np.diff(counts[order]))[0] + 1):
        size = max(1, BATCH_TOKENS // int(counts[same[0]])) if len(same) else 1
        yield from (same[i : i + size] for i in range(0, len(same), size))


def _session(graph: ModelFile, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Optimizing would fuse what the graph keeps apart for speed (see build/graph.py).
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(graph.read(), options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, encodings: Sequence[Encoding]) -> Vectors:
    """Embed encodings of one length: float32 [len(encodings), 384]."""
    ids = np.array([each.ids for each in encodings], np.int32)
    try:
        vectors: Vectors = session.run(None, {"ids": ids})[0]
    except RuntimeError as error:
        raise EmbeddingError("the model failed") from error
    return vectors
