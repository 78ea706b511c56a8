"""The built-in embedder: all-MiniLM-L6-v2 in int8 on onnxruntime."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NoReturn

import numpy as np

from mimir_core.embedding.checks import check_texts
from mimir_core.embedding.runtime import MAX_TOKENS, Model, ModelFile
from mimir_core.embedding.space import Vectors, VectorSpace
from mimir_core.embedding.windows import windows
from mimir_core.errors import InvalidArgument, ModelMissing, NotSerializable

DIMENSION = 384
MARKERS = 2  # the tokens that open and close every text

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
        self.threads = min(2, os.cpu_count() or 1) if threads is None else threads
        self._files = _pinned(folder)
        self.space = VectorSpace(_digest(self._files), DIMENSION)
        self._lock = Lock()
        self._one = Lock()  # one text takes all CPUs, two at a time are no faster
        self._model: Model | None = None

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
        with self._one:
            return model.embed_one(text)

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
            encodings = model.encode(texts[start : start + SLICE_TEXTS])
            truncated += [start + i for i, each in enumerate(encodings) if each.overflowing]
            for rows, found in model.embed(encodings):
                vectors[start + rows] = found
                if progress is not None:
                    progress(len(rows))
        return Embedding(vectors, tuple(truncated))

    def windows(self, text: str) -> list[str]:
        """Cut a long text into overlapping pieces that are not truncated; keep a short one whole.

        Raises:
            InvalidText: The text is empty or not text.
            ModelMissing: The model's files are missing or damaged.
        """
        check_texts([text])
        if len(text) <= MAX_TOKENS - MARKERS:  # a token has a character at least
            return [text]
        return windows(text, self._loaded().tokens, MAX_TOKENS - MARKERS)

    def _loaded(self) -> Model:
        """The model; a forked child loads its own, for threads do not survive a fork."""
        with self._lock:
            if self._model is None or self._model.process != os.getpid():
                self._model = Model(*self._files, self.threads)
            return self._model


def _pinned(folder: Path) -> tuple[ModelFile, ModelFile]:
    """Graph and tokenizer, as the lines of `model.sha256` name them in this order."""
    lines = (folder / "model.sha256").read_text(encoding="ascii").splitlines()
    graph, tokenizer = (
        ModelFile(folder / name, digest) for digest, name in (line.split() for line in lines)
    )
    if not (graph.path.is_file() and tokenizer.path.is_file()):
        raise ModelMissing("the built-in embedding model is missing from this installation")
    return graph, tokenizer


def _digest(files: Sequence[ModelFile]) -> str:
    """SHA-256 over the digests of graph and tokenizer."""
    return hashlib.sha256(b"".join(bytes.fromhex(file.digest) for file in files)).hexdigest()
