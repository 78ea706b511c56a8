"""One handle's work between any two looks of another at the same vault, one place after the other.

A handle looks at its vault in transactions: each read is one, each write is one. What another
process does can only fall between them, so that trying every place between them tries every
interleaving with a single piece of its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from mimir_core import Mimir

from .vaults import MEMORY_FOLDER, create, reopen

Work = Callable[[Mimir], object]
MOST = 200


def places(prepare: Work, one: Work, other: Work) -> Iterator[Mimir]:
    """Vaults in which `other` happened before the n-th transaction of `one`, for each n.

    Each comes from `prepare` anew; `one` and `other` have a handle of their own. The last vault is
    the one in which `other` came after all of `one`.
    """
    for number in range(MOST):
        with TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
            path = Path(folder) / "v.mimir"
            with create(path) as mine, reopen(path) as theirs:
                prepare(mine)
                between = Between(mine, number, lambda theirs=theirs: other(theirs))
                with between.watched():
                    one(mine)
                if not between.happened:
                    other(theirs)
                yield mine
                if not between.happened:
                    return
    raise AssertionError("it never ends")


class Between:
    """Does something once, before the n-th transaction of a handle from now on, 0 the first."""

    def __init__(self, mimir: Mimir, number: int, work: Callable[[], object]) -> None:
        self._vault = mimir._vault
        self._left = number
        self._work = work
        self.happened = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this lasts, transactions are counted."""
        view, exclusive = self._vault.view, self._vault.exclusive
        with (
            patch.object(self._vault, "view", lambda: self._counted(view)),
            patch.object(self._vault, "exclusive", lambda: self._counted(exclusive)),
        ):
            yield

    def _counted(
        self, transaction: Callable[[], AbstractContextManager[Any]]
    ) -> AbstractContextManager[Any]:
        if self._left == 0 and not self.happened:
            self.happened = True
            self._work()
        self._left -= 1
        return transaction()
