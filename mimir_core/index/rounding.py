"""Cosines by integers: the query rounded to int8, as the stored vectors are.

With `query = step * codes + rest`, one SIMD pass over the codes gives each row's score up to an
error of at most |rest|, since stored vectors have unit length (Cauchy-Schwarz). The typical error
is a twentieth of that. Equal rows score equally: sums of integers are exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import simsimd

from mimir_core.index.columns import Codes, Floats

_SUMS = 1e-5  # above the float32 rounding of an exact score


class Rounded(NamedTuple):
    """A unit vector as `step * codes`, int8 [dimension], and by how much a score of it may err."""

    codes: Codes
    step: np.float32
    error: float


def rounded(direction: Floats) -> Rounded:
    """The unit vector that is nearest in int8."""
    step = np.abs(direction).max() / np.float32(127)
    codes = np.rint(direction / step).astype(np.int8)
    rest = direction - step * codes
    return Rounded(codes, step, math.sqrt(rest.dot(rest)) + _SUMS)


def rough(query: Rounded, codes: Codes, scales: Floats) -> Floats:
    """Cosines of a rounded query with rows `codes * scales`, float32 [n]."""
    if not len(codes):
        return np.empty(0, np.float32)
    products = simsimd.cdist(query.codes[None], codes, "inner", out_dtype="float32")
    scores: Floats = np.asarray(products)[0]
    scores *= query.step * scales
    return scores
