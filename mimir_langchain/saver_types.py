"""Which types a checkpoint may be made of: values only, never calls of what it happens to name.

LangGraph's serializer writes a value of a class as the class's name and its parts, and its default
reads that by importing and calling whatever is named, so that whoever wrote a checkpoint can run
code where it is read. Here only classes are made whose values the serializer takes apart, and of
those only what the program has imported itself, what LangGraph knows to be safe, and what the
caller allows.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    JsonPlusSerializer,
)

from mimir_core.errors import InvalidArgument

TypeName = tuple[str, ...]
"""A type as LangGraph's allowlists write it: its module and its name."""

_SWITCH = "LANGGRAPH_STRICT_MSGPACK"
_NAMING = (
    EXT_CONSTRUCTOR_SINGLE_ARG, EXT_CONSTRUCTOR_POS_ARGS, EXT_CONSTRUCTOR_KW_ARGS,
    EXT_PYDANTIC_V1, EXT_PYDANTIC_V2,
)  # fmt: skip
_TAKEN_APART = ("model_dump", "get_secret_value", "dict", "_asdict")
"""The methods by which the serializer knows classes of pydantic's, and named tuples."""
_VALUES = (
    set, frozenset, deque, Enum, PurePath, UUID, Decimal, date, time, timedelta, tzinfo,
)  # fmt: skip


class CheckpointSerializer(JsonPlusSerializer):
    """LangGraph's serializer, with a say in which types it makes when it reads.

    It writes what LangGraph's writes. A type that it does not make comes back as its parts, as in
    LangGraph's strict mode, which says so once in its log; what is stored stays as it is.
    """

    def __init__(self, allow: Iterable[TypeName | type] = (), *, strict: bool = False) -> None:
        """Makes what is allowed.

        Args:
            allow: Types that are made although they are not among LangGraph's own: classes, or
                pairs of module and name, which are imported when they are met.
            strict: Make no others. Else also what the program has imported; LangGraph's own
                switch, the variable LANGGRAPH_STRICT_MSGPACK, makes it strict in any case.
        """
        super().__init__(allowed_msgpack_modules=_checked(allow))  # none: LangGraph's safe ones
        self._strict = strict or os.environ.get(_SWITCH, "").lower() in ("1", "true", "yes")

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value of a type's name and bytes."""
        if self._strict or data[0] != "msgpack":
            return super().loads_typed(data)
        imported = [name for name in _named(data[1]) if is_imported_data(name)]
        known = self.with_msgpack_allowlist(imported)
        return JsonPlusSerializer.loads_typed(known, data)


def is_imported_data(name: TypeName) -> bool:
    """Whether the program has imported such a class, and the serializer takes its values apart."""
    module, found = sys.modules.get(name[0]), None
    if module is not None:
        found = vars(module).get(name[1])
    if not isinstance(found, type) or found.__module__ != name[0]:
        return False
    known = is_dataclass(found) or issubclass(found, _VALUES)
    return known or any(callable(getattr(found, method, None)) for method in _TAKEN_APART)


def _named(data: bytes) -> set[TypeName]:
    """The names of all types that a value holds, at any depth."""
    names: set[TypeName] = set()

    def note(code: int, inner: bytes) -> None:
        with suppress(ormsgpack.MsgpackDecodeError):  # as a whole it is read elsewhere
            match ormsgpack.unpackb(inner, ext_hook=note, option=ormsgpack.OPT_NON_STR_KEYS):
                case [str(module), str(name), *_] if code in _NAMING:
                    names.add((module, name))

    ormsgpack.unpackb(data, ext_hook=note, option=ormsgpack.OPT_NON_STR_KEYS)
    return names


def _checked(allow: Iterable[TypeName | type]) -> list[TypeName | type]:
    if isinstance(allow, (str, type)) or not isinstance(allow, Iterable):
        raise InvalidArgument("allow is a list of classes, or of pairs of module and name")
    found = list(allow)
    for each in found:
        pair = isinstance(each, tuple) and [*map(type, each)] == [str, str]
        if not pair and not isinstance(each, type):
            raise InvalidArgument("a type is allowed as a class, or as a pair of module and name")
    return found
