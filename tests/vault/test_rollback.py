"""An older file put back under an open handle: it shows that older state or a newer one, no mix."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mimir_core import Item

from .raw import read_blocks, write_blocks
from .vaults import contents, create, everything, reopen

MINE = {
    "remember": lambda mimir: mimir.remember("meet Ana", key="k1", thread="t"),
    "remember twice": lambda mimir: [mimir.remember(text) for text in ("meet Ana", "meet Bea")],
    "forget": lambda mimir: mimir.forget(key="first"),
    "much": lambda mimir: mimir.remember_many([Item("x" * 9_000) for _ in range(5)]),
    "checkpoint": lambda mimir: mimir.checkpoint(),
}
THEIRS = {
    "nothing": lambda mimir: None,
    "one": lambda mimir: mimir.remember("pay Bert", key="k2", thread="t"),
    "two": lambda mimir: [mimir.remember(text, thread="t") for text in ("pay Bert", "pay Cleo")],
    "forget": lambda mimir: [mimir.forget(key="second"), mimir.remember("pay Bert")],
    "more": lambda mimir: [mimir.remember("y" * 4_000 * n, key=f"k{n}") for n in range(1, 9)],
    "checkpoint": lambda mimir: [mimir.checkpoint(), mimir.remember("pay Bert")],
}


@pytest.mark.parametrize("mine", MINE)
@pytest.mark.parametrize("theirs", THEIRS)
def test_no_mixture_of_two_histories(path: Path, mine: str, theirs: str) -> None:
    """Texts, keys, edges and searches are those of the file, and what is written then joins in."""
    with create(path) as mimir:
        mimir.remember("the first", key="first")
        mimir.remember("the second", key="second", thread="t")
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    with reopen(path) as mimir:
        MINE[mine](mimir)
        contents(mimir)
        mimir._vault._try_scrub()
        write_blocks(path, read_blocks(copy))
        with reopen(path) as fresh:
            THEIRS[theirs](fresh)
            assert contents(mimir) == contents(fresh)
            assert everything(mimir) == everything(fresh)
            assert mimir.verify().ok
            mimir.remember("and more", thread="t")
            assert everything(mimir) == everything(fresh)
            assert fresh.verify().ok
