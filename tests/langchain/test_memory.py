"""A chain's memory recalls what bears on the turn, within its budget, and nothing of others'."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_classic.chains import ConversationChain, LLMChain
from langchain_classic.memory import CombinedMemory, ConversationBufferMemory
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, InvalidNamespace, InvalidText, NotSerializable
from mimir_langchain import MimirMemory
from mimir_langchain.exchanges import estimate_tokens

from ..vault.vaults import create, reopen
from .talking import Echo, Listener, WatchedThreads

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

PLACE = ("langchain", "memory")
TALK = [
    ("my cat is called Pixel", "a fine name"),
    ("I moored the boat at the north quay", "I hope it is calm there"),
    ("my sister plays the cello", "since when?"),
    ("rain all week", "take an umbrella"),
]
CAT = "Human: my cat is called Pixel\nAI: a fine name"


def recalling(mimir: Mimir, **options: Any) -> MimirMemory:
    """A memory that recalls, without the last turns unless told otherwise."""
    return MimirMemory(mimir, **{"last_turns": 0, **options})


def fill(memory: MimirMemory, talk: list[tuple[str, str]] = TALK) -> MimirMemory:
    """The memory, after a conversation."""
    for said, answer in talk:
        memory.save_context({"input": said}, {"response": answer})
    return memory


def asked(memory: MimirMemory, question: str) -> Any:
    """What the memory hands to a prompt."""
    return memory.load_memory_variables({"input": question})[memory.memory_key]


def test_it_recalls_the_exchange_that_bears_on_the_turn(mimir: Mimir) -> None:
    """The best exchange comes back whole, also when only its answer was found."""
    memory = fill(recalling(mimir, k=1))
    assert asked(memory, "what is my cat called?") == CAT
    assert asked(memory, "was it a fine name?") == CAT


def test_exchanges_are_turns_of_a_thread(mimir: Mimir) -> None:
    """Each exchange is two memories that follow one another, with who spoke."""
    fill(recalling(mimir, thread="t", human_prefix="Ana", ai_prefix="Boat"))
    turns = mimir.thread("t", namespace=PLACE)
    assert [turn.text for turn in turns[:3]] == [*TALK[0], TALK[1][0]]
    assert [turn.metadata["speaker"] for turn in turns[:2]] == ["Ana", "Boat"]
    lineage = mimir.lineage(turns[-1].id)
    assert len(lineage.ancestors) == len(turns) - 1


def test_what_is_recalled_stands_in_the_order_it_was_said(mimir: Mimir) -> None:
    """However the hits rank, the oldest exchange comes first, and none twice."""
    memory = fill(recalling(mimir, k=4))
    lines = asked(memory, "the umbrella, the cello, the quay and the cat").splitlines()
    assert lines == [line for said, answer in TALK for line in (f"Human: {said}", f"AI: {answer}")]


def test_the_last_turns_stand_at_the_end(mimir: Mimir) -> None:
    """The latest exchanges are there verbatim, and are not recalled a second time."""
    memory = fill(recalling(mimir, k=1, last_turns=2))
    expected = [CAT] + [f"Human: {said}\nAI: {answer}" for said, answer in TALK[2:]]
    assert asked(memory, "what is my cat called? does it rain?") == "\n".join(expected)
    memory = recalling(mimir, k=0, last_turns=9)
    assert len(asked(memory, "anything")) == len("\n".join(expected)) + len(
        "Human: I moored the boat at the north quay\nAI: I hope it is calm there\n"
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mimir]:
    """A vault for many examples, each with a thread of its own."""
    with create(tmp_path_factory.mktemp("shared") / "vault.mimir") as mimir:
        yield mimir


@given(
    texts=st.lists(st.text("ab é漢", min_size=1).filter(str.strip), min_size=1, max_size=6),
    room=st.integers(0, 60),
    last_turns=st.integers(0, 3),
)
@settings(max_examples=60)
def test_the_variable_never_passes_its_budget(
    shared: Mimir, texts: list[str], room: int, last_turns: int
) -> None:
    """Whatever was said, the variable has at most `max_tokens` tokens."""
    thread = uuid.uuid4().hex
    memory = recalling(shared, k=9, max_tokens=room, last_turns=last_turns, thread=thread)
    fill(memory, [(text, text[::-1]) for text in texts])
    assert estimate_tokens(asked(memory, texts[0])) <= room


def test_the_callers_own_count_decides(mimir: Mimir) -> None:
    """With a counter of words, the budget counts words; what is too long gives way to the next."""
    memory = recalling(mimir, k=2, max_tokens=11, count_tokens=lambda text: len(text.split()))
    fill(memory, [("cat " * 20, "too long"), ("cat and dog", "ok"), ("one more cat", "fine")])
    assert asked(memory, "cat") == "Human: cat and dog\nAI: ok"
    assert memory.max_tokens == 11


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ([{"type": "text", "text": "my cat is called Pixel"}], "a fine name"),
        (["my cat is called Pixel"], ["a fine ", {"type": "text", "text": "name"}]),
        ("my cat is called Pixel", [{"type": "text", "text": "a fine name"}]),
        (("my cat is ", "called Pixel"), [{"type": "text", "text": "a fine name"}, IMAGE]),
        ([IMAGE], ["a picture"]),
        ("silence", []),
    ],
)
def test_content_blocks_are_turns(mimir: Mimir, said: Any, answer: Any) -> None:
    """Lists of texts and blocks are stored as messages are, as ConversationBufferMemory has it."""
    memory = recalling(mimir, last_turns=1, return_messages=True)
    buffer = ConversationBufferMemory(return_messages=True)
    for each in (memory, buffer):
        each.save_context({"input": said}, {"output": answer})
    found = memory.load_memory_variables({"input": said})["history"]
    assert found == buffer.load_memory_variables({})["history"]
    text = MimirMemory(mimir, last_turns=1).load_memory_variables({"input": ["cat"]})["history"]
    assert text == ConversationBufferMemory(chat_memory=buffer.chat_memory).buffer


def test_an_error_says_which_half_it_is_about(mimir: Mimir) -> None:
    """What cannot be stored is named as input or output."""
    bad = [{"type": "text", "text": "x", "by": {7}}]
    for said, answer, named in ((bad, "x", "the input: "), ("x", bad, "the output: ")):
        with pytest.raises(InvalidArgument, match=f"^{named}"):
            recalling(mimir).save_context({"input": said}, {"output": answer})


def test_half_an_exchange_comes_alone(mimir: Mimir) -> None:
    """When one half was forgotten the other is recalled without it, and nothing takes its place."""
    memory = fill(recalling(mimir, k=1, last_turns=0))
    answer = mimir.thread("default", namespace=PLACE)[1]
    mimir.forget(answer.id)
    assert asked(memory, "what is my cat called?") == "Human: my cat is called Pixel"
    assert asked(recalling(mimir, k=0, last_turns=4), "hm").startswith(
        "Human: my cat is called Pixel\nHuman: I moored"
    )


def test_texts_from_elsewhere_stand_alone(mimir: Mimir) -> None:
    """Turns of one coarse time, as an import brings them, are not taken for one exchange."""
    for text in ("the crow sat on the roof", "it rained", "the eel swam"):
        mimir.remember(text, namespace=PLACE, thread="default", time="2021-05-03")
    assert asked(recalling(mimir, k=1), "where did the crow sit?") == (
        "Human: the crow sat on the roof"
    )
    assert asked(recalling(mimir, k=0, last_turns=1), "hm") == "Human: the eel swam"


def test_messages_instead_of_text(mimir: Mimir) -> None:
    """With `return_messages` the exchanges come back as the messages they were."""
    memory = recalling(mimir, k=1, return_messages=True)
    said = HumanMessage("my cat is called Pixel", name="Ana", id="h")
    answer = AIMessage("noted", response_metadata={"model": "m"})
    memory.save_context({"input": said}, {"output": answer})
    assert asked(memory, "the cat?") == [said, answer]


def test_a_conversation_chain_remembers(mimir: Mimir) -> None:
    """The one changed line: the model reads what was said before."""
    model = Listener(responses=["a fine name", "Pixel"])
    chain = ConversationChain(llm=model, memory=MimirMemory(mimir))
    chain.invoke({"input": "my cat is called Pixel"})
    assert chain.invoke({"input": "what is my cat called?"})["response"] == "Pixel"
    assert f"{CAT}\nHuman: what is my cat called?" in model.heard[1]


def test_an_llm_chain_remembers_among_other_inputs(mimir: Mimir) -> None:
    """With several inputs, the one named is stored, alone."""
    model = Listener(responses=["aye", "Pixel"])
    prompt = ChatPromptTemplate.from_messages(
        [("system", "{style}"), MessagesPlaceholder("past"), ("human", "{said}")]
    )
    memory = recalling(mimir, memory_key="past", input_key="said", return_messages=True)
    chain = LLMChain(llm=model, prompt=prompt, memory=memory)
    chain.invoke({"style": "secretstyle", "said": "my cat is called Pixel"})
    chain.invoke({"style": "curt", "said": "what is my cat called?"})
    assert model.heard[1].splitlines() == [
        "curt", "my cat is called Pixel", "aye", "what is my cat called?",
    ]  # fmt: skip
    texts = [turn.text for turn in mimir.thread("default", namespace=PLACE)]
    assert texts == ["my cat is called Pixel", "aye", "what is my cat called?", "Pixel"]


def test_it_works_beside_a_buffer(mimir: Mimir) -> None:
    """In a CombinedMemory each memory fills its own variable, and ours swallows neither."""
    model = Listener(responses=["noted", "well", "Pixel"])
    memory = CombinedMemory(
        memories=[
            ConversationBufferMemory(memory_key="lately", input_key="input"),
            recalling(mimir, memory_key="recalled", input_key="input", k=1),
        ]
    )
    prompt = PromptTemplate.from_template("<{recalled}>\n<{lately}>\n{input}")
    chain = ConversationChain(llm=model, memory=memory, prompt=prompt)
    for said in ("my cat is called Pixel", "rain", "what is my cat called?"):
        chain.invoke({"input": said})
    assert "<Human: my cat is called Pixel\nAI: noted>" in model.heard[2]
    turns = mimir.thread("default", namespace=PLACE)
    assert [turn.text for turn in turns][::2] == [
        "my cat is called Pixel", "rain", "what is my cat called?",
    ]  # fmt: skip
    memory.clear()
    assert mimir.stats().memories == 0


def test_what_was_recalled_is_not_remembered_again(mimir: Mimir) -> None:
    """A chain hands the filled-in variable back with its inputs: it is left out."""
    memory = fill(recalling(mimir), TALK[:1])
    inputs = {"input": "and now?", "stop": ["\n"], **memory.load_memory_variables({"input": "cat"})}
    assert "Pixel" in inputs["history"]
    memory.save_context(inputs, {"response": "hm"})
    assert [turn.text for turn in mimir.thread("default", namespace=PLACE)] == [
        *TALK[0], "and now?", "hm",
    ]  # fmt: skip


def test_threads_and_namespaces_are_apart(mimir: Mimir) -> None:
    """A thread recalls its own turns, unless told to recall the whole namespace's."""
    fill(recalling(mimir, thread="monday"))
    tuesday = recalling(mimir, thread="tuesday")
    assert asked(tuesday, "my cat?") == ""
    assert "Pixel" in asked(recalling(mimir, thread="tuesday", all_threads=True), "my cat?")
    for other in (("langchain",), ("langchain", "memory", "x"), "langchain"):
        assert asked(recalling(mimir, all_threads=True, namespace=other), "my cat?") == ""


