"""`MimirSummaryMemory`: a running summary as a chain's memory, sealed, derived from the turns."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_classic.memory.prompt import SUMMARY_PROMPT
from langchain_core.messages import SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, run_in_executor
from pydantic import Field, SkipValidation, field_validator

from mimir_core import Item, Memory, Mimir, Namespace, Seen
from mimir_core.errors import Conflict, NotFound, ScrubPending
from mimir_langchain.exchanges import grouped
from mimir_langchain.memory import Place, ThreadMemory
from mimir_langchain.messages import to_message
from mimir_langchain.vaults import digest

__all__ = ["MimirSummaryMemory"]

NAMESPACE: Namespace = ("langchain", "summary")

_LOGGER = logging.getLogger(__name__)
_MOST_EXCHANGES = 100
_MOST_CHARACTERS = 16_000
"""So much at a time is put into the running summary: what a small model can read."""


@dataclass(frozen=True, slots=True, repr=False)
class _Step:
    """What goes into the summary next: the summary as it is, and turns that it lacks."""

    seen: list[Seen]
    summary: Memory | None
    turns: list[Memory]
    lines: str

    @property
    def prompt(self) -> dict[str, str]:
        """The variables of the summarising prompt."""
        return {
            "summary": "" if self.summary is None else self.summary.text,
            "new_lines": self.lines[:_MOST_CHARACTERS],
        }


class MimirSummaryMemory(ThreadMemory):
    """A chain's memory as a running summary by the user's model, with the latest turns verbatim.

    The summary is a memory `derived_from` the turns it was made of. Forgetting a turn with
    `mimir.forget(id, cascade=True)` erases the summary too, and the next load makes a new one of
    the turns that are left. All turns stay in the vault; summary and turns survive a restart.

    Setup:
        pip install 'mimir-sealed[langchain]'

    Key init args:
        mimir: An open vault, which other classes may share.
        llm: The model that summarises, or a chain around it, such as `model.with_retry()`.
        prompt: How it is asked, with the variables `summary` and `new_lines`.
        last_turns: So many of the latest exchanges stay verbatim.
        memory_key, input_key, output_key, human_prefix, ai_prefix, return_messages, namespace,
            thread: See `ThreadMemory`.

    Instantiate:
        mimir = Mimir.create("agent.mimir", passphrase)
        chain = ConversationChain(llm=model, memory=MimirSummaryMemory(mimir, llm=model))

    Add:
        Chains do so after each run: `memory.save_context(inputs, outputs)`. The turns are stored
        before the model is asked. If the model fails, that is logged without content, the turns it
        was to summarise stay verbatim, and the next save or load asks again.

    Delete:
        memory.clear() erases turns and summary from the file.

    Search:
        memory.load_memory_variables({})

    Async:
        await memory.aload_memory_variables({}), asave_context(...), aclear(): the vault works in a
        worker thread, the model is awaited.

    What leaves this device: nothing by this class itself. The summary and the turns that go into it
    are sent to `llm`, by the chain also to its model, and by tracing callbacks such as LangSmith's
    to whoever was configured.
    """

    namespace: Place = NAMESPACE
    llm: Annotated[Runnable[Any, Any], SkipValidation] = Field(exclude=True, repr=False)
    prompt: Annotated[BasePromptTemplate[Any], SkipValidation] = Field(
        default=SUMMARY_PROMPT, exclude=True, repr=False
    )
    last_turns: int = Field(default=2, ge=0)

    def __init__(self, mimir: Mimir, **options: Any) -> None:  # else type checkers invent one
        super().__init__(mimir, **options)

    @field_validator("llm")
    @classmethod
    def _check_llm(cls, llm: object) -> object:
        if not isinstance(llm, Runnable):
            raise ValueError("llm is a model of LangChain's, or a chain around one")
        return llm

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: object) -> object:
        takes = prompt.input_variables if isinstance(prompt, BasePromptTemplate) else ()
        if set(takes) != {"summary", "new_lines"}:
            raise ValueError("the prompt takes the variables summary and new_lines")
        return prompt

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The summary and the turns that are not in it; the inputs play no part.

        Raises:
            ScrubPending: turns were put into the summary, but old pages of the one before still
                stand in the journal. The next call hands the new one over.
        """
        self._summarise()
        return self._variables()

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `load_memory_variables`."""
        await self._asummarise()
        return await run_in_executor(None, self._variables)

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Stores an exchange, then brings the summary up to date; see `ThreadMemory`.

        Raises:
            ScrubPending: both are done, but old pages of the summary before still stand in the
                journal.
        """
        super().save_context(inputs, outputs)
        self._summarise()

    async def asave_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """As `save_context`."""
        await run_in_executor(None, super().save_context, inputs, outputs)
        await self._asummarise()

    def clear(self) -> None:
        """Erases the thread and its summary.

        Raises:
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        try:
            self._mimir.forget(keys=[self._key], namespace=self.namespace)
        finally:  # even if that has still to be scrubbed
            # A summary that another thread makes meanwhile is derived from what is erased here.
            self._mimir.forget(namespace=self.namespace, thread=self.thread, cascade=True)

    def _summarise(self) -> None:
        pending: ScrubPending | None = None
        while (step := self._next()) is not None:
            try:
                text = self._summariser.invoke(step.prompt)
            except Exception as error:
                _log(type(error).__name__)
                break
            pending = self._keep(step, text) or pending
        if pending is not None:
            raise pending

    async def _asummarise(self) -> None:
        pending: ScrubPending | None = None
        while (step := await run_in_executor(None, self._next)) is not None:
            try:
                text = await self._summariser.ainvoke(step.prompt)
            except Exception as error:
                _log(type(error).__name__)
                break
            pending = await run_in_executor(None, self._keep, step, text) or pending
        if pending is not None:
            raise pending

    @property
    def _summariser(self) -> Runnable[dict[str, str], str]:
        return self.prompt | self.llm | StrOutputParser() | _visible

    @property
    def _key(self) -> str:
        return f"summary of {digest(self.thread)}"

    def _next(self) -> _Step | None:
        """The oldest turns that are due to go into the summary; None if there are none."""
        seen = self._mimir.seen([self._key], namespace=self.namespace)
        summary, turns = self._held()
        groups = grouped(turns)
        due = groups[: max(0, len(groups) - self.last_turns)][:_MOST_EXCHANGES]
        step = _Step(seen, summary, [], "")
        for exchange in due:
            lines = self._text([to_message(turn) for turn in exchange])
            if step.turns and len(step.lines) + len(lines) > _MOST_CHARACTERS:
                break
            step = _Step(seen, summary, [*step.turns, *exchange], f"{step.lines}{lines}\n")
        return step if due else None

    def _keep(self, step: _Step, text: str) -> ScrubPending | None:
        """Stores the new summary in place of the old one; returns what is then to be raised.

        If something it was made of has been forgotten meanwhile, or another process was faster, it
        is dropped instead: the vault takes no memory derived from what is not there, and none in
        place of another summary than the one it was made from.
        """
        sources = [] if step.summary is None else [step.summary.id]
        item = Item(
            text,
            namespace=self.namespace,
            key=self._key,
            metadata={"role": "summary", "through": step.turns[-1].id},
            derived_from=[*sources, *(turn.id for turn in step.turns)],
        )
        try:
            with suppress(NotFound, Conflict):
                self._mimir.replace([item], ids=[], unchanged=step.seen)
        except ScrubPending as error:  # stored all the same: what follows must be, too
            return error
        return None

    def _held(self) -> tuple[Memory | None, list[Memory]]:
        """The summary, and the turns after those it covers; without it, all of them.

        A summary whose last turn was forgotten is passed over, and made anew.
        """
        (summary,) = self._mimir.get_many(keys=[self._key], namespace=self.namespace)
        last = None if summary is None else 4 * (self.last_turns + 8)
        while True:
            turns = self._mimir.thread(self.thread, namespace=self.namespace, last=last)
            for at, turn in enumerate(turns):
                if summary is not None and turn.id == summary.metadata["through"]:
                    return summary, turns[at + 1 :]
            if last is None or len(turns) < last:
                return None, turns
            last *= 4

    def _variables(self) -> dict[str, Any]:
        summary, turns = self._held()
        messages = [to_message(turn) for turn in turns]
        if self.return_messages:
            head = [] if summary is None else [SystemMessage(summary.text)]
            return {self.memory_key: [*head, *messages]}
        parts = [] if summary is None else [summary.text]
        return {self.memory_key: "\n".join([*parts, self._text(messages)]).strip("\n")}


def _visible(text: str) -> str:
    """The model's summary. Raises ValueError if it says nothing."""
    if not text.strip():
        raise ValueError("the summary is empty")
    return text


def _log(reason: str) -> None:
    _LOGGER.warning("the summary was not updated (%s); the next turn tries again", reason)
