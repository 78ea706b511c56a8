"""Every notebook runs from top to bottom in a fresh kernel, offline, and ends well."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BY_NAME = [pytest.param(path, id=path.stem) for path in NOTEBOOKS]
# The libraries that a notebook shows besides Mimir's own extra for notebooks.
NEEDS = {"03_langchain": ("langchain", "langgraph"), "04_llamaindex": ("llama_index.core",)}
OFFLINE = """
import socket

def refuse(self, address):
    host = address[0] if isinstance(address, tuple) else address
    assert self.family == socket.AF_UNIX or host in ("127.0.0.1", "::1"), "a notebook called out"
    return connect(self, address)

connect, socket.socket.connect = socket.socket.connect, refuse
"""


def cells(path: Path, kind: str) -> list[str]:
    """The sources of a notebook's cells."""
    read = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in read["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", BY_NAME)
def test_outputs_are_stripped(path: Path) -> None:
    """What is in git holds no output, no execution count, and no path of a machine."""
    read = json.loads(path.read_text(encoding="utf-8"))
    for cell in read["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert set(read["metadata"]) <= {"kernelspec", "language_info"}
    assert read["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", BY_NAME)
def test_each_ends_with_what_to_try_next(path: Path) -> None:
    """The last cell says what to try next, and links lead to notebooks that exist."""
    words = cells(path, "markdown")
    assert words[0].startswith("# ")
    assert "## What to try next" in words[-1]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", "\n".join(words)):
        assert (path.parent / target).exists()


@pytest.mark.parametrize("path", BY_NAME)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder and a fresh kernel, without a network, no cell fails or warns."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for library in ("ipykernel", "matplotlib", "sklearn", *NEEDS.get(path.stem, ())):
        pytest.importorskip(library)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(ROOT)]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MIMIR_PASSPHRASE", raising=False)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OFFLINE)
    (tmp_path / "work").mkdir()
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, timeout=120, resources=place).execute()
    printed = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert printed
    assert not [text for text in map(_complaint, printed) if text]
    assert not list((tmp_path / "work").iterdir())


def _complaint(output: Any) -> str:
    """What a cell wrote on standard error."""
    return str(output["text"]) if output.get("name") == "stderr" else ""


def test_the_guard_refuses_the_network() -> None:
    """What keeps notebooks offline does refuse an address outside this machine."""
    code = f"{OFFLINE}\nsocket.create_connection(('192.0.2.1', 80), 1)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "a notebook called out" in done.stderr
