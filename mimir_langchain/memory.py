"""`MimirMemory`: a chain's memory that recalls what bears on the turn at hand, sealed."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from langchain_classic.base_memory import BaseMemory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, get_buffer_string
from pydantic import ConfigDict, Field, PrivateAttr, ValidationError

from mimir_core import Item, Mimir, Namespace
from mimir_core.errors import InvalidArgument, InvalidText
from mimir_langchain.exchanges import (
    CountTokens,
    Exchange,
    estimate_tokens,
    grouped,
    recall_exchanges,
)
from mimir_langchain.messages import to_item, to_message, visible_text
from mimir_langchain.naming import about, items_are
from mimir_langchain.vaults import check_vault

__all__ = ["MimirMemory", "Place", "ThreadMemory"]

NAMESPACE: Namespace = ("langchain", "memory")

Kind = type[HumanMessage] | type[AIMessage]
Place = Annotated[tuple[str, ...] | str, Field(exclude=True, repr=False)]
"""A namespace, which may name a user and so shows nowhere."""


class ThreadMemory(BaseMemory, ABC):
    """What the memories of chains share: each exchange becomes two turns of a sealed thread.

    Attributes:
        memory_key: The prompt variable that the memory fills in.
        input_key: Which of the chain's inputs is what the person says; needed if it has several.
        output_key: Which output is the answer; needed if there are several and none is "output".
        human_prefix, ai_prefix: Who speaks, in the text handed to the model and in the vault.
        return_messages: Fill in messages instead of one text.
        namespace: Where the threads live. Give each user one of their own.
        thread: Names the conversation: 1 to 1,024 bytes.
    """

    # Nothing that a chain passes in belongs in an error's text.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    memory_key: str = "history"
    input_key: str | None = None
    output_key: str | None = None
    human_prefix: str = "Human"
    ai_prefix: str = "AI"
    return_messages: bool = False
    namespace: Place
    thread: str = Field(default="default", exclude=True, repr=False)

    _mimir: Mimir = PrivateAttr()

    def __init__(self, mimir: Mimir, **options: Any) -> None:
        check_vault(mimir)
        super().__init__(**options)
        self._mimir = mimir

    @property
    def memory_variables(self) -> list[str]:
        """The one variable that is filled in."""
        return [self.memory_key]

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Stores an exchange: what the person said, and the answer.

        Each is a text, a list of content blocks, or a message. Of the inputs only the person's turn
        is stored, so never what was recalled for it.

        Raises:
            InvalidArgument: which input or output is meant is not known, or JSON cannot hold it.
            InvalidText: one is neither text, content blocks nor a message, the person's is empty,
                or one has more than 8 MiB. As with all input errors, nothing was written.
            VaultBusy, DiskFull, StorageFailed: the storage failed.
        """
        said, answer = self._input(inputs), self._output(outputs)
        now = datetime.now(UTC)  # one time for both, by which they are known to belong together
        with about("the input"):
            items = [self._item(said, self.human_prefix, now)]
        with about("the output"):
            items.append(self._item(answer, self.ai_prefix, now))
        with items_are(["the input", "the output"]):
            self._mimir.remember_many(items)

    def clear(self) -> None:
        """Erases the thread.

        Raises:
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        self._mimir.forget(namespace=self.namespace, thread=self.thread)

    def _input(self, inputs: Mapping[str, Any]) -> BaseMessage:
        """What the person says, checked. Raises InvalidArgument or InvalidText."""
        names = set(inputs).difference(self.memory_variables, ["stop"])
        turn = _chosen(inputs, self.input_key, names, "input")
        message = _as_message(turn, HumanMessage, "input")
        if message is not turn and _says_nothing(message):
            raise InvalidText("the turn is empty", hint="give at least one visible character")
        return message

    def _output(self, outputs: Mapping[str, Any]) -> BaseMessage:
        names = {"output"} if "output" in outputs else set(outputs)
        answer = _chosen(outputs, self.output_key, names, "output")
        return _as_message(answer, AIMessage, "output")

    def _item(self, message: BaseMessage, speaker: str, time: datetime) -> Item:
        return to_item(
            message, namespace=self.namespace, thread=self.thread, speaker=speaker, time=time
        )

    def _text(self, messages: list[BaseMessage]) -> str:
        return get_buffer_string(messages, self.human_prefix, self.ai_prefix)


class MimirMemory(ThreadMemory):
    """A chain's long memory: it recalls the exchanges that bear on the turn at hand.

    Setup:
        pip install 'mimir-sealed[langchain]'

    Key init args:
        mimir: An open vault, which other classes may share.
        k: How many exchanges to recall at most.
        max_tokens: What the variable may hold in all, recalled and latest turns together.
        last_turns: So many of the latest exchanges stand at the end, as far as they fit.
        count_tokens: Counts the tokens of a text, such as `model.get_num_tokens`; by default they
            are estimated, see `estimate_tokens`.
        all_threads: Recall from all threads of the namespace, not from this one alone.
        memory_key, input_key, output_key, human_prefix, ai_prefix, return_messages, namespace,
            thread: See `ThreadMemory`.

    Instantiate:
        mimir = Mimir.create("agent.mimir", passphrase)
        chain = ConversationChain(llm=model, memory=MimirMemory(mimir))

    Add:
        Chains do so after each run: `memory.save_context(inputs, outputs)`.

    Delete:
        memory.clear() erases the thread from the file.

    Search:
        memory.load_memory_variables({"input": "what is my cat's name?"})

        Found by vectors and words together, spread along the conversation; exchanges come back
        whole, oldest first.

    Async:
        await memory.aload_memory_variables(...), asave_context(...), aclear(): the same, in a
        worker thread.

    What leaves this device: nothing by this class. The chain sends the recalled text to the model
    it was given, and tracing callbacks such as LangSmith's send it to whoever was configured.
    """

    namespace: Place = NAMESPACE
    k: int = Field(default=5, ge=0, le=1_000)
    max_tokens: int = Field(default=1_000, ge=0)
    last_turns: int = Field(default=2, ge=0)
    count_tokens: CountTokens = Field(default=estimate_tokens, exclude=True, repr=False)
    all_threads: bool = False

    def __init__(self, mimir: Mimir, **options: Any) -> None:  # else type checkers invent one
        super().__init__(mimir, **options)

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Recalls what bears on the person's turn, and adds the latest turns.

        Raises:
            InvalidArgument, InvalidText: the person's turn is not known, or cannot be searched for.
        """
        query = visible_text(self._input(inputs))
        latest, room = self._latest()
        held = {memory.id for exchange in latest for memory in exchange}
        found = recall_exchanges(
            self._mimir,
            query,
            k=self.k,
            room=room,
            tokens=self._tokens,
            held=lambda memory: memory.id in held,
            held_count=len(held),
            namespace=self.namespace,
            thread=None if self.all_threads else self.thread,
        )
        messages = _messages(found + latest)
        return {self.memory_key: messages if self.return_messages else self._text(messages)}

    def _latest(self) -> tuple[list[Exchange], int]:
        """The latest exchanges that fit, and the tokens left."""
        room, kept = self.max_tokens, list[Exchange]()
        turns = self._mimir.thread(self.thread, namespace=self.namespace, last=2 * self.last_turns)
        for exchange in reversed(grouped(turns)[-self.last_turns :]):
            cost = self._tokens(exchange)
            if cost > room:
                break
            kept.insert(0, exchange)
            room -= cost
        return kept, room

    def _tokens(self, exchange: Exchange) -> int:
        return self.count_tokens(self._text(_messages([exchange])) + "\n")


