"""A message becomes a memory and comes back whole."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel, model_serializer

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, InvalidText
from mimir_langchain import MimirChatMessageHistory
from mimir_langchain.messages import to_item, to_message, visible_text

CALL = {"name": "search", "args": {"for": "boats", "deep": {"n": [1, None]}}, "id": "call 1"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PLACE: dict[str, Any] = {"namespace": ("tests",), "thread": "t"}
MESSAGES = [
    HumanMessage("the harbour at night"),
    HumanMessage("hello", id="h-1", name="Ana", additional_kwargs={"mood": ["calm", 1.5, None]}),
    HumanMessage("hello", note="a field of the user's own"),
    HumanMessage([{"type": "text", "text": "look at"}, IMAGE, "this"]),
    HumanMessage([IMAGE]),
    HumanMessage(" \n"),
    AIMessage(""),
    AIMessage("", tool_calls=[CALL]),
    AIMessage("one moment", tool_calls=[CALL], id="run-1", response_metadata={"model": "m"}),
    AIMessage("done", usage_metadata={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}),
    AIMessage("?", invalid_tool_calls=[{"name": "f", "args": "{", "id": "x", "error": "e"}]),
    AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "yes"}]),
    AIMessageChunk(
        content="par", tool_call_chunks=[{"name": "f", "args": "{", "id": "1", "index": 0}]
    ),
    SystemMessage("be brief"),
    ToolMessage("42 boats", tool_call_id="call 1", artifact={"rows": [1, 2]}, status="error"),
    ChatMessage(content="order!", role="judge"),
    FunctionMessage(content="result", name="search"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_message_comes_back_whole(mimir: Mimir, message: BaseMessage) -> None:
    """Kind, content, calls, ids, names and extra fields are as they were, and the caller's too."""
    before = copy.deepcopy(message)
    id_ = mimir.remember_many([to_item(message, **PLACE)])[0]
    found = to_message(mimir.get(id_))
    assert found == before == message
    assert type(found) is type(message)


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    extra=st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    ),
)
def test_any_text_and_any_json_come_back(text: str, extra: dict[str, Any]) -> None:
    """Whatever stands in a message, its item holds it once and gives it back."""
    message = HumanMessage(text, additional_kwargs=extra)
    item = to_item(message, **PLACE)
    memory = MemoryLike(item.content, item.attachment)
    assert to_message(memory) == message  # type: ignore[arg-type]  # it has what is read
    assert (item.attachment is None) == isinstance(item.content, bytes) == (not text.strip())


class Weather(BaseModel):
    """What a model was asked to answer in."""

    city: str
    celsius: float = 0.0
    tags: list[str] = []


class Deep(BaseModel):
    """A model within a model."""

    weather: Weather = Weather(city="Oslo")
    late: bool = False


def test_what_stands_inside_a_field_keeps_its_defaults(mimir: Mimir) -> None:
    """Models in a message are stored whole: only the message's own fields may be left out."""
    weather = {"city": "Oslo", "celsius": 0.0, "tags": []}
    messages = [
        AIMessage("x", additional_kwargs={"parsed": Weather(city="Oslo", celsius=0.0)}),
        AIMessage("x", response_metadata={"all": [Deep()]}),
        AIMessage([{"type": "text", "text": "x", "parsed": Deep()}]),
        ToolMessage("x", tool_call_id="1", artifact=[Document("a")]),
        ToolMessage("x", tool_call_id="1", artifact=Deep()),
        HumanMessage("x", note=Weather(city="Oslo")),
    ]
    ids = mimir.remember_many([to_item(message, **PLACE) for message in messages])
    found = [to_message(mimir.get(id_)) for id_ in ids]
    deep = {"weather": weather, "late": False}
    assert found[0].additional_kwargs == {"parsed": weather}
    assert found[1].response_metadata == {"all": [deep]}
    assert found[2].content == [{"type": "text", "text": "x", "parsed": deep}]
    assert found[3].artifact == [Document("a").model_dump()]
    assert found[3].artifact[0]["type"] == "Document"
    assert found[4].artifact == deep
    assert found[5].note == weather


@pytest.mark.parametrize("value", [0.0, 0, False, "", [], {}, None, "ai"], ids=repr)
def test_no_value_is_taken_for_another(value: Any) -> None:
    """What is equal to a default but of another type comes back as it was."""
    message = ToolMessage("x", tool_call_id="1", artifact=value)
    item = to_item(message, **PLACE)
    memory: Any = MemoryLike(item.content, item.attachment)
    assert repr(to_message(memory).artifact) == repr(value)


