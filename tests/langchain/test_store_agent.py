"""Agents with a MimirStore: tools that use `runtime.store`, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime, tool
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from mimir_core import Mimir
from mimir_langchain import MimirStore

from ..vault.scan import scan, text_forms
from ..vault.vaults import create, reopen


class User(BaseModel):
    """Who speaks to the agent."""

    name: str


class Scripted(GenericFakeChatModel):
    """Calls the tools that its script says."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Scripted:
        """It knows what to call."""
        return self


@tool
def save_fact(key: str, fact: str, runtime: ToolRuntime[User]) -> str:
    """Remembers a fact about the user."""
    assert runtime.store is not None
    runtime.store.put(("users", runtime.context.name), key, {"fact": fact})
    return "saved"


@tool
def find_fact(query: str, runtime: ToolRuntime[User]) -> str:
    """Finds a fact about the user."""
    assert runtime.store is not None
    found = runtime.store.search(("users", runtime.context.name), query=query, limit=1)
    return str(found[0].value["fact"]) if found else "nothing"


@tool
async def afind_fact(query: str, runtime: ToolRuntime[User]) -> str:
    """Finds a fact about the user, asynchronously."""
    assert runtime.store is not None
    found = await runtime.store.asearch(("users", runtime.context.name), query=query, limit=1)
    return str(found[0].value["fact"]) if found else "nothing"


def calls(*each: tuple[str, dict[str, str]]) -> Iterator[AIMessage]:
    """A script: one call of a tool after the other, then a word."""
    for number, (name, arguments) in enumerate(each):
        call = {"name": name, "args": arguments, "id": f"call{number}", "type": "tool_call"}
        yield AIMessage("", tool_calls=[call])  # type: ignore[list-item]
    yield AIMessage("done")


def agent(mimir: Mimir, *script: tuple[str, dict[str, str]]) -> Any:
    """An agent over the vault that will follow a script."""
    return create_agent(
        Scripted(messages=calls(*script)),
        [save_fact, find_fact, afind_fact],
        store=MimirStore(mimir, index={"fields": ["fact"]}),
        context_schema=User,
    )


def answers(state: dict[str, Any]) -> list[str]:
    """What the tools said."""
    return [str(m.content) for m in state["messages"] if isinstance(m, ToolMessage)]


ASK: dict[str, Any] = {"messages": [HumanMessage("hello")]}
SAVE = ("save_fact", {"key": "cat", "fact": "Ana's cat is called Pixelwhisker"})
FIND = ("find_fact", {"query": "what is the cat called"})
AFIND = ("afind_fact", {"query": "what is the cat called"})


def test_an_agent_remembers_beyond_a_restart(folder: Path) -> None:
    """A tool saves; after closing and opening another agent finds; another user finds nothing."""
    path = folder / "v"
    with create(path) as mimir:
        assert answers(agent(mimir, SAVE).invoke(ASK, context=User(name="ana"))) == ["saved"]
    assert scan(folder, {"cat": text_forms("Pixelwhisker")}) == {}
    with reopen(path) as mimir:
        found = agent(mimir, FIND).invoke(ASK, context=User(name="ana"))
        assert answers(found) == [SAVE[1]["fact"]]
        assert answers(agent(mimir, FIND).invoke(ASK, context=User(name="bo"))) == ["nothing"]


@pytest.mark.parametrize("name", ["ana", "bo"])
async def test_an_agent_remembers_asynchronously(mimir: Mimir, name: str) -> None:
    """The asynchronous agent does the same, with synchronous and asynchronous tools."""
    await agent(mimir, SAVE).ainvoke(ASK, context=User(name="ana"))
    state = await agent(mimir, FIND, AFIND).ainvoke(ASK, context=User(name=name))
    assert answers(state) == [SAVE[1]["fact"] if name == "ana" else "nothing"] * 2
