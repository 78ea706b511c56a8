"""Int8 arithmetic with fixed activation scales.

Scales are fixed when the model is built, because a scale taken from the data at run time makes
a text's vector depend on the other texts of its batch. Three steps keep int8 close to float32:

- *Smoothing* (Xiao et al. 2022, arXiv:2211.10438, alpha 0.5): input channel j is divided by
  s_j = sqrt(max|x_j| / max|w_j|) and row j of the weights multiplied by it, which moves the
  outliers of activations into the weights.
- *Splitting*: one or two neurons of each feed-forward layer reach 8 to 25 where all others stay
  about 6. Such a neuron becomes several, each shifted by 6 from the one before and cut at 6 by
  the quantization's own saturation: gelu(h) is close to the sum of the cut gelu(h - 6 i).
  One scale then serves all neurons, and the distance to float32 more than halves.
- *A scale a column* for weights and *a scale a row* for the word table.

Only elementwise IEEE operations touch the weights, so the model comes out the same, byte for
byte, on every machine; what has to be measured by running the network is in calibration.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto

from .graph import CONTRIB, HEADS, Array, Encoder, GraphWriter, Layer, Linear

ACTIVE_MIN = np.float32(-0.17)  # gelu's least value is -0.16997
ACTIVE_MAX = np.float32(6.0)
FLOOR = np.float32(1e-5)  # keeps a dead channel from dividing by zero
INT8_MAX = np.float32(127)
UINT8_MAX = np.float32(255)

PAIR_MAX = np.float32(127)
"""Bound of two neighbouring weights' sum. x86 CPUs without VNNI add pairs of uint8 x int8 products
in 16 bits with saturation; 255 * (127 + 1 for rounding) just fits, so all CPUs agree."""

Calibration = Mapping[str, Array]
"""The largest magnitude of each input channel, by the name of the node that reads it."""

CALIBRATION_FILE = Path(__file__).with_name("calibration.json")


def load_calibration() -> Calibration:
    """Read what `calibrate` measured."""
    content = json.loads(CALIBRATION_FILE.read_text(encoding="utf-8"))
    return {name: np.array(values, np.float32) for name, values in content.items()}


@dataclass(frozen=True)
class Scale:
    """real = step * (stored - zero); stored is uint8."""

    step: np.float32
    zero: int

    @classmethod
    def symmetric(cls, largest: np.float32) -> Scale:
        return cls(np.float32(largest / INT8_MAX), 128)

    @classmethod
    def between(cls, low: np.float32, high: np.float32) -> Scale:
        step = np.float32((high - low) / UINT8_MAX)
        return cls(step, int(np.rint(-low / step)))


@dataclass(frozen=True)
class Int8Linear(Linear):
    """A linear step ready for int8: its input's scale, and the divisor still owed to the input."""

    scale: Scale
    divisor: Array | None = None


def prepare(encoder: Encoder[Linear], calibration: Calibration) -> Encoder[Int8Linear]:
    """Smooth and split every layer; in exact arithmetic the network stays what it was."""
    layers = (
        _prepare_layer(layer, calibration, f"layer{number}")
        for number, layer in enumerate(encoder.layers)
    )
    return Encoder(encoder.words, encoder.positions, encoder.norm, tuple(layers))


def _prepare_layer(layer: Layer[Linear], calibration: Calibration, at: str) -> Layer[Int8Linear]:
    context, divisor = _smooth(layer.context, calibration[f"{at}.context"])
    qkv = _divide_values(layer.qkv, divisor)
    up, down = _split(layer.up, layer.down, calibration[f"{at}.down"])
    return Layer(
        qkv=_owing(*_smooth(qkv, calibration[f"{at}.heads"])),
        context=context,
        context_norm=layer.context_norm,
        up=_owing(*_smooth(up, calibration[f"{at}.up"])),
        down=down,
        down_norm=layer.down_norm,
    )


def _smooth(linear: Linear, largest: Array) -> tuple[Int8Linear, Array]:
    """Balance input and weight, and return the divisor that the input has to take.

    Both then have the same maximum in every channel, so the weights tell the input's scale.
    """
    row_max = np.maximum(np.abs(linear.weight).max(axis=1), FLOOR)
    divisor = np.sqrt(np.maximum(largest, FLOOR) / row_max)
    weight = linear.weight * divisor[:, None]
    return Int8Linear(weight, linear.bias, Scale.symmetric(np.abs(weight).max())), divisor


