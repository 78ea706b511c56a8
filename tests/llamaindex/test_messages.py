"""Chat messages go into a vault and come back whole."""

from __future__ import annotations

import copy
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.schema import ImageDocument

from mimir_core import Memory, Mimir
from mimir_core.errors import InvalidArgument
from mimir_llamaindex.messages import message_item, message_of, origin, visible_text

PLACE = ("llamaindex", "chat")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
CALL = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "Bergen"})

MESSAGES = {
    "text": ChatMessage("hello"),
    "several texts": ChatMessage(blocks=[TextBlock(text="a"), TextBlock(text="b")]),
    "text and image": ChatMessage(blocks=[TextBlock(text="look"), ImageBlock(image=PNG)]),
    "image only": ChatMessage(blocks=[ImageBlock(url="http://example.com/a.png")]),
    "audio": ChatMessage(blocks=[AudioBlock(audio=b"RIFF0000WAVEfmt ")]),
    "video": ChatMessage(blocks=[VideoBlock(url="http://example.com/v.mp4")]),
    "document": ChatMessage(blocks=[DocumentBlock(data=b"%PDF-1.4 abc", title="t")]),
    "tool call": ChatMessage(role="assistant", blocks=[CALL]),
    "thinking": ChatMessage(role="assistant", blocks=[ThinkingBlock(content="hm"), CALL]),
    "tool result": ChatMessage(
        "rain", role="tool", additional_kwargs={"tool_call_id": "c1", "name": "weather"}
    ),
    "legacy tool calls": ChatMessage(
        role="assistant", additional_kwargs={"tool_calls": [{"id": "c1", "arguments": "{}"}]}
    ),
    "citable": ChatMessage(
        blocks=[
            CitableBlock(title="t", source="s", content=[TextBlock(text="cited")]),
            CachePoint(cache_control=CacheControl(type="ephemeral")),
        ]
    ),
    "infinite": ChatMessage("x", additional_kwargs={"score": float("inf"), "none": None}),
    "empty": ChatMessage(""),
    "blank": ChatMessage(" \n\t"),
    "nothing": ChatMessage(),
    "surrogate": ChatMessage("a \ud800 b"),
    "null": ChatMessage("a \0 b"),
}


def kept(mimir: Mimir, message: ChatMessage) -> Memory:
    """The message as the vault gives it back."""
    (id_,) = mimir.remember_many([message_item(message, PLACE, "s")])
    return mimir.get(id_)


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_comes_back_whole(mimir: Mimir, message: ChatMessage) -> None:
    """Blocks, role and additional arguments of every kind survive the vault."""
    before = copy.deepcopy(message)
    assert message_of(kept(mimir, message)) == message == before


@pytest.mark.parametrize("role", list(MessageRole))
def test_every_role_comes_back(mimir: Mimir, role: MessageRole) -> None:
    """The role is kept, and is who speaks where no name is given."""
    memory = kept(mimir, ChatMessage("hi", role=role))
    assert message_of(memory).role is role
    assert memory.metadata == {"role": role.value, "speaker": role.value}


@given(st.text(), st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_text_and_arguments_survive(text: str, arguments: dict[str, object]) -> None:
    """What is sealed as JSON is what was said, whatever characters it has."""
    arguments.pop("images", None)
    message = ChatMessage(text, role="assistant", additional_kwargs=arguments)
    item = message_item(message, PLACE, "s")
    moment = dt.datetime.now(dt.UTC)
    memory = Memory("0" * 64, item.content, moment, PLACE, "s", None, {}, item.attachment)
    assert message_of(memory) == message


def test_what_is_said_is_found(mimir: Mimir) -> None:
    """The visible text of a message is recalled by its words; its arguments are not indexed."""
    mimir.remember_many(
        [
            message_item(ChatMessage("the ferry to Bergen"), PLACE, "s"),
            message_item(ChatMessage("x", additional_kwargs={"note": "ferry"}), PLACE, "s"),
        ]
    )
    hits = mimir.recall("ferry", mode="lexical", namespace=PLACE)
    assert [hit.text for hit in hits] == ["the ferry to Bergen"]


def test_without_visible_text_a_message_is_only_stored(mimir: Mimir) -> None:
    """A tool call is bytes: no vector, no words."""
    assert isinstance(kept(mimir, MESSAGES["tool call"]).content, bytes)
    assert visible_text(MESSAGES["blank"]) == ""


def test_the_name_given_is_the_speaker(mimir: Mimir) -> None:
    """Who speaks is the name that providers send along, so that recall knows whose words it has."""
    named = ChatMessage("hi", additional_kwargs={"name": "Ada"})
    assert kept(mimir, named).metadata["speaker"] == "Ada"
    unnamed = ChatMessage("hi", additional_kwargs={"name": " "})
    assert kept(mimir, unnamed).metadata["speaker"] == "user"


def test_legacy_images_become_blocks_once(mimir: Mimir) -> None:
    """Images given as documents are kept among the blocks, and do not double on the way back."""
    document = ImageDocument(image=PNG)
    message = ChatMessage("see", additional_kwargs={"images": [document]})
    back = message_of(kept(mimir, message))
    assert back.blocks == message.blocks
    assert "images" in message.additional_kwargs


def test_where_a_message_was_read_from_is_no_part_of_it(mimir: Mimir) -> None:
    """The memory's id goes along unseen: not compared, dumped, shown or sent to a model."""
    memory = kept(mimir, ChatMessage("hello"))
    back = message_of(memory)
    assert (origin(back), origin(ChatMessage("hello"))) == (memory.id, None)
    assert back == ChatMessage("hello")
    assert back.model_dump() == ChatMessage("hello").model_dump()
    assert memory.id not in repr(back) + back.model_dump_json()


def test_a_text_from_elsewhere_is_its_speakers_message(mimir: Mimir) -> None:
    """A thread that another part of an application wrote can be read as messages."""
    ids = [
        mimir.remember("hi", metadata={"speaker": "assistant"}),
        mimir.remember("ho", metadata={"speaker": "Ada"}),
        mimir.remember("he"),
    ]
    roles = [message_of(mimir.get(id_)).role.value for id_ in ids]
    assert roles == ["assistant", "user", "user"]


@pytest.mark.parametrize("data", [b"\xff\0", b"[1]", b'{"blocks": "secret"}'])
def test_what_is_no_message_is_told_without_showing_it(mimir: Mimir, data: bytes) -> None:
    """Foreign bytes raise a typed error that shows nothing of them."""
    memory = mimir.get(mimir.remember(data))
    with pytest.raises(InvalidArgument) as caught:
        message_of(memory)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        None,
        {"role": "user"},
        ChatMessage("x", additional_kwargs={"thing": object()}),
        ChatMessage(role="assistant", additional_kwargs={"deep": [object()]}),
    ],
)
def test_what_cannot_be_kept_is_refused(message: object) -> None:
    """What is no message, or holds what JSON cannot, raises before anything is written."""
    with pytest.raises(InvalidArgument):
        message_item(message, PLACE, "s")  # type: ignore[arg-type]  # that is the point
