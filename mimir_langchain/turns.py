"""What is noted of a turn while an agent's run lasts, whatever becomes of the run's messages.

Other steps of a run may shorten its messages: sum them up, trim them, remove them all. What the
person said, and the last answer, are therefore noted beside the messages, as plain JSON that any
checkpointer can hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import takewhile

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from typing_extensions import TypedDict

from mimir_core import Item, Namespace
from mimir_langchain.messages import speaker_of, visible_text
from mimir_langchain.vaults import digest

__all__ = ["Said", "Turn", "begun", "followed", "items_of", "keys_of", "query_of", "said_in"]


class Said(TypedDict):
    """What can be read of one message."""

    id: str | None
    role: str
    speaker: str
    text: str


class Turn(TypedDict):
    """What a person said, oldest first, and what the agent answered last."""

    said: list[Said]
    answer: Said | None


def begun(messages: Sequence[BaseMessage], unfinished: Turn | None = None) -> Turn:
    """The turn that these messages begin.

    Args:
        unfinished: What an earlier run noted but did not come to store: it stays noted.
    """
    said = list(map(_said, _last_said(messages)))
    names = set(map(_name, said))
    before = [each for each in unfinished["said"] if _name(each) not in names] if unfinished else []
    return {"said": [*before, *said], "answer": None}


def followed(turn: Turn, messages: Sequence[BaseMessage], *more: BaseMessage) -> Turn:
    """The turn as of these messages, with what was said and answered since.

    What is still among the messages counts as it stands there now (a step may have blacked words
    out), what is not stays as it was noted.

    Args:
        messages: A run's messages.
        more: What the model says, before it is among them.
    """
    asked = _place(map(_name, turn["said"]), messages, HumanMessage)
    later = _last_row(messages) if asked is None else filter(_is_said, messages[asked + 1 :])
    now = {_name(each): each for each in map(_said, filter(_is_said, messages))}
    said = {_name(each): now.get(_name(each), each) for each in turn["said"]}
    said |= {_name(each): each for each in map(_said, later)}
    return {"said": [*said.values()], "answer": _answer(turn["answer"], asked, messages, more)}


def query_of(turn: Turn) -> str | None:
    """What the person said last, None if that cannot be read."""
    return turn["said"][-1]["text"] if turn["said"] and _readable(turn["said"][-1]) else None


def keys_of(said: Iterable[Said], thread: str) -> set[str]:
    """The keys of what this is remembered as, and of the answers to it."""
    return {_key(thread, each, part) for each in said for part in ("said", "answered")}


def items_of(turn: Turn, namespace: Namespace, thread: str) -> list[Item]:
    """The memories of a turn, as far as it can be read."""
    parts = [(each, _key(thread, each, "said")) for each in turn["said"]]
    if turn["said"] and turn["answer"] is not None:
        parts.append((turn["answer"], _key(thread, turn["said"][-1], "answered")))
    now = datetime.now(UTC)  # one time for all, by which they are known to belong together
    return [
        Item(
            each["text"],
            namespace=namespace,
            thread=thread,
            key=key,
            metadata={"role": each["role"], "speaker": each["speaker"]},
            time=now,
        )
        for each, key in parts
        if _readable(each)
    ]


def said_in(messages: Iterable[BaseMessage]) -> list[Said]:
    """What people say in messages."""
    return [_said(message) for message in messages if isinstance(message, HumanMessage)]


def _said(message: BaseMessage) -> Said:
    text = visible_text(message)
    return {"id": message.id, "role": message.type, "speaker": speaker_of(message), "text": text}


def _name(said: Said) -> str:
    """The same for a message of the same id; an id may be missing."""
    return said["id"] or said["text"]


def _key(thread: str, said: Said, part: str) -> str:
    """The same for a message of the same name in the same thread; a name may be long."""
    return digest(json.dumps([thread, _name(said), part]))


def _readable(said: Said) -> bool:
    return bool(said["text"].strip())


def _is_said(message: BaseMessage) -> bool:
    """Whether a person says it: LangChain itself speaks as a human to sum things up."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


def _last_said(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The person's last messages in a row; what was said since then does not matter."""
    last = max((n for n, each in enumerate(messages) if isinstance(each, HumanMessage)), default=-1)
    return _last_row(messages[: last + 1])


def _last_row(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The person's messages at the end."""
    row = list(takewhile(lambda each: isinstance(each, HumanMessage), reversed(messages)))
    return list(filter(_is_said, reversed(row)))


def _place(
    names: Iterable[str], messages: Sequence[BaseMessage], kind: type[BaseMessage]
) -> int | None:
    """Where the last of these messages is; None if none of them is there."""
    wanted = set(names)
    for number in reversed(range(len(messages))):
        message = messages[number]
        if isinstance(message, kind) and _name(_said(message)) in wanted:
            return number
    return None


def _answer(
    noted: Said | None,
    asked: int | None,
    messages: Sequence[BaseMessage],
    more: Iterable[BaseMessage],
) -> Said | None:
    """The last answer that can be read among what follows the question, else the one noted."""
    if asked is None and noted is not None:
        asked = _place([_name(noted)], messages, AIMessage)
    later = [*(() if asked is None else messages[asked:]), *more]
    answers = [_said(each) for each in later if isinstance(each, AIMessage)]
    return next(filter(_readable, reversed(answers)), noted)