def _owing(linear: Int8Linear, divisor: Array) -> Int8Linear:
    """Leave the division to run time, where nothing before it can take it over."""
    return replace(linear, divisor=divisor)


def _divide_values(qkv: Linear, divisor: Array) -> Linear:
    """Let the values of the attention, in which it is linear, take the divisor of its output."""
    whole = np.concatenate([np.ones(2 * len(divisor), np.float32), divisor])
    return Linear(qkv.weight / whole, qkv.bias / whole)


def _split(up: Linear, down: Linear, largest: Array) -> tuple[Linear, Int8Linear]:
    """Replace each neuron that passes ACTIVE_MAX by shifted copies (see the module)."""
    copies = np.ceil(largest / ACTIVE_MAX).astype(int)
    pairs = [(neuron, i) for neuron, n in enumerate(copies) for i in range(1, n)]
    source = np.array([neuron for neuron, _ in pairs], int)
    shift = ACTIVE_MAX * np.array([i for _, i in pairs], np.float32)
    split_up = Linear(
        np.concatenate([up.weight, up.weight[:, source]], axis=1),
        np.concatenate([up.bias, up.bias[source] - shift]),
    )
    weight = np.concatenate([down.weight, down.weight[source]])
    return split_up, Int8Linear(weight, down.bias, Scale.between(ACTIVE_MIN, ACTIVE_MAX))


class Int8:
    """Static int8 arithmetic, for an encoder made by `prepare`."""

    def words(self, graph: GraphWriter, table: Array) -> str:
        steps = np.abs(table).max(axis=1, keepdims=True) / INT8_MAX
        stored = graph.constant("words.table", np.rint(table / steps).astype(np.int8))
        rows = graph.node("Gather", [stored, "ids"], "words.stored")
        factors = graph.node("Gather", [graph.constant("words.steps", steps), "ids"], "words.step")
        wide = graph.node("Cast", [rows], "words.wide", to=TensorProto.FLOAT)
        return graph.node("Mul", [wide, factors], "words")

    def attention(self, graph: GraphWriter, x: str, name: str, qkv: Int8Linear) -> str:
        stored, step, zero = _quantize_input(graph, x, name, qkv)
        weight, steps = _quantize_weight(graph, name, qkv)
        bias = graph.constant(f"{name}.bias", qkv.bias)
        inputs = [stored, weight, bias, step, steps, "", zero]
        return graph.node("QAttention", inputs, name, domain=CONTRIB, num_heads=HEADS)

    def dense(self, graph: GraphWriter, x: str, name: str, linear: Int8Linear) -> str:
        stored, step, zero = _quantize_input(graph, x, name, linear)
        weight, steps = _quantize_weight(graph, name, linear)
        bias = graph.constant(f"{name}.bias", linear.bias)
        inputs = [stored, weight, step, steps, zero, "", bias]
        return graph.node("MatMulIntegerToFloat", inputs, name, domain=CONTRIB)


def _quantize_input(
    graph: GraphWriter, x: str, name: str, linear: Int8Linear
) -> tuple[str, str, str]:
    if linear.divisor is not None:
        factors = graph.constant(f"{name}.factors", 1 / linear.divisor)
        x = graph.node("Mul", [x, factors], f"{name}.smooth")
    step = graph.constant(f"{name}.step", np.array(linear.scale.step, np.float32))
    zero = graph.constant(f"{name}.zero", np.array(linear.scale.zero, np.uint8))
    return graph.node("QuantizeLinear", [x, step, zero], f"{name}.stored"), step, zero


def _quantize_weight(graph: GraphWriter, name: str, linear: Linear) -> tuple[str, str]:
    """Store int8 weights with a step a column, small enough for every CPU (see PAIR_MAX)."""
    weight = linear.weight
    pairs = np.abs(weight[0::2][: len(weight) // 2] + weight[1::2])
    steps = np.maximum(np.abs(weight).max(axis=0) / INT8_MAX, pairs.max(axis=0) / PAIR_MAX)
    stored = np.rint(weight / steps).astype(np.int8)
    return graph.constant(f"{name}.weight", stored), graph.constant(f"{name}.steps", steps)
