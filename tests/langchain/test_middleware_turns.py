"""An agent's turn is remembered whole, whatever other steps do to the messages of its run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any
from unittest.mock import patch

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelRequest,
    PIIMiddleware,
    SummarizationMiddleware,
    after_model,
    before_model,
    wrap_model_call,
)
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import PrivateAttr

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, ScrubPending
from mimir_langchain import MimirMemoryMiddleware

from .talking import Actor, Listener

PLACE = ("langgraph", "memory")
ANA: Any = {"user_id": "ana"}
Middlewares = list[AgentMiddleware[Any, Any, Any]]


class Player(Actor):
    """Gives its messages in turn, and notes what it was given to read."""

    _heard: list[str] = PrivateAttr(default_factory=list)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self._heard.append("\n".join(str(message.text) for message in messages))
        return super()._generate(messages, *args, **kwargs)


@tool
def look_up(what: str) -> str:
    """Looks something up."""
    return f"toolresult about {what}"


def calls(count: int, answer: str) -> list[AIMessage]:
    """Calls of a tool, and an answer."""
    made = [{"name": "look_up", "args": {"what": f"{n}"}, "id": f"{answer} {n}"}
            for n in range(count)]  # fmt: skip
    return [*(AIMessage("", tool_calls=[call]) for call in made), AIMessage(answer)]


def summarizing() -> AgentMiddleware[Any, Any, Any]:
    """Sums up all but the last two of six messages."""
    return SummarizationMiddleware(
        Listener(responses=["a summary"]), trigger=("messages", 6), keep=("messages", 2)
    )


def _emptied(state: Any, runtime: Any) -> dict[str, Any]:
    return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]}


def _emptied_late(state: Any, runtime: Any) -> dict[str, Any] | None:
    return None if len(state["messages"]) < 4 else _emptied(state, runtime)


def _emptied_with_answer(state: Any, runtime: Any) -> dict[str, Any] | None:
    return None if state["messages"][-1].tool_calls else _emptied(state, runtime)


SHORTENING: dict[str, Callable[[], AgentMiddleware[Any, Any, Any]]] = {
    "summary": summarizing,
    "removed at once": lambda: before_model(_emptied),
    "removed later": lambda: before_model(_emptied_late),
    "removed with the answer": lambda: after_model(_emptied_with_answer),
}


def texts(mimir: Mimir, user: str = "ana") -> list[str]:
    """All that is remembered of a user."""
    return [memory.text for memory in mimir.memories(namespace=(*PLACE, user))]


def invoke(agent: Any, given: Any, thread: str = "1", user: str = "ana", how: str = "sync") -> None:
    """Runs an agent to its end, or until it waits."""
    config = {"configurable": {"thread_id": thread}}
    context = {"user_id": user}
    if isinstance(given, str):
        given = {"messages": [HumanMessage(given)]}
    if how == "async":
        asyncio.run(agent.ainvoke(given, config, context=context))
    elif how == "stream":
        for _ in agent.stream(given, config, context=context, stream_mode="messages"):
            pass
    else:
        agent.invoke(given, config, context=context)


@pytest.mark.parametrize("how", ["sync", "async", "stream"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("shortening", SHORTENING.values(), ids=SHORTENING)
def test_a_turn_is_remembered_although_its_messages_go(
    mimir: Mimir, shortening: Callable[[], Any], first: bool, how: str
) -> None:
    """Question and answer are remembered, once, whatever shortens the run, in either order."""
    memory: Any = MimirMemoryMiddleware(mimir)
    other = shortening()
    middleware = [memory, other] if first else [other, memory]
    model = Player(script=[*calls(3, "it is x"), *calls(0, "and y")])
    agent: Any = create_agent(
        model, [look_up], middleware=middleware, checkpointer=InMemorySaver()
    )
    invoke(agent, "what is x?", how=how)
    assert texts(mimir) == ["what is x?", "it is x"]
    invoke(agent, "and what is y?", how=how)
    assert texts(mimir) == ["what is x?", "it is x", "and what is y?", "and y"]


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("shortening", ["summary", "removed at once"])
def test_the_record_stays_through_the_run(mimir: Mimir, shortening: str, first: bool) -> None:
    """Every request of a run has what was recalled, also after its messages were shortened."""
    memory: Any = MimirMemoryMiddleware(mimir)
    told = create_agent(Listener(responses=["a fine name"]), middleware=[memory])
    invoke(told, "my cat is called Pixel", "0")
    other = SHORTENING[shortening]()
    model = Player(script=calls(3, "Pixel"))
    agent = create_agent(model, [look_up], middleware=[memory, other] if first else [other, memory])
    invoke(agent, "what is my cat called?")
    assert len(model._heard) == 4
    for heard in model._heard:
        assert "Human: my cat is called Pixel\n" in heard
        assert "AI: a fine name\n" in heard


def test_users_and_threads_stay_apart(mimir: Mimir) -> None:
    """Turns of several users in one agent are each remembered where they belong."""
    model = Player(script=[message for n in range(4) for message in calls(3, f"answer {n}")])
    agent = create_agent(
        model, [look_up], checkpointer=InMemorySaver(),
        middleware=[MimirMemoryMiddleware(mimir), summarizing()],
    )  # fmt: skip
    for number, (user, thread) in enumerate([("ana", "1"), ("bo", "2"), ("ana", "3"), ("bo", "2")]):
        invoke(agent, f"question {number}", thread, user)
    assert texts(mimir) == ["question 0", "answer 0", "question 2", "answer 2"]
    assert texts(mimir, "bo") == ["question 1", "answer 1", "question 3", "answer 3"]
    assert mimir.threads(namespace=(*PLACE, "bo")) == {"2": 4}


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_a_resumed_run_that_was_summed_up(mimir: Mimir, order: Sequence[int]) -> None:
    """A run that waits for a person at each call of a tool is remembered once, at its end."""
    three: Middlewares = [
        MimirMemoryMiddleware(mimir), summarizing(), HumanInTheLoopMiddleware({"look_up": True}),
    ]  # fmt: skip
    agent = create_agent(
        Player(script=calls(3, "it is x")), [look_up], checkpointer=InMemorySaver(),
        middleware=[three[n] for n in order],
    )  # fmt: skip
    invoke(agent, "what is x?")
    for _ in range(3):
        assert texts(mimir) == []
        invoke(agent, Command(resume={"decisions": [{"type": "approve"}]}))
    assert texts(mimir) == ["what is x?", "it is x"]


def test_a_run_that_was_given_up_is_not_lost(mimir: Mimir) -> None:
    """What a person said in a run that never ended is stored with their next turn."""
    agent = create_agent(
        Player(script=[*calls(1, "never said")[:1], AIMessage("fine")]), [look_up],
        checkpointer=InMemorySaver(),
        middleware=[HumanInTheLoopMiddleware({"look_up": True}), MimirMemoryMiddleware(mimir)],
    )  # fmt: skip
    invoke(agent, "what is x?")
    invoke(agent, "never mind, thanks")
    assert texts(mimir) == ["what is x?", "never mind, thanks", "fine"]
    state = agent.get_state({"configurable": {"thread_id": "1"}})
    assert state.values["mimir_turn"] is None


def test_what_is_said_during_a_run_counts_too(mimir: Mimir) -> None:
    """A message that a person adds while the run waits belongs to the turn."""
    agent = create_agent(
        Player(script=calls(1, "it is x, not y")), [look_up], checkpointer=InMemorySaver(),
        middleware=[HumanInTheLoopMiddleware({"look_up": True}), MimirMemoryMiddleware(mimir)],
    )  # fmt: skip
    invoke(agent, "what is x?")
    more = {"messages": [HumanMessage("and is it y?")]}
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.update_state(config, more, as_node="tools")
    invoke(agent, None)
    assert texts(mimir) == ["what is x?", "and is it y?", "it is x, not y"]


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_what_is_blacked_out_is_not_remembered(mimir: Mimir, first: bool) -> None:
    """Where another step takes a word out of the messages, the memory has it neither."""
    redacting = PIIMiddleware("email", apply_to_output=True)
    memory = MimirMemoryMiddleware(mimir)
    both: Middlewares = [memory, redacting] if first else [redacting, memory]
    model = Player(script=calls(3, "ana@example.org, noted"))
    agent = create_agent(model, [look_up], middleware=[*both, summarizing()])
    invoke(agent, "I am ana@example.org")
    assert texts(mimir) == ["I am [REDACTED_EMAIL]", "[REDACTED_EMAIL], noted"]


def test_what_a_step_whispers_is_not_what_was_said(mimir: Mimir) -> None:
    """A message that another middleware adds to the request alone is not remembered."""

    @wrap_model_call
    def whispering(request: ModelRequest[Any], handler: Any) -> Any:
        return handler(request.override(messages=[*request.messages, HumanMessage("be nice")]))

    memory: Any = MimirMemoryMiddleware(mimir)
    agent = create_agent(Listener(responses=["hi"]), middleware=[whispering, memory])
    invoke(agent, "hello")
    assert texts(mimir) == ["hello", "hi"]


# Requests that do not say what run they are part of


class Remaking(AgentMiddleware[Any, Any, Any]):
    """Makes the request anew, as far as a model needs it."""

    def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
        return handler(ModelRequest(model=request.model, messages=request.messages))

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
        return await handler(ModelRequest(model=request.model, messages=request.messages))


@pytest.mark.parametrize("how", ["sync", "async", "stream"])
def test_a_request_without_its_run(mimir: Mimir, how: str) -> None:
    """Where another middleware makes a request without runtime and state, the run's own count."""
    model = Listener(responses=["a fine name", "Pixel"])
    agent = create_agent(model, middleware=[Remaking(), MimirMemoryMiddleware(mimir)])
    invoke(agent, "my cat is called Pixel", "1", how=how)
    invoke(agent, "what is my cat called?", "2", how=how)
    assert "Human: my cat is called Pixel" in model.heard[1]
    assert texts(mimir)[2:] == ["what is my cat called?", "Pixel"]


