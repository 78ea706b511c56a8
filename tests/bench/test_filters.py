"""A filter on a field within dicts is measured beside the same one at the top."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from bench import filters

from .conftest import TURNS


def test_every_figure_is_there(turns_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to name a field has its median and how many times the other's that is."""
    monkeypatch.setattr(filters, "SEARCHES", 4)
    result = filters.run(Namespace(turns=turns_file, count=len(TURNS)))
    assert json.loads(json.dumps(result)) == result
    expected = {f"{name}_{part}" for name in filters.WAYS for part in ("ms", "times")}
    assert set(result) == expected | {"count"}
    assert all(result[name] > 0 for name in expected)