def test_clear_erases_the_thread_alone(path: Path) -> None:
    """After `clear` the thread's words are nowhere; another thread keeps its own."""
    with create(path) as mimir:
        monday, tuesday = (recalling(mimir, thread=day) for day in ("monday", "tuesday"))
        fill(monday)
        fill(tuesday, [("my dog is called Rex", "good dog")])
        monday.clear()
        monday.clear()
        assert asked(monday, "what is my cat called?") == ""
        assert "Rex" in asked(tuesday, "the dog?")
        assert mimir.stats().memories == 2


def test_it_survives_a_restart_sealed(path: Path) -> None:
    """Closed and opened again it recalls; the file shows nothing of it."""
    with create(path) as mimir:
        fill(recalling(mimir, thread="canarythread", human_prefix="canaryname"))
    assert b"canary" not in path.read_bytes()
    assert b"Pixel" not in path.read_bytes()
    with reopen(path) as mimir:
        assert "Pixel" in asked(recalling(mimir, thread="canarythread"), "my cat?")


def test_nothing_shows_in_repr_dump_or_pickle(mimir: Mimir) -> None:
    """Neither handle, names nor anything said show; pickle and deepcopy are refused."""
    memory = fill(recalling(mimir, namespace="canaryplace", thread="canarythread"))
    asked(memory, "my cat?")
    shown = repr(memory) + str(memory) + str(memory.model_dump()) + dumps(memory)
    assert not any(word in shown for word in ("Pixel", "<Mimir", "_mimir", "vault", "canary"))
    with pytest.raises(InvalidArgument):
        MimirMemory("vault.mimir")  # type: ignore[arg-type]  # is what is tested
    for refused in (pickle.dumps, copy.deepcopy):
        with pytest.raises(NotSerializable):
            refused(memory)