def test_a_request_of_no_run_at_all(mimir: Mimir) -> None:
    """Outside of any run there is no user: a typed error, or the only user's memory."""
    request: Any = ModelRequest(model=Listener(responses=["x"]), messages=[HumanMessage("hello")])
    for user in ("user_id", lambda runtime: runtime.context["user_id"]):
        with pytest.raises(InvalidArgument):
            MimirMemoryMiddleware(mimir, user=user).wrap_model_call(request, lambda made: made)  # type: ignore[arg-type, return-value]  # no model is asked
    alone = MimirMemoryMiddleware(mimir, user=None)
    assert alone.wrap_model_call(request, lambda made: made) is request  # type: ignore[arg-type, return-value, comparison-overlap]  # no model is asked


def test_a_pending_scrub_reaches_the_caller(mimir: Mimir) -> None:
    """An answer that replaces another is stored, and then the caller hears of the scrub."""
    middleware = MimirMemoryMiddleware(mimir)
    question, run = HumanMessage("question", id="1"), Runtime(context=ANA)
    middleware.after_agent({"messages": [question, AIMessage("one", id="2")]}, run)
    inner = Mimir.remember_many

    def pending(self: Mimir, *args: Any, **options: Any) -> Any:
        inner(self, *args, **options)
        raise ScrubPending("pending")

    with patch.object(Mimir, "remember_many", pending), pytest.raises(ScrubPending):
        middleware.after_agent({"messages": [question, AIMessage("two", id="3")]}, run)
    assert texts(mimir) == ["question", "two"]