def _messages(found: list[Exchange]) -> list[BaseMessage]:
    return [to_message(memory) for exchange in found for memory in exchange]


def _chosen(values: Mapping[str, Any], key: str | None, names: set[str], what: str) -> object:
    """The value that is meant. Raises InvalidArgument."""
    if key is None and len(names) != 1:
        raise InvalidArgument(
            f"one {what} is expected, the chain gave {len(names)}",
            hint=f"name the one to remember with {what}_key",
        )
    if key is not None and key not in values:
        raise InvalidArgument(f"the chain gave no {what} of the name that {what}_key gives")
    return values[next(iter(names)) if key is None else key]


def _as_message(turn: object, kind: Kind, what: str) -> BaseMessage:
    """A message as it is; a text, or a list of content blocks, as one of this kind.

    Raises:
        InvalidText: it is something else.
    """
    if isinstance(turn, BaseMessage):
        return turn
    with suppress(ValidationError):  # which shows what it is about
        if isinstance(turn, str):
            return kind(str(turn))
        if isinstance(turn, (list, tuple)):
            return kind(list(turn))
    raise InvalidText(f"the {what} to remember is neither a text, content blocks nor a message")


def _says_nothing(message: BaseMessage) -> bool:
    """Whether a turn holds no visible character, and no block that is not text either."""
    blocks = message.content if isinstance(message.content, list) else []
    silent = all(isinstance(block, str) or "text" in block for block in blocks)
    return silent and not visible_text(message).strip()
