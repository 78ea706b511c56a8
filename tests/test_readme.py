"""The code of every README runs, and what they name exists."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

from mimir_core.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "mimir_langchain/README.md", "mimir_llamaindex/README.md")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python blocks of a page run as they stand, one after the other, in an empty folder.

    What a block prints is what the block of text after it shows, if there is one.
    """
    monkeypatch.chdir(tmp_path)
    pattern = r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?"
    found = re.findall(pattern, text_of(page), re.DOTALL)
    assert len(found) == len(blocks(page, "python")) > 0
    module = ModuleType("readme")  # dataclasses look for the module they were written in
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for code, shown in found:
        exec(compile(code, page, "exec"), vars(module))  # our own pages, the point of the test
        printed = capsys.readouterr().out
        assert not shown or printed == shown


def test_commands_exist() -> None:
    """Every `mimir` command line of the README names a command and options that exist."""
    lines = [line[2:] for block in blocks("README.md", "console") for line in block.splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("mimir ")]
    assert calls
    commands = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for _, name, *words in calls:
        known = {option for each in commands[name].params for option in each.opts}
        assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of a page leads to a file of the project."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text_of(page))
    assert all(((ROOT / page).parent / target).exists() for target in targets)