@pytest.mark.parametrize(
    ("inputs", "outputs", "error"),
    [
        ({}, {"output": "b"}, InvalidArgument),
        ({"history": "x", "stop": "y"}, {"output": "b"}, InvalidArgument),
        ({"a": "canary", "b": "canary"}, {"output": "b"}, InvalidArgument),
        ({"a": "x"}, {}, InvalidArgument),
        ({"a": "x", "history": "y"}, {"b": "z", "history": "y"}, InvalidArgument),
        ({"a": "x"}, {"b": "canary", "c": "canary"}, InvalidArgument),
        ({"a": 7}, {"output": "b"}, InvalidText),
        ({"a": ["canary", 7]}, {"output": "b"}, InvalidText),
        ({"a": []}, {"output": "b"}, InvalidText),
        ({"a": [" ", {"type": "text", "text": ""}]}, {"output": "b"}, InvalidText),
        ({"a": ["canary", {"type": "text", "text": "x", "by": {7}}]}, {"output": "b"},
         InvalidArgument),
        ({"a": "x"}, {"output": [object()]}, InvalidText),
        ({"a": None}, {"output": "b"}, InvalidText),
        ({"a": " \n"}, {"output": "b"}, InvalidText),
        ({"a": "x"}, {"output": {"canary": 1}}, InvalidText),
        ({"a": "x" * ((8 << 20) + 1)}, {"output": "b"}, InvalidText),
        ({"a": "x"}, {"output": "x" * ((8 << 20) + 1)}, InvalidText),
        ({"a": "half \ud800"}, {"output": "b"}, InvalidText),
    ],
)
def test_bad_turns_lose_nothing(
    mimir: Mimir, inputs: Any, outputs: Any, error: type[Exception]
) -> None:
    """A typed error without content, nothing half stored, and what was there still there."""
    memory = fill(recalling(mimir), TALK[:1])
    with pytest.raises(error) as caught:
        memory.save_context(inputs, outputs)
    assert "canary" not in str(caught.value)
    assert asked(memory, "my cat?") == CAT
    assert mimir.stats().memories == 2


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({}, InvalidArgument),
        ({"a": "x", "b": "y"}, InvalidArgument),
        ({"a": 7}, InvalidText),
        ({"a": ""}, InvalidText),
        ({"a": "x" * ((8 << 20) + 1)}, InvalidText),
    ],
)
def test_bad_questions_are_refused_before_the_model_is_asked(
    mimir: Mimir, inputs: Any, error: type[Exception]
) -> None:
    """What cannot be searched for is a typed error at once."""
    with pytest.raises(error):
        fill(recalling(mimir)).load_memory_variables(inputs)
    with pytest.raises(InvalidArgument):
        recalling(mimir, input_key="said").load_memory_variables({})


