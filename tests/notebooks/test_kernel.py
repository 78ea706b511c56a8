"""`%mimir` in a real kernel: the passphrase is asked for hidden, and stands nowhere afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

jupyter_client = pytest.importorskip("jupyter_client", reason="comes with the notebook extra")
pytest.importorskip("ipykernel", reason="comes with the notebook extra")

ROOT = Path(__file__).parents[2]
PASSPHRASE = "tangerine staple horse"
EXTENSION = "mimir_core.jupyter"


class Frontend:
    """What a notebook's page does: runs cells, answers what the kernel asks, keeps all it saw."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.asked: list[dict[str, Any]] = []
        self.seen: list[str] = []

    def run(self, source: str, *answers: str) -> str:
        """Runs a cell; returns everything the kernel said to it."""
        waiting, said = list(answers), []

        def answer(message: dict[str, Any]) -> None:
            self.asked.append(message["content"])
            self._client.input(waiting.pop(0))

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] != "execute_input":  # the cell itself
                said.append(str(message["content"]))

        self._client.execute_interactive(
            source, allow_stdin=True, stdin_hook=answer, output_hook=hear, timeout=60
        )
        self.seen += said
        return "\n".join(said)

    def history(self) -> str:
        """What IPython keeps of this session, as typed and with outputs."""
        reply = self._client.history(
            raw=True, output=True, hist_access_type="range", session=0, reply=True, timeout=60
        )
        return str(reply["content"]["history"])


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    """A kernel of its own in an empty folder."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    env.pop("MIMIR_PASSPHRASE", None)
    (tmp_path / "work").mkdir()
    manager, client = jupyter_client.manager.start_new_kernel(
        kernel_name="python3", env=env, cwd=str(tmp_path / "work")
    )
    try:
        yield Frontend(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_the_passphrase_stands_nowhere(frontend: Frontend, tmp_path: Path) -> None:
    """Prompts are hidden; outputs, errors in the most talkative mode and history lack it."""
    frontend.run(f"%xmode Verbose\n%load_ext {EXTENSION}")
    assert "Mimir agent.mimir" in frontend.run(
        "%mimir create agent.mimir", PASSPHRASE, PASSPHRASE
    )
    frontend.run("%remember -t monday Ana's cat is called Pixel")
    assert "Pixel" in frontend.run("%recall what is the cat's name?")
    frontend.run("%mimir close")
    refused = frontend.run("%mimir open agent.mimir", f"{PASSPHRASE} of another vault")
    assert "CannotUnlock" not in refused
    assert "passphrase" in refused
    frontend.run("%mimir open agent.mimir", PASSPHRASE)
    assert [each["password"] for each in frontend.asked] == [True] * 4
    history = frontend.history()
    assert "%mimir open agent.mimir" in history
    for kept in (*frontend.seen, history):
        assert PASSPHRASE not in kept
    everywhere = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in everywhere if file.name == "history.sqlite"]
    assert not [file for file in everywhere if PASSPHRASE.encode() in file.read_bytes()]


def test_nobody_to_ask_is_said_in_one_line(frontend: Frontend) -> None:
    """Where a notebook runs by itself, MIMIR_PASSPHRASE is named instead of a traceback."""
    frontend.run(f"%load_ext {EXTENSION}")
    reply: list[str] = []
    frontend._client.execute_interactive(
        "%mimir create agent.mimir",
        allow_stdin=False,
        output_hook=lambda message: reply.append(str(message["content"])),
        timeout=60,
    )
    said = "\n".join(reply)
    assert "MIMIR_PASSPHRASE" in said
    assert "Traceback" not in said
