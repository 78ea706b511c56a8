"""A running summary: made of turns it is derived from, erased with them, made anew without them."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.chains import ConversationChain
from langchain_classic.memory import CombinedMemory, ConversationBufferMemory
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from pydantic import PrivateAttr

from mimir_core import Mimir
from mimir_core.errors import InvalidText, NotSerializable
from mimir_langchain import MimirSummaryMemory

from ..vault.vaults import create, reopen
from .talking import Listener, WatchedThreads

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

PLACE = ("langchain", "summary")
PROMPT = PromptTemplate.from_template("{summary}+{new_lines}")


class Joiner(BaseChatModel):
    """Summarises by listing the words it was given; fails, or waits, when told to."""

    failing: bool = False
    _asked: list[str] = PrivateAttr(default_factory=list)
    _meanwhile: Any = PrivateAttr(default=None)

    def meanwhile(self, action: Any) -> None:
        """What happens, once, while the model thinks."""
        self._meanwhile = action

    @property
    def asked(self) -> list[str]:
        """The prompts."""
        return self._asked

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if self.failing:
            raise ConnectionError("canary: no route to the model")
        prompt = str(messages[-1].text)
        self._asked.append(prompt)
        if self._meanwhile is not None:
            action, self._meanwhile = self._meanwhile, None
            action()
        said = [word for word in prompt.replace("+", " ").split() if word.startswith("turn")]
        answer = AIMessage(" ".join(said))
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "joiner"


def summarising(mimir: Mimir, model: Joiner, **options: Any) -> MimirSummaryMemory:
    """A memory that keeps one exchange verbatim."""
    return MimirSummaryMemory(mimir, llm=model, prompt=PROMPT, **{"last_turns": 1, **options})


def say(memory: MimirSummaryMemory, *numbers: int) -> None:
    """Exchanges of these numbers."""
    for number in numbers:
        memory.save_context({"input": f"turn{number}"}, {"output": f"ok{number}"})


def loaded(memory: MimirSummaryMemory) -> Any:
    """What the memory hands to a prompt."""
    return memory.load_memory_variables({})["history"]


def turn_id(mimir: Mimir, text: str) -> str:
    """The id of a turn."""
    (found,) = [turn.id for turn in mimir.thread("default", namespace=PLACE) if turn.text == text]
    return found


def test_it_hands_over_the_summary_and_the_last_turns(mimir: Mimir) -> None:
    """What is older than the last turns is in the summary, in order, and each turn once."""
    memory = summarising(mimir, Joiner())
    assert loaded(memory) == ""
    say(memory, 1)
    assert loaded(memory) == "Human: turn1\nAI: ok1"
    say(memory, 2, 3)
    assert loaded(memory) == "turn1 turn2\nHuman: turn3\nAI: ok3"
    memory.return_messages = True
    assert loaded(memory) == [
        SystemMessage("turn1 turn2"), HumanMessage("turn3"), AIMessage("ok3"),
    ]  # fmt: skip
    assert loaded(summarising(mimir, Joiner(), last_turns=0)) == "turn1 turn2 turn3"


def test_the_model_reads_the_summary_and_what_is_new_alone(mimir: Mimir) -> None:
    """Each turn is sent to be summarised once, with the summary so far."""
    model = Joiner()
    say(summarising(mimir, model), 1, 2, 3)
    assert model.asked == [
        "+Human: turn1\nAI: ok1\n", "turn1+Human: turn2\nAI: ok2\n",
    ]  # fmt: skip


def test_a_summary_is_derived_from_its_turns(mimir: Mimir) -> None:
    """Its lineage leads to every turn it was made of, and one summary is alive."""
    memory = summarising(mimir, Joiner())
    say(memory, 1, 2, 3)
    summaries = list(mimir.memories(namespace=PLACE, where={"role": "summary"}))
    assert [summary.text for summary in summaries] == ["turn1 turn2"]
    ancestors = {relative.id for relative in mimir.lineage(summaries[0].id).ancestors}
    covered = {turn_id(mimir, text) for text in ("turn1", "ok1", "turn2", "ok2")}
    assert covered <= ancestors
    assert turn_id(mimir, "turn3") not in ancestors


@pytest.mark.parametrize("forgotten", ["turn1", "ok1", "turn3", "ok3"])
def test_forgetting_a_turn_erases_the_summary_and_makes_a_new_one(
    mimir: Mimir, forgotten: str
) -> None:
    """After a cascade no summary holds the turn, and the next load sums up what is left."""
    model = Joiner()
    memory = summarising(mimir, model)
    say(memory, 1, 2, 3, 4)
    mimir.forget(turn_id(mimir, forgotten), cascade=True)
    assert list(mimir.memories(namespace=PLACE, where={"role": "summary"})) == []
    model.asked.clear()
    expected = "turn1 turn2 turn3".replace(forgotten, "").split()
    assert loaded(memory) == " ".join(expected) + "\nHuman: turn4\nAI: ok4"
    assert model.asked
    assert not any(forgotten in prompt for prompt in model.asked)
    assert loaded(memory).startswith(" ".join(expected))


def test_a_summary_that_lost_its_last_turn_is_made_anew(mimir: Mimir) -> None:
    """Without a cascade too, when where the summary ends is no longer known."""
    memory = summarising(mimir, Joiner())
    say(memory, 1, 2, 3)
    mimir.forget(turn_id(mimir, "ok2"))
    assert loaded(memory) == "turn1 turn2\nHuman: turn3\nAI: ok3"
    mimir.forget(turn_id(mimir, "turn2"))
    mimir.forget(turn_id(mimir, "turn1"), cascade=True)
    mimir.forget(turn_id(mimir, "ok1"))
    assert loaded(memory) == "Human: turn3\nAI: ok3"


def test_a_turn_forgotten_while_the_model_thinks_is_in_no_summary(mimir: Mimir) -> None:
    """A summary of what has just been erased is not stored; the next try goes without it."""
    model = Joiner()
    memory = summarising(mimir, model)
    say(memory, 1, 2)
    model.meanwhile(lambda: mimir.forget(turn_id(mimir, "turn1"), cascade=True))
    say(memory, 3)
    assert loaded(memory) == "turn2\nHuman: turn3\nAI: ok3"
    model.meanwhile(lambda: mimir.forget(turn_id(mimir, "turn3"), cascade=True))
    say(memory, 4)
    assert loaded(memory) == "turn2\nHuman: turn4\nAI: ok4"
    assert not any("turn1" in found.text for found in mimir.memories())


def test_clear_while_the_model_thinks_leaves_nothing(mimir: Mimir) -> None:
    """A summary finished after `clear` is dropped."""
    model = Joiner()
    memory = summarising(mimir, model)
    say(memory, 1)
    model.meanwhile(memory.clear)
    say(memory, 2)
    assert mimir.stats().memories == 0
    assert loaded(memory) == ""


def test_another_who_is_faster_wins(mimir: Mimir) -> None:
    """Of two who sum up at once one summary remains, and no turn is missing or doubled."""
    model = Joiner()
    memory = summarising(mimir, model)
    say(memory, 1, 2)
    model.meanwhile(lambda: loaded(summarising(mimir, Joiner())))
    say(memory, 3, 4)
    assert loaded(memory) == "turn1 turn2 turn3\nHuman: turn4\nAI: ok4"
    assert len(list(mimir.memories(where={"role": "summary"}, namespace=PLACE))) == 1


def test_a_failing_model_loses_no_turn(mimir: Mimir, caplog: pytest.LogCaptureFixture) -> None:
    """Its turns stay verbatim, the log tells without content, and a later turn catches up."""
    model = Joiner()
    memory = summarising(mimir, model)
    say(memory, 1, 2)
    model.failing = True
    with caplog.at_level(logging.WARNING):
        say(memory, 3, 4)
    assert "ConnectionError" in caplog.text
    assert not any(word in caplog.text for word in ("canary", "turn3"))
    assert loaded(memory).splitlines()[0] == "turn1"
    assert [f"turn{number}" in loaded(memory) for number in range(5)] == [False, *[True] * 4]
    model.failing = False
    say(memory, 5)
    assert loaded(memory) == "turn1 turn2 turn3 turn4\nHuman: turn5\nAI: ok5"


def test_an_empty_summary_counts_as_a_failure(mimir: Mimir) -> None:
    """A model that says nothing replaces no summary, and the turns stay verbatim."""
    memory = MimirSummaryMemory(mimir, llm=Listener(responses=[" "]), last_turns=0)
    say(memory, 1)
    assert loaded(memory) == "Human: turn1\nAI: ok1"


def test_a_long_backlog_is_summed_up_in_pieces(mimir: Mimir) -> None:
    """Turns that a failing model left behind are sent in prompts of a bounded size."""
    model = Joiner(failing=True)
    memory = summarising(mimir, model)
    for number in range(9):
        memory.save_context({"input": f"turn{number}"}, {"output": f"ok {'x' * 5000}"})
    memory.save_context({"input": "turn9"}, {"output": "ok " + "x" * 50_000})
    memory.save_context({"input": "turn10"}, {"output": "ok"})
    model.failing = False
    assert loaded(memory).split("\n")[0] == " ".join(f"turn{number}" for number in range(10))
    assert len(model.asked) == 4
    assert max(map(len, model.asked)) <= 16_100


def test_summary_and_turns_survive_a_restart_sealed(path: Path) -> None:
    """Closed and opened again nothing is summed up anew, and the file shows nothing."""
    with create(path) as mimir:
        memory = summarising(mimir, Joiner(), thread="canary", human_prefix="canary")
        say(memory, 10_001, 10_002, 10_003)
    raw = path.read_bytes()  # where three bytes are met by chance once in 16 files
    assert not any(word in raw for word in (b"canary", b"turn10001", b"ok10001"))
    with reopen(path) as mimir:
        model = Joiner(failing=True)
        memory = summarising(mimir, model, thread="canary", human_prefix="canary")
        assert loaded(memory) == "turn10001 turn10002\ncanary: turn10003\nAI: ok10003"


def test_clear_erases_turns_and_summary_of_this_thread_alone(mimir: Mimir) -> None:
    """Nothing of the thread is left; another thread keeps both."""
    ours, other = (summarising(mimir, Joiner(), thread=name) for name in ("ours", "other"))
    say(ours, 1, 2)
    say(other, 3, 4)
    ours.clear()
    ours.clear()
    assert loaded(ours) == ""
    assert loaded(other) == "turn3\nHuman: turn4\nAI: ok4"
    assert mimir.stats().memories == 5


def test_a_conversation_chain_runs_on_it(mimir: Mimir) -> None:
    """The one changed line, also beside a buffer: the model reads the summary."""
    model = Listener(responses=["aye", "aye", "Pixel"])
    memory = MimirSummaryMemory(
        mimir, llm=Listener(responses=["the cat is Pixel"]), last_turns=0,
        memory_key="summary", input_key="input",
    )  # fmt: skip
    buffer = ConversationBufferMemory(memory_key="lately", input_key="input")
    prompt = PromptTemplate.from_template("<{summary}>\n{lately}\n{input}")
    both = CombinedMemory(memories=[buffer, memory])
    chain = ConversationChain(llm=model, memory=both, prompt=prompt)
    for said in ("my cat is called Pixel", "what is my cat called?"):
        chain.invoke({"input": said})
    assert [prompt.splitlines()[0] for prompt in model.heard] == ["<>", "<the cat is Pixel>"]
    texts = [turn.text for turn in mimir.thread("default", namespace=PLACE)]
    assert texts == ["my cat is called Pixel", "aye", "what is my cat called?", "aye"]


async def test_async_equals_sync_off_the_loops_thread(mimir: Mimir) -> None:
    """The async twins give what the sync ones give; the vault works elsewhere than on the loop."""
    watched = WatchedThreads(mimir)
    memory = summarising(watched.mimir, Joiner(), namespace="watched")
    for number in (1, 2, 3):
        await memory.asave_context({"input": f"turn{number}"}, {"output": f"ok{number}"})
    expected = {"history": "turn1 turn2\nHuman: turn3\nAI: ok3"}
    assert await memory.aload_memory_variables({}) == expected == memory.load_memory_variables({})
    assert watched.threads
    assert threading.get_ident() not in watched.threads
    failing = summarising(watched.mimir, Joiner(failing=True), namespace="watched", last_turns=0)
    assert (await failing.aload_memory_variables({})) == expected
    await memory.aclear()
    assert await memory.aload_memory_variables({}) == {"history": ""}


async def test_fifty_conversations_at_once_equal_one_after_the_other(mimir: Mimir) -> None:
    """Concurrent conversations are summed up as sequential ones are."""

    async def talk(number: int, place: str) -> Any:
        memory = summarising(mimir, Joiner(), namespace=place, thread=str(number))
        chain = ConversationChain(llm=Listener(responses=["ok"]), memory=memory)
        for part in range(3):
            await chain.ainvoke({"input": f"turn{number}.{part}"})
        return await memory.aload_memory_variables({})

    at_once = await asyncio.gather(*(talk(number, "at once") for number in range(50)))
    in_turn = [await talk(number, "in turn") for number in range(5)]
    assert at_once[:5] == in_turn
    assert at_once == [
        {"history": f"turn{number}.0 turn{number}.1\nHuman: turn{number}.2\nAI: ok"}
        for number in range(50)
    ]


def test_bad_turns_lose_nothing(mimir: Mimir) -> None:
    """A typed error before anything is stored or sent to the model."""
    model = Joiner()
    memory = summarising(mimir, model, last_turns=0)
    say(memory, 1)
    for said in ("", 7, "x" * ((8 << 20) + 1)):
        with pytest.raises(InvalidText):
            memory.save_context({"input": said}, {"output": "ok"})
    assert loaded(memory) == "turn1"
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    "options",
    [{"llm": "a name"}, {"llm": None}, {"prompt": PromptTemplate.from_template("{summary}")},
     {"prompt": "{summary} {new_lines}"}, {"last_turns": -1}],
    ids=str,
)  # fmt: skip
def test_bad_options_are_refused(mimir: Mimir, options: dict[str, Any]) -> None:
    """A model or prompt that cannot summarise is a ValueError at once."""
    with pytest.raises(ValueError, match="validation error"):
        MimirSummaryMemory(mimir, **{"llm": Joiner(), **options})


def test_nothing_shows_in_repr_dump_or_pickle(mimir: Mimir) -> None:
    """Neither the handle, nor the model, nor anything said."""
    memory = summarising(mimir, Joiner())
    say(memory, 1, 2)
    shown = repr(memory) + str(memory) + str(memory.model_dump()) + dumps(memory)
    assert not any(word in shown for word in ("turn1", "<Mimir", "_mimir", "Joiner()"))
    with pytest.raises(NotSerializable):
        pickle.dumps(memory)