def test_a_turn_without_text_recalls_nothing(mimir: Mimir) -> None:
    """An image can be remembered, not searched for: only the last turns come along."""
    memory = fill(recalling(mimir, last_turns=1, return_messages=True), TALK[:2])
    image = HumanMessage([{"type": "image", "url": "https://example.org/boat.png"}])
    expected = [HumanMessage(TALK[1][0]), AIMessage(TALK[1][1])]
    assert memory.load_memory_variables({"input": image}) == {"history": expected}
    memory.save_context({"input": image}, {"output": "a boat"})
    assert asked(memory, "hm")[-2:] == [image, AIMessage("a boat")]


def test_a_silent_answer_loses_no_turn(mimir: Mimir) -> None:
    """A model that answers nothing, or with a call of a tool, is remembered as such."""
    memory = recalling(mimir, k=1, return_messages=True)
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    memory.save_context({"input": "first silence"}, {"output": ""})
    memory.save_context({"input": "second silence"}, {"output": call})
    assert asked(memory, "first") == [HumanMessage("first silence"), AIMessage("")]
    assert asked(memory, "second") == [HumanMessage("second silence"), call]


@pytest.mark.parametrize(
    "options",
    [{"k": -1}, {"max_tokens": -1}, {"last_turns": "many"}, {"nonsense": 1}, {"mimir_": None}],
)
def test_bad_options_are_refused(mimir: Mimir, options: dict[str, Any]) -> None:
    """An option that is unknown or out of range is a ValueError."""
    with pytest.raises(ValueError, match="validation error"):
        recalling(mimir, **options)


