"""A real conversation through each way in, then the process ends: another one finds it, sealed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import ConversationChain
from langchain_core.messages import HumanMessage
from langchain_core.runnables.history import RunnableWithMessageHistory

from mimir_core import KdfProfile, Mimir
from mimir_langchain import (
    MimirChatMessageHistory,
    MimirMemory,
    MimirMemoryMiddleware,
    MimirSaver,
    MimirSummaryMemory,
)

from .talking import Listener, real_exchanges

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

ROOT = Path(__file__).parents[2]
CANARY = ("my canarycat is called canarypixel", "a canaryanswer")
QUESTION = "what is the name of my canarycat?"
LATER = """
import json, sys
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from mimir_core import KdfProfile, Mimir
from mimir_langchain import *
from tests.langchain.talking import Listener

def found(mimir, user, question):
    model = Listener(responses=["a summary"])
    place = lambda name: (name, user)
    history = MimirChatMessageHistory(mimir, "s", namespace=place("history")).messages
    memory = MimirMemory(mimir, namespace=place("memory"), last_turns=0)
    summary = MimirSummaryMemory(mimir, llm=model, namespace=place("summary"))
    agent = create_agent(model, middleware=[MimirMemoryMiddleware(mimir)],
                         checkpointer=MimirSaver(mimir))
    config = {"configurable": {"thread_id": f"{user}'s"}}
    state = [message.text for message in agent.get_state(config).values.get("messages", [])]
    summed_up = summary.load_memory_variables({})["history"]
    agent.invoke({"messages": [HumanMessage(question)]},
                 {"configurable": {"thread_id": f"{user}'s next"}}, context={"user_id": user})
    return {
        "history": [message.text for message in history],
        "memory": memory.load_memory_variables({"input": question})["history"],
        "summary": summed_up,
        "agent": model.heard[-1],
        "state": state,
    }

path, question = sys.argv[1:]
with Mimir.open(path, "a passphrase", profile=KdfProfile.INSECURE_FOR_TESTS) as mimir:
    print(json.dumps({user: found(mimir, user, question) for user in ("ana", "bo")}))
"""


def talk(mimir: Mimir, user: str, exchanges: list[tuple[str, str]]) -> None:
    """Has the conversation with each of them, each with a place of its own for the user."""
    answers = [answer for _, answer in exchanges]
    for said, _ in exchanges:
        assert said.strip()
    history = RunnableWithMessageHistory(
        Listener(responses=answers),
        lambda session_id: MimirChatMessageHistory(mimir, session_id, namespace=("history", user)),
    )
    remembering = ConversationChain(
        llm=Listener(responses=answers), memory=MimirMemory(mimir, namespace=("memory", user))
    )
    summarising = ConversationChain(
        llm=Listener(responses=answers),
        memory=MimirSummaryMemory(
            mimir, llm=Listener(responses=["the canarysummary"]), namespace=("summary", user)
        ),
    )
    agent: Any = create_agent(
        Listener(responses=answers),
        middleware=[MimirMemoryMiddleware(mimir)],
        checkpointer=MimirSaver(mimir),
    )
    for said, _ in exchanges:
        history.invoke([HumanMessage(said)], {"configurable": {"session_id": "s"}})
        remembering.invoke({"input": said})
        summarising.invoke({"input": said})
        agent.invoke(
            {"messages": [HumanMessage(said)]},
            {"configurable": {"thread_id": f"{user}'s"}},
            context={"user_id": user},
        )


def test_another_process_finds_the_conversation_and_the_file_shows_none_of_it(
    path: Path,
) -> None:
    """Through every class the memory is there after a restart; another user finds nothing."""
    exchanges = [*real_exchanges(10), CANARY, *real_exchanges(13)[10:]]
    with Mimir.create(path, "a passphrase", profile=KdfProfile.INSECURE_FOR_TESTS) as mimir:
        talk(mimir, "ana", exchanges)
    _sealed(path, exchanges)
    command = [sys.executable, "-W", "ignore", "-c", LATER, str(path), QUESTION]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ana, bo = (json.loads(done.stdout)[user] for user in ("ana", "bo"))
    texts = [text for exchange in exchanges for text in exchange]
    assert ana["history"] == texts
    assert ana["state"] == texts
    assert (
        "\n".join(f"{who}: {text}" for who, text in zip(("Human", "AI"), CANARY, strict=True))
        in (ana["memory"])
    )
    assert ana["summary"].startswith("the canarysummary\n")
    assert ana["summary"].endswith(f"AI: {texts[-1]}")
    assert CANARY[0] in ana["agent"]
    assert bo == {"history": [], "memory": "", "summary": "", "agent": QUESTION, "state": []}
    _sealed(path, exchanges)


def _sealed(path: Path, exchanges: list[tuple[str, str]]) -> None:
    """No canary, no longer text, and nobody's name is in any file beside or of the vault."""
    words = [text.encode() for exchange in exchanges for text in exchange if len(text) > 20]
    names = [b"canary", b"ana's", b"history", b"HumanMessage", b"Human"]
    for file in path.parent.iterdir():
        raw = file.read_bytes()
        assert not any(word in raw for word in [*words, *names]), file.name
