"""Vaults for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mimir_core import KdfProfile, Mimir

from .shell import Shell


@pytest.fixture(scope="module")
def cheap_kdf() -> Iterator[None]:
    """Lets this process make and open vaults of the test cost; programs started by it do not."""
    with pytest.MonkeyPatch.context() as patch:
        for method in (Mimir.create, Mimir.open, Mimir.change_passphrase):
            defaults: dict[str, object] = getattr(method, "__func__", method).__kwdefaults__
            patch.setitem(defaults, "profile", KdfProfile.INSECURE_FOR_TESTS)
        yield


@pytest.fixture
def shell(cheap_kdf: None, folder: Path) -> Shell:
    """A shell with a fresh, empty vault, for commands in this process."""
    made = Shell(folder / "agent.mimir")
    made.ok("create", made.vault)
    return made
