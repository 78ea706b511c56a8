"""What shows that stores keep to their promises: on which threads they work, what lies on disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from mimir_core import Mimir

from ..vault.scan import scan, text_forms


class Watched:
    """A Mimir that notes on which threads its methods are called, and how often each."""

    def __init__(self, mimir: Mimir) -> None:
        self._mimir = mimir
        self.threads: set[int] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._mimir, name)
        if not callable(found):
            return found

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.threads.add(threading.get_ident())
            self.calls.append(name)
            return found(*args, **kwargs)

        return noted

    @property
    def __class__(self) -> type:  # type: ignore[override]  # it stands for an open vault
        return Mimir

    def worked_elsewhere(self) -> bool:
        """Whether it was called, and never on this thread."""
        return bool(self.threads) and threading.get_ident() not in self.threads


def found_in(folder: Path, *words: str) -> dict[str, list[str]]:
    """Which files below a folder hold which of these words, in whatever guise."""
    return {word: files for word, files in _scan(folder, words).items() if files}


def _scan(folder: Path, words: tuple[str, ...]) -> dict[str, list[str]]:
    return scan(folder, {word: text_forms(word) for word in words})