class Hostile:
    """Whoever compares it, or asks it anything, is sorry."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("canary")

    def __bool__(self) -> bool:
        raise ZeroDivisionError("canary")


class Unwilling(BaseModel):
    """Its own code fails when it is stored."""

    @model_serializer
    def refuse(self) -> dict[str, Any]:
        raise KeyError("canary")


@pytest.mark.parametrize("value", [np.zeros(3), Hostile(), [Hostile()], Unwilling()])
def test_no_value_is_asked_whether_it_is_a_default(mimir: Mimir, value: Any) -> None:
    """Arrays and objects with code of their own are refused like any others, and nothing stored."""
    history = MimirChatMessageHistory(mimir, "monday")
    for message in (
        ToolMessage("x", tool_call_id="1", artifact=value),
        AIMessage("x", additional_kwargs={"parsed": value}),
        HumanMessage("x", note=value),
    ):
        with pytest.raises(InvalidArgument) as caught:
            history.add_messages([HumanMessage("before"), message])
        assert "canary" not in str(caught.value)
    assert history.messages == []


class MemoryLike:
    """What `to_message` reads of a memory."""

    def __init__(self, content: str | bytes, attachment: bytes | None) -> None:
        self.content, self.attachment = content, attachment
        self.text = content if isinstance(content, str) else ""


def test_what_can_be_read_is_what_is_recalled(mimir: Mimir) -> None:
    """The text of a message with other content is found, its other content is not indexed."""
    mimir.remember_many([to_item(message, **PLACE) for message in MESSAGES])
    found = mimir.recall("boats", namespace="tests", mode="lexical")
    assert [hit.text for hit in found] == ["42 boats"]
    assert visible_text(MESSAGES[3]) == "look atthis"


def test_every_kind_of_message_has_a_speaker() -> None:
    """Its name, the role a chat message gives, or what LangChain calls its kind."""
    speakers = {to_item(message, **PLACE).metadata["speaker"] for message in MESSAGES}
    assert speakers == {"Human", "Ana", "AI", "system", "tool", "judge", "search"}
    prefixed = to_item(HumanMessage("hello"), **PLACE, speaker="Visitor")
    assert prefixed.metadata["speaker"] == "Visitor"


def test_recall_knows_who_spoke(mimir: Mimir) -> None:
    """A message's name, else its role, is the speaker, and counts when one asks for it."""
    messages = [HumanMessage("I painted a lake", name="Ana"), AIMessage("I painted a lake")]
    mimir.remember_many([to_item(message, **PLACE) for message in messages])
    first, second = mimir.thread("t", namespace="tests")
    assert first.metadata == {"role": "human", "speaker": "Ana"}
    assert second.metadata == {"role": "ai", "speaker": "AI"}
    found = mimir.recall("what did Ana paint?", namespace="tests", mode="lexical", k=2)
    assert found[0].id == first.id
    assert found[0].score > found[1].score


def test_a_text_from_elsewhere_is_read_as_a_humans(mimir: Mimir) -> None:
    """What another program stored in the thread does not break its reading."""
    id_ = mimir.remember("stored by hand")
    assert to_message(mimir.get(id_)) == HumanMessage("stored by hand")


@pytest.mark.parametrize(
    "message",
    [
        "canary text",
        {"role": "user", "content": "canary"},
        None,
        ToolMessage("x", tool_call_id="1", artifact=object()),
        HumanMessage("x", additional_kwargs={"canary": {1, 2}}),
        BaseMessage(content="canary", type="stranger"),
        RemoveMessage(id="canary"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_could_not_be_read_back_is_refused(message: Any) -> None:
    """A typed error that shows nothing of it, before anything is stored."""
    with pytest.raises(InvalidArgument) as caught:
        to_item(message, **PLACE)
    assert "canary" not in str(caught.value)


def test_a_message_that_holds_itself_is_refused() -> None:
    """A cycle ends in a typed error."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(InvalidArgument):
        to_item(HumanMessage("x", additional_kwargs=endless), **PLACE)


def test_surrogates_are_refused_in_texts_only(mimir: Mimir) -> None:
    """Half a character cannot be stored as text, yet does no harm beside it."""
    with pytest.raises(InvalidText):
        mimir.remember_many([to_item(HumanMessage("half \ud800"), **PLACE)])
    message = HumanMessage("whole", additional_kwargs={"half": "\ud800"})
    id_ = mimir.remember_many([to_item(message, **PLACE)])[0]
    assert to_message(mimir.get(id_)) == message
