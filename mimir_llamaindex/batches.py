"""Lists that callers give: an error says which of several items is meant, counted from 0."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from mimir_core.errors import InputError, InvalidArgument

__all__ = ["each", "item", "listed", "numbers_of", "renumbered"]

A = TypeVar("A")
B = TypeVar("B")
_ITEM = re.compile(r"item (\d+): ")


def listed(given: Iterable[A], what: str) -> list[A]:
    """A caller's list. Raises InvalidArgument for a text or what cannot be gone through."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidArgument(f"{what} come as a list")
    return list(given)


def each(make: Callable[[A], B], given: Sequence[A]) -> Iterator[B]:
    """What is made of each item. Of several, an InputError names the item's number."""
    for number, one in zip(numbers_of(given), given, strict=True):
        with item(number):
            made = make(one)
        yield made


def numbers_of(given: Sequence[object]) -> list[int] | list[None]:
    """What errors call each item; a single one needs no number."""
    return list(range(len(given))) if len(given) > 1 else [None] * len(given)


@contextmanager
def item(number: int | None) -> Iterator[None]:
    """Names an item's number in an InputError, instead of one that the core named."""
    try:
        yield
    except InputError as error:
        raise _named(error, number) from None


@contextmanager
def renumbered(numbers: Sequence[int | None]) -> Iterator[None]:
    """Turns the number that the core names into that of the caller's list.

    Args:
        numbers: The caller's number of each item that the core was given.
    """
    try:
        yield
    except InputError as error:
        found = _ITEM.match(_message(error))
        if found is None and len(numbers) != 1:
            raise  # it is about no item
        raise _named(error, numbers[0 if found is None else int(found[1])]) from None


def _named(error: InputError, number: int | None) -> InputError:
    plain = _ITEM.sub("", _message(error), count=1)
    text = plain if number is None else f"item {number}: {plain}"
    return type(error)(text, hint=error.hint)


def _message(error: Any) -> str:
    """The message without its hint."""
    return str(error.args[0])
