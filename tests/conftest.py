"""What all tests share: Hypothesis without deadlines, a vault, and the folder it lies in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mimir_core import Mimir

from .vault.vaults import MEMORY_FOLDER, create

settings.register_profile(
    "mimir", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("mimir")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, in memory where the system has one: syncing there costs nothing."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        yield Path(name)


@pytest.fixture
def path(folder: Path) -> Path:
    """Where a vault may be created."""
    return folder / "vault.mimir"


@pytest.fixture
def mimir(path: Path) -> Iterator[Mimir]:
    """An open, empty vault."""
    with create(path) as opened:
        yield opened
