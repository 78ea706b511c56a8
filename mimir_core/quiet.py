"""Keeps onnxruntime from reporting to its maker; imported before anything that may load it.

From 1.29 on, loading onnxruntime starts its telemetry: it looks up a host of its maker, and keeps a
device id and a database of events in the user's cache folder. It reads ORT_DISABLE_TELEMETRY as it
loads; later nothing stops it, its own `disable_telemetry_events` neither.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Final

VARIABLE: Final = "ORT_DISABLE_TELEMETRY"
_WANTED: Final = frozenset({"0", "false"})
"""Values by which the user asks for telemetry; onnxruntime takes any other as a no."""


class TelemetryWarning(UserWarning):
    """onnxruntime was loaded before Mimir could switch its telemetry off."""


def telemetry_wanted() -> bool:
    """Whether the user has asked for onnxruntime's telemetry; that is left to them."""
    return os.environ.get(VARIABLE, "").strip().lower() in _WANTED


def _disable() -> bool:
    """Switch telemetry off; returns whether it was too late for that.

    Nothing at all in the variable counts as yes for onnxruntime, but nobody asks that way.
    """
    late = not os.environ.get(VARIABLE) and "onnxruntime" in sys.modules
    os.environ[VARIABLE] = os.environ.get(VARIABLE) or "1"
    return late and _reports(str(getattr(sys.modules["onnxruntime"], "__version__", "")))


def _reports(version: str) -> bool:
    """Whether this version has telemetry on every system; one that cannot be read may."""
    parts = version.split(".")
    try:
        return (int(parts[0]), int(parts[1])) >= (1, 29)
    except (ValueError, IndexError):
        return True


loaded_too_early: Final = _disable()
"""Whether onnxruntime was loaded before Mimir, with its telemetry on."""

if loaded_too_early:
    warnings.warn(
        "onnxruntime was imported before Mimir and may report to its maker "
        f"(import mimir_core first, or set {VARIABLE}=1 for the whole program)",
        TelemetryWarning,
        stacklevel=2,
    )
