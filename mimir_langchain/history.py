"""`MimirChatMessageHistory`: the messages of a session, sealed."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from mimir_core import Item, Mimir, Namespace
from mimir_core.errors import InvalidArgument
from mimir_langchain.messages import to_item, to_message
from mimir_langchain.naming import about, items_are
from mimir_langchain.vaults import check_vault, is_name

__all__ = ["MimirChatMessageHistory"]

NAMESPACE: Namespace = ("langchain", "history")


class MimirChatMessageHistory(BaseChatMessageHistory):
    """The messages of a session, one thread of an encrypted vault.

    Setup:
        pip install 'mimir-sealed[langchain]'

    Key init args:
        mimir: An open vault, which other classes may share.
        session_id: Names the thread: 1 to 1,024 bytes.
        namespace: Where the sessions live. Give each user one of their own: whoever knows the id
            of a session in it reads that session.

    Instantiate:
        mimir = Mimir.create("agent.mimir", passphrase)
        chain = RunnableWithMessageHistory(
            model, lambda session: MimirChatMessageHistory(mimir, session)
        )

    Add:
        history.add_messages([HumanMessage("my cat is called Pixel"), AIMessage("noted")])

        Up to 2,048 messages are one transaction, and a session that several threads or processes
        write to keeps the order within each call. A message may hold anything that JSON can: tool
        calls, content blocks, names, ids. What can be read of it is embedded, so that
        `mimir.recall` finds it. One that says more than 8 MiB, or cannot be stored as JSON, raises
        InputError, and nothing of the call is written.

    Delete:
        history.clear()

        What is cleared is erased from the file.

    Search:
        history.messages
        mimir.recall("the cat's name", namespace=("langchain", "history"), thread="session")

    Async:
        await history.aget_messages(), aadd_messages(...), aclear(): the same, in a worker thread.

    What leaves this device: nothing by this class. A chain sends the messages to the model it was
    given, and tracing callbacks such as LangSmith's send them to whoever was configured.
    """

    def __init__(
        self, mimir: Mimir, session_id: str, *, namespace: Namespace | str = NAMESPACE
    ) -> None:
        super().__init__()
        if not isinstance(session_id, str) or not is_name(session_id):
            raise InvalidArgument("a session is named by a string of 1 to 1,024 bytes")
        check_vault(mimir)
        self._mimir = mimir
        self._thread = session_id
        self._namespace = namespace

    @property
    def messages(self) -> list[BaseMessage]:
        """All messages of the session, oldest first; assigning to it replaces them at once.

        Raises:
            ScrubPending: replaced, but old pages still stand in the journal.
        """
        stored = self._mimir.thread(self._thread, namespace=self._namespace)
        return [to_message(memory) for memory in stored]

    @messages.setter
    def messages(self, messages: Sequence[BaseMessage]) -> None:
        items = self._items(messages)
        with items_are(_name):
            self._mimir.replace(items, namespace=self._namespace, thread=self._thread)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Adds messages to the end of the session.

        Raises:
            InputError: one of them cannot be stored; none was. The error says the number of the
                message, counted from 0.
            VaultBusy, DiskFull, StorageFailed: the storage failed.
        """
        items = self._items(messages)
        with items_are(_name):
            self._mimir.remember_many(items)

    def clear(self) -> None:
        """Erases the session.

        Raises:
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        self._mimir.forget(namespace=self._namespace, thread=self._thread)

    def __repr__(self) -> str:
        return "<MimirChatMessageHistory>"

    __str__ = __repr__  # LangChain's is the whole conversation

    def _items(self, messages: Sequence[BaseMessage]) -> list[Item]:
        items = []
        for number, message in enumerate(messages):
            with about(_name(number)):
                item = to_item(message, namespace=self._namespace, thread=self._thread)
            items.append(item)
        return items


def _name(number: int) -> str:
    return f"message {number}"
