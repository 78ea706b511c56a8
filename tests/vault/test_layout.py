"""The root: what it says comes back, and what no writer says is refused."""

from __future__ import annotations

import pytest

from mimir_core.vault.layout import Root, Space


@pytest.mark.parametrize("dimension", [0, 1, 8_192, 8_193, (1 << 32) - 1])
def test_a_dimension_has_bounds(dimension: int) -> None:
    """A root with a vector space of 1 to 8,192 dimensions is read; another is none."""
    root = Root(bytes(32), 1, bytes(8), spaces=(Space(bytes(32), dimension),))
    if 1 <= dimension <= 8_192:
        assert Root.decode(root.encode()) == root
    else:
        with pytest.raises(ValueError, match="dimension"):
            Root.decode(root.encode())