def test_a_bad_namespace_or_thread_is_an_error(mimir: Mimir) -> None:
    """What names no place neither reads nor writes."""
    with pytest.raises(InvalidNamespace):
        fill(recalling(mimir, namespace=("a", "")))
    with pytest.raises(InvalidArgument):
        asked(recalling(mimir, thread=""), "anything")


async def test_async_works_off_the_loops_thread(mimir: Mimir) -> None:
    """The async twins give what the sync ones give, elsewhere than on the event loop."""
    watched = WatchedThreads(mimir)
    memory = recalling(watched.mimir, namespace="watched", k=1)
    await memory.asave_context({"input": TALK[0][0]}, {"response": TALK[0][1]})
    found = await memory.aload_memory_variables({"input": "my cat?"})
    assert watched.threads
    assert threading.get_ident() not in watched.threads
    assert found == {"history": CAT} == memory.load_memory_variables({"input": "my cat?"})
    await memory.aclear()
    assert await memory.aload_memory_variables({"input": "my cat?"}) == {"history": ""}


async def test_fifty_chains_at_once_equal_one_after_the_other(mimir: Mimir) -> None:
    """Concurrent conversations answer and remember as sequential ones do."""

    async def talk(number: int, place: str) -> list[str]:
        memory = recalling(mimir, namespace=place, thread=str(number), last_turns=1)
        chain = ConversationChain(llm=Echo(), memory=memory)
        said = [f"my cat is called Pixel{number}", "rain all week", "what is my cat called?"]
        return [(await chain.ainvoke({"input": text}))["response"] for text in said]

    at_once = await asyncio.gather(*(talk(number, "at once") for number in range(50)))
    in_turn = [await talk(number, "in turn") for number in range(50)]
    assert at_once == in_turn
    threads = [mimir.threads(namespace=place) for place in ("at once", "in turn")]
    assert threads[0] == threads[1] == {str(number): 6 for number in range(50)}


def test_tokens_are_estimated_by_bytes() -> None:
    """One token for each 4 bytes of UTF-8, rounded up; nothing for nothing."""
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "漢字", "\ud800")] == [
        0, 1, 1, 2, 2, 1,
    ]  # fmt: skip
