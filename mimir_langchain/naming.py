"""Errors of one of many: they say which, by its place in the list that the caller gave."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mimir_core.errors import InputError

__all__ = ["about", "items_are"]

_ITEM = re.compile(r"(item|vector) (\d+)\b")


@contextmanager
def about(what: str) -> Iterator[None]:
    """An input error raised within begins with what it is about, such as "document 17"."""
    try:
        yield
    except InputError as error:
        error.args = (f"{what}: {error.args[0]}", *error.args[1:])
        raise


@contextmanager
def items_are(what: Sequence[str] | Callable[[int], str]) -> Iterator[None]:
    """An input error of the core's about "item 3", or its vector, names it as the caller does."""
    name = what if callable(what) else what.__getitem__
    try:
        yield
    except InputError as error:
        message = str(error.args[0])
        if found := _ITEM.match(message):
            of = "the vector of " if found[1] == "vector" else ""
            error.args = (of + name(int(found[2])) + message[found.end() :], *error.args[1:])
        raise
