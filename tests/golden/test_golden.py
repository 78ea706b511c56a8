"""Vaults of every format version so far open, for ever, with all that they held."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mimir_core.crypto.preamble import FORMAT_VERSION

from .make import FOLDER, observe, open_golden, searches

VERSIONS = sorted(path.name.removesuffix(".mimir.gz") for path in FOLDER.glob("*.mimir.gz"))


def test_every_version_has_a_golden_vault() -> None:
    """There is a golden vault of each format version up to the present."""
    assert {f"version{number}" for number in range(1, FORMAT_VERSION + 1)} == set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_vault_opens(folder: Path, version: str) -> None:
    """All memories, ids, edges, names and search results are those that were written down."""
    path = folder / "golden.mimir"
    path.write_bytes(gzip.decompress((FOLDER / f"{version}.mimir.gz").read_bytes()))
    expected = json.loads(gzip.decompress((FOLDER / f"{version}.json.gz").read_bytes()))
    found = expected.pop("searches")
    with open_golden(path) as mimir:
        assert mimir.stats().tail > 0
        assert json.loads(json.dumps(observe(mimir))) == expected
        assert searches(mimir) == found
    with open_golden(path) as mimir:
        assert mimir.stats().tail == 0
        assert json.loads(json.dumps(observe(mimir))) == expected
        assert searches(mimir) == found


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_vault_can_be_changed(folder: Path, version: str) -> None:
    """An old vault takes new memories, forgets old ones and verifies."""
    path = folder / "golden.mimir"
    path.write_bytes(gzip.decompress((FOLDER / f"{version}.mimir.gz").read_bytes()))
    with open_golden(path) as mimir:
        before = mimir.stats().memories
        id_ = mimir.remember("new in an old vault", thread="session 3", namespace="home")
        gone = mimir.forget(where={"speaker": "Ana"}, namespace="home").count
        assert gone > 0
        assert mimir.stats().memories == before + 1 - gone
    with open_golden(path) as mimir:
        assert mimir.get(id_).text == "new in an old vault"
        assert mimir.verify().ok
