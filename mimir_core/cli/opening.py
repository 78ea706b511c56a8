"""Opening the vault that a command is about."""

from __future__ import annotations

from pathlib import Path

from mimir_core.cli.passphrase import read_passphrase
from mimir_core.embedding import MiniLM
from mimir_core.errors import NotAVault
from mimir_core.memory import Mimir


def open_vault(vault: Path, passphrase_file: Path | None, embedder: MiniLM | None = None) -> Mimir:
    """Opens a vault with the passphrase from where the command says. Raises as `Mimir.open`."""
    if not vault.exists():  # known before anyone types a passphrase
        raise NotAVault("there is no vault at this path")
    return Mimir.open(vault, read_passphrase(passphrase_file), embedder=embedder)
