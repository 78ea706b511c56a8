"""MimirSaver: a checkpoint is made of values, and makes nobody's code run."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import ormsgpack
import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    JsonPlusSerializer,
)
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, VaultDamaged
from mimir_langchain import MimirSaver
from mimir_langchain.saver_types import CheckpointSerializer

from ..vault.vaults import create
from .graphs import config, put

called: list[Any] = []


def note_a_call(*args: Any, **fields: Any) -> str:
    """What no checkpoint may call."""
    called.append(args or fields)
    return "called"


class Caller:
    """A class that is no data, which no checkpoint may make."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        called.append(args or fields)


class Weather(BaseModel):
    """A value of pydantic's."""

    city: str
    celsius: float = 0.0


@dataclass
class Place:
    """A value of a data class."""

    name: str
    weather: Weather | None = None


class Pair(NamedTuple):
    """A named tuple."""

    one: int
    two: int


class Mood(Enum):
    """A value of a few."""

    GOOD = "good"


class Travel(TypedDict):
    """A state with a value of a data class."""

    place: Place


class Tags(set[str]):
    """A set of one's own."""


VALUES = [
    Weather(city="Oslo"), Place("Oslo", Weather(city="Oslo", celsius=1.5)), Pair(1, 2), Mood.GOOD,
    Tags({"a"}), SecretStr("s"), {"m": [Place("a")]},
]  # fmt: skip
SAFE = [AIMessage("a", id="1"), date(2024, 1, 2), Path("a/b"), {1, 2}, deque([1])]


class Forged:
    """A serializer that writes what it is told instead of a value: a stranger's checkpoint."""

    def __init__(self, code: int, parts: tuple[Any, ...]) -> None:
        self._made = ormsgpack.packb([ormsgpack.Ext(code, ormsgpack.packb(parts))])

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """What was told, for the text "forged"."""
        plain = JsonPlusSerializer()
        return ("msgpack", self._made) if obj == "forged" else plain.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Nothing is read."""
        raise AssertionError


def value_of(saver: MimirSaver) -> Any:
    """The value of the newest checkpoint's only channel."""
    found = saver.get_tuple(config())
    assert found is not None
    return found.checkpoint["channel_values"]["a"]


def names_of(module: str, name: str) -> list[tuple[int, tuple[Any, ...]]]:
    """Every way to name something that is called."""
    return [
        (EXT_CONSTRUCTOR_SINGLE_ARG, (module, name, "x")),
        (EXT_CONSTRUCTOR_POS_ARGS, (module, name, ["x"])),
        (EXT_CONSTRUCTOR_KW_ARGS, (module, name, {"x": 1})),
        (EXT_METHOD_SINGLE_ARG, (module, name, "x", "__call__")),
        (EXT_PYDANTIC_V1, (module, name, {"x": 1})),
        (EXT_PYDANTIC_V2, (module, name, {"x": 1}, "model_validate_json")),
    ]


