"""The encoder's float32 forward pass in numpy, written from the paper and not from the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
HIDDEN, INNER, HEADS, LAYERS, WORDS = 384, 1536, 12, 6, 30522


def random_tensors(seed: int) -> dict[str, Array]:
    """Weights of the right names and shapes, drawn at random."""
    random = np.random.default_rng(seed)

    def draw(*shape: int, spread: float = 0.05) -> Array:
        return random.normal(0, spread, shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": draw(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": draw(512, HIDDEN),
        "embeddings.token_type_embeddings.weight": draw(2, HIDDEN),
    }
    norms = ["embeddings"]
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        norms += [f"{at}.attention.output", f"{at}.output"]
        for name, inputs, outputs in (
            ("attention.self.query", HIDDEN, HIDDEN),
            ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN),
            ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", HIDDEN, INNER),
            ("output.dense", INNER, HIDDEN),
        ):
            tensors[f"{at}.{name}.weight"] = draw(outputs, inputs)
            tensors[f"{at}.{name}.bias"] = draw(outputs)
    for name in norms:
        tensors[f"{name}.LayerNorm.weight"] = 1 + draw(HIDDEN)
        tensors[f"{name}.LayerNorm.bias"] = draw(HIDDEN)
    return tensors


def forward(tensors: Mapping[str, Array], ids: list[int]) -> Array:
    """The L2-normalised mean of the last layer: float32 [384]."""

    def linear(x: Array, name: str) -> Array:
        product: Array = x @ tensors[f"{name}.weight"].T
        return product + tensors[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        gain, shift = (tensors[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        result: Array = scaled * gain + shift
        return result

    def attend(x: Array, at: str) -> Array:
        query, key, value = (
            linear(x, f"{at}.{part}").reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(HIDDEN // HEADS)
        odds = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixed: Array = odds / odds.sum(axis=2, keepdims=True) @ value
        return mixed.transpose(1, 0, 2).reshape(len(ids), HIDDEN)

    gelu = np.vectorize(lambda h: h * (1 + math.erf(h / math.sqrt(2))) / 2, otypes=[np.float32])
    x = tensors["embeddings.word_embeddings.weight"][ids]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        context = linear(attend(x, f"{at}.attention.self"), f"{at}.attention.output.dense")
        x = norm(x + context, f"{at}.attention.output")
        inner = gelu(linear(x, f"{at}.intermediate.dense"))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output")
    mean: Array = x.mean(axis=0)
    mean /= np.linalg.norm(mean)
    return mean
