"""Measure the activations of the float32 network, and write calibration.json.

Run by hand, when the texts or the network change: `python -m mimir_core.embedding.build.calibrate`.
The file is kept in the repository, because float32 sums differ in their last bits from one
machine to the next, and a model built from them would not be the same model everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from .graph import LAYERS, POSITIONS, Array, Float32, encoder_from, write_model
from .quantize import CALIBRATION_FILE, Calibration
from .texts import texts
from .weights import Weights, fetch_weights

# The value each quantized node reads, by the node's name.
SOURCES = {
    f"layer{n}.{node}": value
    for n in range(LAYERS)
    for node, value in (
        ("heads", f"layer{n - 1}.out" if n else "embedded"),
        ("context", f"layer{n}.heads"),
        ("up", f"layer{n}.attended"),
        ("down", f"layer{n}.active"),
    )
}


def measure(source: Weights, samples: Iterable[str]) -> Calibration:
    """The largest magnitude of each channel over all tokens of the samples."""
    model = write_model(encoder_from(source.tensors), Float32(), taps=list(SOURCES.values()))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    tokenizer = Tokenizer.from_str(source.tokenizer.decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(POSITIONS)
    largest: dict[str, Array] = {}
    for sample in samples:
        ids = np.array([tokenizer.encode(sample).ids], np.int32)
        values = session.run(list(SOURCES.values()), {"ids": ids})
        for name, value in zip(SOURCES, values, strict=True):
            seen = np.abs(value).max(axis=(0, 1))
            largest[name] = np.maximum(largest.get(name, seen), seen)
    return largest


def save(calibration: Calibration) -> None:
    """Write one line a node, four significant digits."""
    lines = (
        f'"{name}": [{", ".join(f"{value:.4g}" for value in values)}]'
        for name, values in calibration.items()
    )
    CALIBRATION_FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    save(measure(fetch_weights(), texts()))
