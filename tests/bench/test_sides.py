"""Two sides do the same work in turn, and their times are summed up as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import sides
from bench.figures import cell, percentiles


def test_differences_by_hand() -> None:
    """The percentage is the median of the differences over the other side's median."""
    ours, theirs = {1: 4.0, 2: 9.0, 3: 11.0}, {1: 2.0, 2: 8.0, 3: 4.0}  # differ by 2, 1, 7
    found = sides.in_turn("x", [1, 2, 3], ours.__getitem__, theirs.__getitem__)
    assert found == sides.Difference(percent=100 * 2 / 4, ours_ms=9.0, theirs_ms=4.0)


def test_sides_change_their_order() -> None:
    """Neither side is always first, and each does every piece within what it stands in."""
    said: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        said.append("(")
        yield
        said.append(")")

    sides.in_turn(
        "x", [1, 2],
        sides.timed(lambda piece: said.append(f"a{piece}")),
        sides.timed(lambda piece: said.append(f"b{piece}"), around),
    )  # fmt: skip
    assert "".join(said) == "(b1)a1a2(b2)"


def test_batches_hold_all_work() -> None:
    """Work is cut into pieces of 256 in order, the last one shorter."""
    pieces = sides.batches(range(600))
    assert [len(piece) for piece in pieces] == [256, 256, 88]
    assert [each for piece in pieces for each in piece] == list(range(600))


def test_percentiles_by_hand() -> None:
    """p50 is the median and p95 lies 95 % of the way from the least to the most."""
    found = percentiles(total=[float(number) for number in range(101)], rest=[1.0, 3.0])
    assert found == {
        "total_p50_ms": 50, "total_p95_ms": 95, "rest_p50_ms": 2, "rest_p95_ms": pytest.approx(2.9),
    }  # fmt: skip


def test_cells_show_figures_and_truth() -> None:
    """A cell has two decimals below a hundred and none above; truth is a word, nothing is empty."""
    shown = [cell(value) for value in (1.234, 99.99, 1234.5, True, False, None)]
    assert shown == ["1.23", "99.99", "1,234", "yes", "no", ""]