@pytest.mark.parametrize("how", ["value", "write", "metadata"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["note_a_call", "Caller"])
@pytest.mark.parametrize("way", range(6))
def test_a_strangers_checkpoint_calls_nothing(
    mimir: Mimir, way: int, name: str, strict: bool, how: str
) -> None:
    """Whatever a checkpoint names, in whatever way, is read as plain parts, and not called."""
    called.clear()
    code, parts = names_of(__name__, name)[way]
    forger = MimirSaver(mimir, serde=Forged(code, parts))
    if how == "metadata":
        forger._typed = lambda value: forger.serde.dumps_typed("forged")  # type: ignore[method-assign]
    where = put(forger, config(), a="forged" if how == "value" else 1)
    if how == "write":
        forger.put_writes(where, [("w", "forged")], "task")
    try:
        (found,) = MimirSaver(mimir, strict=strict).list(config())
    except VaultDamaged:
        assert how == "metadata"  # a list is none
    else:
        given = found.pending_writes[0][2] if found.pending_writes else value_of(MimirSaver(mimir))
        assert given == [parts[2]]
    assert called == []


def test_langgraphs_default_calls_it(mimir: Mimir) -> None:
    """The same checkpoint calls what it names where LangGraph's default serializer reads it."""
    called.clear()
    code, parts = names_of(__name__, "note_a_call")[0]
    put(MimirSaver(mimir, serde=Forged(code, parts)), config(), a="forged")
    assert value_of(MimirSaver(mimir, serde=JsonPlusSerializer(allowed_msgpack_modules=True))) == [
        "called"
    ]
    assert called == [("x",)]


def test_nothing_is_imported_that_was_not(mimir: Mimir, tmp_path: Path, monkeypatch: Any) -> None:
    """A module is imported for a checkpoint only where the caller allows a type of it."""
    (tmp_path / "not_imported_yet.py").write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass Data:\n    x: int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = Forged(EXT_CONSTRUCTOR_KW_ARGS, ("not_imported_yet", "Data", {"x": 1}))
    put(MimirSaver(mimir, serde=made), config(), a="forged")
    assert value_of(MimirSaver(mimir)) == [{"x": 1}]
    assert "not_imported_yet" not in sys.modules
    (found,) = value_of(MimirSaver(mimir, allow=[("not_imported_yet", "Data")]))
    assert found == sys.modules.pop("not_imported_yet").Data(1)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_of_ones_own_classes_come_back(mimir: Mimir, value: Any) -> None:
    """What LangGraph's default gives back, ours does too; strictly, where the class is allowed."""
    put(MimirSaver(mimir), config(), a=value)
    assert value_of(MimirSaver(mimir)) == value
    assert value_of(MimirSaver(mimir, serde=JsonPlusSerializer())) == value
    allow = [Weather, Place, ("pydantic.types", "SecretStr"), Pair, Mood, Tags]
    for strict in (False, True):
        assert value_of(MimirSaver(mimir, allow=allow, strict=strict)) == value


def test_strictly_a_class_is_its_parts(mimir: Mimir, caplog: pytest.LogCaptureFixture) -> None:
    """Strictly, only what is allowed is made; the rest is plain parts, and stays stored whole."""
    value = Place("Oslo", Weather(city="Oslo"))
    put(MimirSaver(mimir), config(), a=value)
    strict = MimirSaver(mimir, strict=True)
    assert value_of(strict) == {"name": "Oslo", "weather": {"city": "Oslo", "celsius": 0.0}}
    assert value_of(MimirSaver(mimir, strict=True, allow=[Place])).weather == {
        "city": "Oslo", "celsius": 0.0,
    }  # fmt: skip
    where = strict.get_tuple(config())
    assert where is not None
    heir = {**where.checkpoint, "id": "z" + where.checkpoint["id"]}
    strict.put(where.config, heir, {}, {})  # type: ignore[arg-type]  # a checkpoint with another id
    assert value_of(MimirSaver(mimir)) == value


@pytest.mark.parametrize("value", SAFE, ids=lambda value: type(value).__name__)
def test_langgraphs_own_types_always_come_back(mimir: Mimir, value: Any) -> None:
    """Messages, dates, paths and sets need no permission."""
    saver = MimirSaver(mimir, strict=True)
    put(saver, config(), a=value)
    assert value_of(saver) == value


NOON = datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Oslo"))
CHANGED: dict[str, tuple[Any, Any]] = {
    "zone": (NOON, NOON.replace(tzinfo=timezone(timedelta(hours=2)))),
    "fold": (datetime(2024, 10, 27, 2, 30, fold=1), datetime(2024, 10, 27, 2, 30)),
    "objects": (np.array([1, "a"], object), None),
    "named fields": (np.array([(1,)], [("a", "<i4")]), np.array([b"\1"], "V4")),
    "deque": (deque([1, 2], maxlen=2), deque([1, 2])),
    "tuple": ((1, 2), [1, 2]),
    "set of tuples": ({(1, 2)}, [[1, 2]]),
    "defaultdict": (defaultdict(int, a=1), {"a": 1}),
    "Counter": (Counter("aa"), {"a": 2}),
    "OrderedDict": (OrderedDict(a=1), {"a": 1}),
    "enum as a key": ({Mood.GOOD: 1}, {"good": 1}),
    "exception": (ValueError("x"), "ValueError('x')"),
    "surrogate": ("a\ud800", "a?"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_the_serializer_changes_is_as_the_readme_says(mimir: Mimir, name: str) -> None:
    """Values that LangGraph's serializer changes come back as it leaves them, no more and no less.

    A value is compared by its repr, which tells zones, bounds and types apart.
    """
    value, changed = CHANGED[name]
    put(MimirSaver(mimir), config(), a=value)
    found = value_of(MimirSaver(mimir))
    assert repr(found) == repr(changed)
    assert repr(value_of(MimirSaver(mimir, serde=JsonPlusSerializer()))) == repr(changed)


@pytest.mark.parametrize("value", [np.float64(1.5), np.int32(1), 2**70], ids=repr)
def test_what_the_serializer_refuses_is_not_stored(mimir: Mimir, value: Any) -> None:
    """Numpy scalars and integers over 64 bits are a TypeError, before anything is written."""
    with pytest.raises(TypeError):
        put(MimirSaver(mimir), config(), a=value)
    assert mimir.stats().memories == 0


SWITCHED = """
import sys
from pathlib import Path
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from mimir_langchain import MimirSaver
from tests.langchain.graphs import asking_graph, config
from tests.langchain.test_saver_types import Place, Travel, value_of
from tests.vault.vaults import reopen
with reopen(Path(sys.argv[1])) as mimir:
    assert value_of(MimirSaver(mimir)) == {"name": "Oslo", "weather": None}
    assert value_of(MimirSaver(mimir, allow=[Place])) == Place("Oslo")
    allowing = MimirSaver(mimir).with_allowlist([(Place.__module__, "Place")])
    assert value_of(allowing) == Place("Oslo")
    builder = StateGraph(Travel)
    builder.add_node("go", lambda state: {"place": Place("Bergen")})
    builder.add_edge(START, "go")
    going = builder.compile(checkpointer=MimirSaver(mimir))
    going.invoke({"place": Place("Oslo")}, config("travel"))
    assert going.get_state(config("travel")).values == {"place": Place("Bergen")}
    graph = asking_graph(MimirSaver(mimir))
    graph.invoke({"said": [], "fixed": "f"}, config("other"))
    assert graph.invoke(Command(resume="y"), config("other"))["said"] == ["hello", "you say y"]
"""


@pytest.mark.parametrize("word", ["1", "true", "YES"])
def test_langgraphs_switch_makes_it_strict(path: Path, word: str) -> None:
    """With LANGGRAPH_STRICT_MSGPACK set, only LangGraph's and allowed types are made."""
    with create(path) as mimir:
        put(MimirSaver(mimir), config(), a=Place("Oslo"))
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", SWITCHED, str(path)], cwd=root, check=True, timeout=120,
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": word},
    )  # fmt: skip


@pytest.mark.parametrize(
    "allow", ["os", Place, [1], [("a",)], [("a", 1)], ["os.system"], 5, [("a", "b", "c")]]
)
def test_what_names_no_types_is_refused(mimir: Mimir, allow: Any) -> None:
    """A type is a class, or a pair of module and name; a serializer of one's own decides itself."""
    with pytest.raises(InvalidArgument):
        MimirSaver(mimir, allow=allow)
    for options in ({"allow": [Place]}, {"strict": True}):
        with pytest.raises(InvalidArgument):
            MimirSaver(mimir, serde=JsonPlusSerializer(), **options)  # type: ignore[arg-type]


def _alias() -> types.ModuleType:
    module = types.ModuleType("aliasing")
    module.Data = Place  # type: ignore[attr-defined]
    module.system = os.system  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("name", ["Data", "system", "os.system", "absent", "__class__"])
def test_only_a_class_where_it_was_made_counts(monkeypatch: Any, name: str) -> None:
    """A class that another module merely holds, and whatever is no class of data, are not made."""
    monkeypatch.setitem(sys.modules, "aliasing", _alias())
    made = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("aliasing", name, "x"))))
    assert CheckpointSerializer().loads_typed(("msgpack", made)) == "x"


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: b"\xc1" + data, lambda data: b"\xc7\x01\x00\xc1"]
)
def test_what_is_no_value_fails_as_in_langgraph(spoil: Callable[[bytes], bytes]) -> None:
    """Bytes that are no value of the serializer's end as they do there, in an error or a None."""
    data = spoil(JsonPlusSerializer().dumps_typed([Place("a")])[1])
    outcomes = []
    for serde in (CheckpointSerializer(), JsonPlusSerializer(allowed_msgpack_modules=None)):
        try:
            outcomes.append(serde.loads_typed(("msgpack", data)))
        except ormsgpack.MsgpackDecodeError as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]
