"""The built-in embedder: all-MiniLM-L6-v2 in int8 on onnxruntime."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NoReturn

import numpy as np
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer

from mimir_core.embedding.checks import check_texts
from mimir_core.embedding.space import Vectors, VectorSpace
from mimir_core.errors import EmbeddingError, InvalidArgument, ModelMissing, NotSerializable

DIMENSION = 384
MAX_TOKENS = 256
"""What the model reads of a text, the two marker tokens included; the rest is truncated."""

BATCH_TOKENS = 256
"""Tokens in one batch: measured best, larger batches leave the CPU's caches."""

SLICE_TEXTS = 2048
"""Texts tokenized at a time, which bounds memory in bulk."""

HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Embedding:
    """What `MiniLM.embed` returns.

    Attributes:
        vectors: float32 [texts, 384], L2-normalised.
        truncated: Positions of the texts that were longer than 256 tokens.
    """

    vectors: Vectors
    truncated: tuple[int, ...]


class MiniLM:
    """all-MiniLM-L6-v2, from files inside the package; never touches the network.

    A text's vector is the same alone, in any batch and on any number of threads (to within
    1e-5). The model loads at first use. Instances may be shared between threads.

    Args:
        threads: Threads that compute; by default two, or one on a machine with one CPU.
        folder: Where `model.sha256` and the files it names lie; by default in the package.

    Raises:
        InvalidArgument: `threads` is below 1.
        ModelMissing: The model was not built into this installation.
    """

    def __init__(self, *, threads: int | None = None, folder: Path = HERE) -> None:
        if threads is not None and threads < 1:
            raise InvalidArgument("an embedder needs at least one thread")
        self.threads = threads or min(2, os.cpu_count() or 1)
        self._pins = _read_pins(folder)
        self.space = VectorSpace(_digest(self._pins), DIMENSION)
        self._lock = Lock()
        self._model: _Model | None = None

    def __repr__(self) -> str:
        return f"MiniLM(threads={self.threads})"

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("an embedder cannot be pickled or copied", hint="make another one")

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: float32 [len(texts), 384]. Raises as `embed` does."""
        return self.embed(texts).vectors

    def embed_query(self, text: str) -> Vectors:
        """Embed one text: float32 [384]. Raises as `embed` does."""
        check_texts([text])
        model = self._loaded()
        vector: Vectors = model.run([model.tokenizer.encode(text)])[0]
        return vector

    def embed(
        self, texts: Sequence[str], *, progress: Callable[[int], object] | None = None
    ) -> Embedding:
        """Embed texts in bulk, and report which were truncated.

        Args:
            texts: Any number of texts.
            progress: Called with the number of texts just done; `tqdm.update` fits.

        Raises:
            InvalidText: A text is empty or not text.
            ModelMissing: The model's files are missing or damaged.
            EmbeddingError: The model failed.
        """
        check_texts(texts)
        model = self._loaded()
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        truncated: list[int] = []
        for start in range(0, len(texts), SLICE_TEXTS):
            encodings = model.tokenizer.encode_batch(list(texts[start : start + SLICE_TEXTS]))
            truncated += [start + i for i, each in enumerate(encodings) if each.overflowing]
            for batch in _batches([len(each) for each in encodings]):
                vectors[start + batch] = model.run([encodings[i] for i in batch])
                if progress is not None:
                    progress(len(batch))
        return Embedding(vectors, tuple(truncated))

    def _loaded(self) -> _Model:
        """The model; a forked child loads its own, for threads do not survive a fork."""
        with self._lock:
            if self._model is None or self._model.process != os.getpid():
                self._model = _Model(self._pins, self.threads)
            return self._model


class _Model:
    """The loaded tokenizer and session."""

    def __init__(self, pins: Sequence[tuple[str, Path]], threads: int) -> None:
        graph, tokenizer = (_verified(digest, file) for digest, file in pins)
        self.process = os.getpid()
        self.tokenizer = Tokenizer.from_str(tokenizer.decode())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Optimizing would fuse what the graph keeps apart for speed (see build/graph.py).
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(self, encodings: Sequence[Encoding]) -> Vectors:
        """Embed encodings of one length: float32 [len(encodings), 384]."""
        ids = np.array([each.ids for each in encodings], np.int32)
        try:
            vectors: Vectors = self._session.run(None, {"ids": ids})[0]
        except RuntimeError as error:
            raise EmbeddingError("the model failed") from error
        return vectors


def _batches(lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Positions in batches of one token count, shortest first, within BATCH_TOKENS.

    Only equal lengths share a batch: then nothing is padded, and a text's vector is its own.
    """
    counts = np.array(lengths)
    order = np.argsort(counts, kind="stable")
    for same in np.split(order, np.nonzero(np.diff(counts[order]))[0] + 1):
        size = max(1, BATCH_TOKENS // counts[same[0]])
        yield from (same[i : i + size] for i in range(0, len(same), size))


def _read_pins(folder: Path) -> list[tuple[str, Path]]:
    """Digest and path of the graph and the tokenizer, in this order."""
    lines = (folder / "model.sha256").read_text(encoding="ascii").splitlines()
    pins = [(digest, folder / name) for digest, name in (line.split() for line in lines)]
    if not all(file.is_file() for _, file in pins):
        raise ModelMissing("the built-in embedding model is missing from this installation")
    return pins


def _digest(pins: Sequence[tuple[str, Path]]) -> str:
    """SHA-256 over the digests of graph and tokenizer."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest, _ in pins)).hexdigest()


def _verified(digest: str, file: Path) -> bytes:
    """The file's bytes, never handed to a native parser unless they are the pinned ones."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelMissing("the built-in embedding model cannot be read") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelMissing("the built-in embedding model is damaged")
    return data
