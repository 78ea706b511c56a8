"""The encoder as an ONNX graph, written straight from its weights.

The network is BERT (Devlin et al. 2018, arXiv:1810.04805) in the size of MiniLM-L6-H384
(Wang et al. 2020, arXiv:2002.10957), mean-pooled and L2-normalised as in sentence-transformers.

Two properties of the graph make a text's vector independent of the company it is in. There is
no padding and no mask: a batch holds texts of one token count, so each row runs through the same
kernels as it would alone. And Add + LayerNormalization stand apart on purpose: the fused
SkipLayerNormalization of onnxruntime is several times slower, so graphs are also loaded with
graph optimization off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

LAYERS = 6
HEADS = 12
POSITIONS = 256
EPSILON = 1e-12
CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class Linear:
    """y = x @ weight + bias; weight [inputs, outputs], bias [outputs]."""

    weight: Array
    bias: Array


L = TypeVar("L", bound=Linear)
L_contra = TypeVar("L_contra", bound=Linear, contravariant=True)


@dataclass(frozen=True)
class Norm:
    """Layer normalization: gain and shift, each [384]."""

    gain: Array
    shift: Array


@dataclass(frozen=True)
class Layer(Generic[L]):
    """One transformer block. `qkv` holds query, key and value side by side."""

    qkv: L
    context: L
    context_norm: Norm
    up: L
    down: L
    down_norm: Norm


@dataclass(frozen=True)
class Encoder(Generic[L]):
    """All weights: words [30522, 384], positions [256, 384] (token type 0 added), six layers."""

    words: Array
    positions: Array
    norm: Norm
    layers: tuple[Layer[L], ...]


def encoder_from(tensors: Mapping[str, Array]) -> Encoder[Linear]:
    """Arrange the tensors of a BERT checkpoint, named as Hugging Face names them."""

    def linear(name: str) -> Linear:
        return Linear(tensors[f"{name}.weight"].T, tensors[f"{name}.bias"])

    def norm(name: str) -> Norm:
        return Norm(tensors[f"{name}.LayerNorm.weight"], tensors[f"{name}.LayerNorm.bias"])

    def layer(number: int) -> Layer[Linear]:
        at = f"encoder.layer.{number}"
        heads = [linear(f"{at}.attention.self.{part}") for part in ("query", "key", "value")]
        qkv = Linear(
            np.concatenate([head.weight for head in heads], axis=1),
            np.concatenate([head.bias for head in heads]),
        )
        return Layer(
            qkv=qkv,
            context=linear(f"{at}.attention.output.dense"),
            context_norm=norm(f"{at}.attention.output"),
            up=linear(f"{at}.intermediate.dense"),
            down=linear(f"{at}.output.dense"),
            down_norm=norm(f"{at}.output"),
        )

    token_type = tensors["embeddings.token_type_embeddings.weight"][0]
    return Encoder(
        words=tensors["embeddings.word_embeddings.weight"],
        positions=tensors["embeddings.position_embeddings.weight"][:POSITIONS] + token_type,
        norm=norm("embeddings"),
        layers=tuple(layer(number) for number in range(LAYERS)),
    )


class GraphWriter:
    """Collects nodes and constants; every value is named after the node that makes it."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}

    def constant(self, name: str, value: Array) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(
        self, op: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Any
    ) -> str:
        made = helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes)
        self._nodes.append(made)
        return output

    def model(self, outputs: Sequence[str]) -> ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info("ids", TensorProto.INT32, ["texts", "tokens"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


class Arithmetic(Protocol[L_contra]):
    """How the graph computes: in float32, or in int8 (`quantize.Int8`)."""

    def words(self, graph: GraphWriter, table: Array) -> str:
        """Look up `ids` in the word table; returns float32 [texts, tokens, 384]."""

    def attention(self, graph: GraphWriter, x: str, name: str, qkv: L_contra) -> str:
        """Multi-head self-attention of x; returns the heads' contexts side by side."""

    def dense(self, graph: GraphWriter, x: str, name: str, linear: L_contra) -> str:
        """x @ weight + bias."""


class Float32:
    """The reference arithmetic, used to calibrate and to test."""

    def words(self, graph: GraphWriter, table: Array) -> str:
        return graph.node("Gather", [graph.constant("words.table", table), "ids"], "words")

    def attention(self, graph: GraphWriter, x: str, name: str, qkv: Linear) -> str:
        weight = graph.constant(f"{name}.weight", qkv.weight)
        bias = graph.constant(f"{name}.bias", qkv.bias)
        return graph.node("Attention", [x, weight, bias], name, domain=CONTRIB, num_heads=HEADS)

    def dense(self, graph: GraphWriter, x: str, name: str, linear: Linear) -> str:
        weight = graph.constant(f"{name}.weight", linear.weight)
        product = graph.node("MatMul", [x, weight], f"{name}.product")
        return graph.node("Add", [product, graph.constant(f"{name}.bias", linear.bias)], name)


def write_model(
    encoder: Encoder[L], arithmetic: Arithmetic[L], *, taps: Sequence[str] = ()
) -> ModelProto:
    """Write the whole graph: `ids` int32 [texts, tokens] to `vector` float32 [texts, 384].

    Args:
        encoder: The weights.
        arithmetic: How to compute.
        taps: Names of inner values to give out as well, for calibration.
    """
    graph = GraphWriter()
    x = _embed(graph, encoder, arithmetic)
    for number, layer in enumerate(encoder.layers):
        x = _block(graph, arithmetic, x, f"layer{number}", layer)
    pooled = graph.node("ReduceMean", [x], "pooled", axes=[1], keepdims=0)
    vector = graph.node("LpNormalization", [pooled], "vector", axis=-1, p=2)
    return graph.model([vector, *taps])


def _embed(graph: GraphWriter, encoder: Encoder[L], arithmetic: Arithmetic[L]) -> str:
    words = arithmetic.words(graph, encoder.words)
    table = graph.constant("positions.table", encoder.positions)
    first = graph.constant("positions.first", np.array([0], np.int64))
    count = graph.node("Shape", ["ids"], "tokens", start=1, end=2)
    positions = graph.node("Slice", [table, first, count], "positions")
    return _add_and_norm(graph, words, positions, "embedded", encoder.norm)


def _block(graph: GraphWriter, arithmetic: Arithmetic[L], x: str, at: str, layer: Layer[L]) -> str:
    heads = arithmetic.attention(graph, x, f"{at}.heads", layer.qkv)
    context = arithmetic.dense(graph, heads, f"{at}.context", layer.context)
    x = _add_and_norm(graph, context, x, f"{at}.attended", layer.context_norm)
    up = arithmetic.dense(graph, x, f"{at}.up", layer.up)
    active = graph.node("Gelu", [up], f"{at}.active", domain=CONTRIB)
    down = arithmetic.dense(graph, active, f"{at}.down", layer.down)
    return _add_and_norm(graph, down, x, f"{at}.out", layer.down_norm)


def _add_and_norm(graph: GraphWriter, a: str, b: str, name: str, norm: Norm) -> str:
    gain = graph.constant(f"{name}.gain", norm.gain)
    shift = graph.constant(f"{name}.shift", norm.shift)
    total = graph.node("Add", [a, b], f"{name}.sum")
    return graph.node("LayerNormalization", [total, gain, shift], name, epsilon=EPSILON)
