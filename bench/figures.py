"""Figures: how times are summed up, and how a figure is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Times = list[float] | npt.NDArray[Any]


def percentiles(**milliseconds: Times) -> dict[str, float]:
    """p50 and p95 of each list of times, as `<name>_p50_ms` and `<name>_p95_ms`."""
    return {
        f"{name}_{point}_ms": float(np.percentile(values, int(point[1:])))
        for name, values in milliseconds.items()
        for point in ("p50", "p95")
    }


def cell(value: float | bool | None) -> str:
    """A figure in a table, with two decimals below a hundred; truth as yes or no."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
