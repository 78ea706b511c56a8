"""Ordinary uses of Mimir, each in a process of its own: `python -m tests.quiet.uses NAME SECONDS`.

It works in the current folder, then stays alive for some seconds: telemetry likes to wait.
"""

# ruff: noqa: PLC0415  # each use imports what it needs, as a program of its own does

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

PASSPHRASE = "correct horse battery staple"


def core() -> None:
    """Made, filled, asked, forgotten from, verified, closed, opened again."""
    from mimir_core import Item, Mimir

    with Mimir.create("core.mimir", PASSPHRASE) as mimir:
        gone = mimir.remember("Ana's cat is called Pixel", thread="monday")
        mimir.remember_many([Item(f"remark {n} about the harbour") for n in range(100)])
        assert mimir.recall("what is the cat's name?")
        mimir.forget(gone)
        assert mimir.verify().ok
    with Mimir.open("core.mimir", PASSPHRASE) as mimir:
        assert mimir.recall("the harbour")


def command_line() -> None:
    """The commands of every day, each a process, and one in this process."""
    os.environ |= {"MIMIR_PASSPHRASE": PASSPHRASE, "MIMIR_VAULT": "cli.mimir"}
    os.environ["TMPDIR"] = "."  # the demo's vault lies in a temporary folder
    for command in (
        ("create", "cli.mimir"), ("remember", "Ana's cat is called Pixel"),
        ("recall", "the cat"), ("export",), ("forget", "--where", "speaker=Ana", "--dry-run"),
        ("verify",), ("doctor",), ("demo",),
    ):  # fmt: skip
        subprocess.run([sys.executable, "-m", "mimir_core.cli", *command], check=True)
    from mimir_core.cli import main

    sys.argv = ["mimir", "recall", "the cat"]
    with suppress(SystemExit):
        main()


def langchain() -> None:
    """A chain with a memory, a history, a vector store with filters."""
    from langchain_classic.chains import ConversationChain
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.runnables.history import RunnableWithMessageHistory

    from mimir_core import Mimir
    from mimir_langchain import MimirChatMessageHistory, MimirMemory, MimirVectorStore

    model = FakeListChatModel(responses=["A fine name.", "It is called Pixel."])
    with Mimir.create("langchain.mimir", PASSPHRASE) as mimir:
        chain = ConversationChain(llm=model, memory=MimirMemory(mimir))
        chain.invoke({"input": "My cat is called Pixel"})
        chain.invoke({"input": "What is my cat called?"})
        talk = RunnableWithMessageHistory(model, lambda name: MimirChatMessageHistory(mimir, name))
        talk.invoke("My cat is called Pixel", {"configurable": {"session_id": "monday"}})
        store = MimirVectorStore(mimir)
        store.add_texts(["Ana is allergic to peanuts", "The harbour freezes"])
        assert store.similarity_search("what must Ana not eat?", k=1)


def langgraph() -> None:
    """An agent with a memory, a checkpointer and a store."""
    from langchain.agents import create_agent
    from langchain_core.language_models import FakeListChatModel

    from mimir_core import Mimir
    from mimir_langchain import MimirMemoryMiddleware, MimirSaver, MimirStore

    model = FakeListChatModel(responses=["A fine name.", "It is called Pixel."])
    with Mimir.create("langgraph.mimir", PASSPHRASE) as mimir:
        agent = create_agent(
            model, middleware=[MimirMemoryMiddleware(mimir, user=None)],
            checkpointer=MimirSaver(mimir), store=MimirStore(mimir),
        )  # fmt: skip
        for said in ("My cat is called Pixel", "What is my cat called?"):
            agent.invoke({"messages": [("user", said)]}, {"configurable": {"thread_id": "t"}})


def llamaindex() -> None:
    """An index over documents that are split, a chat with memory, a query engine."""
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.chat_engine import SimpleChatEngine
    from llama_index.core.llms import MockLLM
    from llama_index.core.memory import Memory
    from llama_index.core.query_engine import RetrieverQueryEngine

    from mimir_core import Mimir
    from mimir_llamaindex import (
        MimirChatStore,
        MimirEmbedding,
        MimirMemoryBlock,
        MimirRetriever,
        mimir_storage_context,
    )

    with Mimir.create("llamaindex.mimir", PASSPHRASE) as mimir:
        model = MimirEmbedding(mimir)
        index = VectorStoreIndex.from_documents(
            [Document(text="The harbour freezes in winter. " * 300)],
            storage_context=mimir_storage_context(mimir), embed_model=model,
        )  # fmt: skip
        assert index.as_retriever(similarity_top_k=1).retrieve("the harbour")
        memory = Memory.from_defaults(
            session_id="u1", chat_store=MimirChatStore(mimir), token_limit=60,
            memory_blocks=[MimirMemoryBlock(mimir)],
        )  # fmt: skip
        chat = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory)
        for number in range(6):
            chat.chat(f"remark {number}: my cat is called Pixel")
        engine = RetrieverQueryEngine.from_args(MimirRetriever(mimir), llm=MockLLM(max_tokens=1))
        engine.query("what is the cat called?")


def notebook() -> None:
    """A kernel as Jupyter starts it, with the magics and a plot."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["MIMIR_PASSPHRASE"] = PASSPHRASE
    cells = [
        "%load_ext mimir_core.jupyter", "%mimir create notebook.mimir",
        "%remember Ana's cat is called Pixel", "%remember The harbour freezes", "%recall the cat",
        "from mimir_core import Mimir",
        "mimir = Mimir.open('notebook.mimir', " + repr(PASSPHRASE) + ")",
        "mimir.plot_map()",
    ]  # fmt: skip
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    NotebookClient(made, timeout=60).execute()


def telemetry() -> None:
    """No use of Mimir: what onnxruntime does by itself, which shows that it would be seen."""
    os.environ.pop("ORT_DISABLE_TELEMETRY", None)
    import onnxruntime  # noqa: F401


USES: dict[str, Callable[[], None]] = {
    use.__name__: use
    for use in (core, command_line, langchain, langgraph, llamaindex, notebook, telemetry)
}

if __name__ == "__main__":
    use, seconds = sys.argv[1:]
    USES[use]()
    time.sleep(float(seconds))
