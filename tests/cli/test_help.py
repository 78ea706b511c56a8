"""What `mimir` says of itself: overview, help, examples, and completion in three shells."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from mimir_core.cli.app import COMMANDS, app
from mimir_core.cli.examples import EXAMPLES, OVERVIEW, epilog
from mimir_core.cli.exits import MEANINGS

from .shell import Shell, environment

SHELLS = ("bash", "zsh", "fish")


def test_mimir_alone_explains_itself(tmp_path: Path) -> None:
    """Without a command it shows a short overview of what to type first, and succeeds."""
    result = Shell(tmp_path / "none").run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == OVERVIEW + "\n"
    assert len(result.stdout.splitlines()) <= 24
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_help_names_every_command_and_exit_code(tmp_path: Path) -> None:
    """`mimir --help` shows examples, commands and exit codes; each command's shows its examples."""
    shell = Shell(tmp_path / "none")
    shown = shell.ok("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in shown
        own = shell.ok(command, "--help")
        assert own.startswith(f"Usage: mimir {command} ")
        for line in EXAMPLES[command].strip().splitlines():
            assert f"\n    {line}".rstrip() in own
    for code, meaning in MEANINGS.items():
        assert f"{code:>3}  {meaning}" in shown
    assert "Examples:" in shown


def _examples() -> list[str]:
    """Every command line that overview, help and examples show."""
    text = "\n".join([OVERVIEW, epilog(), *EXAMPLES.values()])
    calls = re.findall(r"(?:^|[|=.] ?)(?:\w+=\S+ )?(mimir(?: .*)?)$", text, re.MULTILINE)
    return [re.split(r" {3,}| \| | && | < ", call)[0] for call in calls]


@pytest.mark.parametrize("line", sorted(set(_examples())))
def test_examples_name_commands_and_options_that_exist(line: str) -> None:
    """Each example parses with the command's own parser, which knows every option it names."""
    _, *words = shlex.split(line)
    group = get_command(app)
    if not words or words[0].startswith("-"):
        assert set(words) <= {option for each in group.params for option in each.opts} | {"--help"}
        return
    name, *arguments = words
    if "--help" not in arguments:
        command = group.commands[name]  # type: ignore[attr-defined]  # it is a group
        command.make_context(name, arguments, resilient_parsing=True)


@pytest.mark.parametrize("name", SHELLS)
def test_completion_scripts_are_shown(name: str) -> None:
    """--show-completion, run below a shell, prints a script for that shell."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    script = _show(program)
    assert "_MIMIR_COMPLETE" in script
    assert "mimir" in script


def _show(program: str) -> str:
    """What `mimir --show-completion` prints below a shell."""
    command = f"{shlex.quote(sys.executable)} -m mimir_core.cli --show-completion; true"
    done = subprocess.run(
        [program, "-c", command], env=environment({}), capture_output=True, text=True, check=True
    )
    return done.stdout


def test_completion_in_bash_knows_commands_and_options(tmp_path: Path) -> None:
    """The script for bash, sourced, completes a command's name, an option and an option's value."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "mimir"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mimir_core.cli "$@"\n')
    program.chmod(0o755)
    asked = (("mimir", "rec"), ("mimir", "recall", "--expl"), ("mimir", "recall", "--mode", "d"))
    lines = [_show(bash)]
    for words in asked:
        lines.append(f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}")
        lines.append('_mimir_completion mimir; echo "${COMPREPLY[*]}"')
    env = environment({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    done = subprocess.run(
        [bash], input="\n".join(lines), env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["recall", "--explain", "dense"]
