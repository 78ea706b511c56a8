"""The README's code runs, and what it names exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from mimir_core.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block of the README runs as it stands, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # our own README, the point of the test
    assert capsys.readouterr().out == "Ana is allergic to peanuts and sesame\nTrue\n"


def test_commands_exist() -> None:
    """Every `mimir` command line of the README names a command and options that exist."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("mimir ")]
    assert calls
    commands = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for _, name, *words in calls:
        known = {option for each in commands[name].params for option in each.opts}
        assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    """Every relative link of the README leads to a file of the project."""
    assert (ROOT / target).exists()
