"""The built-in embedder: agreement, invariance, truncation, refusals."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core.embedding import Embedder, MiniLM, Vectors
from mimir_core.embedding.minilm import HERE
from mimir_core.errors import InvalidArgument, InvalidText, ModelMissing, NotSerializable

GOLDEN = Path(__file__).parent / "golden"
TEXTS: list[str] = json.loads((GOLDEN / "texts.json").read_text(encoding="utf-8"))

# Computed once by sentence-transformers from the same weights, in float32.
REFERENCE: Vectors = np.load(GOLDEN / "vectors.npy")

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM(threads=2)


@pytest.fixture(scope="module")
def alone(minilm: MiniLM) -> Vectors:
    """Each golden text embedded by itself."""
    return np.stack([minilm.embed_query(text) for text in TEXTS])


def test_it_is_an_embedder(minilm: MiniLM) -> None:
    """MiniLM satisfies the protocol by which every embedder comes in."""
    assert isinstance(minilm, Embedder)


def test_vectors_agree_with_the_float32_reference(alone: Vectors) -> None:
    """Int8 vectors point where sentence-transformers points, over scripts and lengths."""
    cosines = (alone * REFERENCE).sum(axis=1)
    assert cosines.mean() > 0.995
    assert cosines.min() > 0.985


def test_neighbours_agree_with_the_float32_reference(alone: Vectors) -> None:
    """Similarities between texts move by little more than a hundredth."""
    assert np.abs(alone @ alone.T - REFERENCE @ REFERENCE.T).mean() < 0.01


def test_vectors_have_length_one(alone: Vectors) -> None:
    """Every vector is float32, of 384 numbers, and L2-normalised."""
    assert alone.dtype == np.float32
    assert alone.shape == (len(TEXTS), 384)
    assert np.allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_the_space_is_the_one_that_vaults_name(minilm: MiniLM) -> None:
    """The digest changes only together with this line: vaults are filled under it."""
    assert minilm.space.digest == "0c269b54d918f48fd2c85936f9504e236f8436dd500c6d5ec7285af76cf5e8b8"
    assert (minilm.space.dimension, minilm.space.metric) == (384, "cosine")


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=12))
def test_a_vector_does_not_depend_on_its_batch(
    minilm: MiniLM, alone: Vectors, rows: list[int]
) -> None:
    """Any company, any order, repeats included: each text keeps the vector it has alone."""
    batch = minilm.embed_documents([TEXTS[row] for row in rows])
    assert np.abs(batch - alone[rows]).max() < TOLERANCE


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.text(max_size=60).filter(str.strip), min_size=2, max_size=8))
def test_any_text_has_one_vector(minilm: MiniLM, texts: list[str]) -> None:
    """Any Unicode text embeds, alone as in a batch."""
    alone = np.stack([minilm.embed_query(text) for text in texts])
    assert np.abs(minilm.embed_documents(texts) - alone).max() < TOLERANCE


@pytest.mark.parametrize("threads", [1, 3])
def test_a_vector_does_not_depend_on_threads(threads: int, alone: Vectors) -> None:
    """One, two and three threads give the same vectors, one by one and in bulk."""
    other = MiniLM(threads=threads)
    few = [0, 7, 25, len(TEXTS) - 1]
    singles = np.stack([other.embed_query(TEXTS[row]) for row in few])
    assert np.abs(singles - alone[few]).max() < TOLERANCE
    assert np.abs(other.embed_documents(TEXTS * 2) - np.tile(alone, (2, 1))).max() < TOLERANCE


def test_bulk_reports_progress_and_truncation(minilm: MiniLM, alone: Vectors) -> None:
    """Bulk embedding counts every text once and names those longer than 256 tokens."""
    done: list[int] = []
    result = minilm.embed(TEXTS * 3, progress=done.append)
    assert sum(done) == len(TEXTS) * 3
    assert np.abs(result.vectors - np.tile(alone, (3, 1))).max() < TOLERANCE
    longer = [row for row, text in enumerate(TEXTS) if len(text.split()) > 254]
    assert len(longer) == 2
    expected = tuple(row + start * len(TEXTS) for start in range(3) for row in longer)
    assert result.truncated == expected


def test_no_texts_give_no_vectors(minilm: MiniLM) -> None:
    """An empty list is not an error."""
    assert minilm.embed_documents([]).shape == (0, 384)


def test_short_text_is_one_window(minilm: MiniLM) -> None:
    """A text that fits comes back as it is."""
    assert minilm.windows(" two words ") == [" two words "]


@pytest.mark.parametrize("unit", ["river stone, ", "unbelievably-long ", "明日の会議", "don't "])
def test_windows_cover_a_long_text(minilm: MiniLM, unit: str) -> None:
    """Windows are pieces of the text, overlap, miss nothing, and none is truncated."""
    text = "".join(f"{unit}{number} " for number in range(300)).strip()
    windows = minilm.windows(text)
    assert minilm.embed(windows).truncated == ()
    covered = 0
    for window in windows:
        start = text.index(window)
        assert covered == 0 or start < covered
        covered = start + len(window)
    assert covered == len(text)
    assert 1 < len(windows) < 25


@pytest.mark.parametrize("bad", ["", " \n", None, 7, b"bytes", "half \ud83d"])
def test_what_cannot_be_embedded_is_refused(minilm: MiniLM, bad: str) -> None:
    """Blank, non-text and broken Unicode are InvalidText, alone and in a batch."""
    with pytest.raises(InvalidText):
        minilm.embed_query(bad)
    with pytest.raises(InvalidText, match="text 1 "):
        minilm.embed_documents(["fine", bad])


def test_one_string_is_not_a_list_of_texts(minilm: MiniLM) -> None:
    """A string passed for a list is refused instead of embedded letter by letter."""
    with pytest.raises(InvalidText):
        minilm.embed_documents("hello")


def test_threads_are_checked() -> None:
    """No thread is no embedder."""
    with pytest.raises(InvalidArgument):
        MiniLM(threads=0)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_refuses_to_be_copied(minilm: MiniLM, duplicate: Callable[[object], object]) -> None:
    """Pickle and copy are refused with a typed error."""
    with pytest.raises(NotSerializable):
        duplicate(minilm)


def _copy_of_the_model(folder: Path) -> Path:
    shutil.copy(HERE / "model.sha256", folder)
    shutil.copytree(HERE / "model", folder / "model")
    return folder / "model" / "minilm-int8.onnx"


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    """Without the built file the embedder says so at once."""
    _copy_of_the_model(tmp_path).unlink()
    with pytest.raises(ModelMissing, match="missing"):
        MiniLM(folder=tmp_path)


def test_a_damaged_model_is_not_loaded(tmp_path: Path) -> None:
    """One flipped bit keeps the file from the native parser."""
    graph = _copy_of_the_model(tmp_path)
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(ModelMissing, match="damaged"):
        MiniLM(folder=tmp_path).embed_query("hello")


AUDITED = """
import os, sys

def audit(event, arguments):
    if event.startswith("socket."):
        raise SystemExit(f"network: {event}")

sys.addaudithook(audit)
from mimir_core.embedding import MiniLM
embedder = MiniLM(threads=2)
before = embedder.embed_query("hello")
child = os.fork()
if child == 0:
    os._exit(0 if (embedder.embed_query("hello") == before).all() else 1)
assert os.waitpid(child, 0)[1] == 0, "the child embeds otherwise"
heavy = {"torch", "transformers", "onnx", "safetensors", "mimir_core.embedding.build"}
assert not heavy & sys.modules.keys(), "build-time modules at run time"
"""


def test_no_network_no_build_modules_and_forks_work() -> None:
    """Embedding opens no socket, imports no build-time package, and goes on in a forked child."""
    done = subprocess.run(
        [sys.executable, "-c", AUDITED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
