"""Sessions at a terminal, as `transcripts/*.txt` has them, typed again.

A line that begins with "$ " is typed and what follows is what it prints; "# " explains. Ids are
numbered as they appear, so that a later line can name one: <id 1>. Figures that depend on the
machine are <n>, and white space is not compared.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from .shell import Shell

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
_ID = re.compile(r"\b[0-9a-f]{64}\b")
_FIGURES = tuple(
    re.compile(pattern)
    for pattern in (
        r"[+-]?\b\d+\.\d\d\b",  # scores and sizes
        r"\b[\d.]+(?= s, )|\b[\d,]+(?= a second)",
        r'(?<="score": )[-\d.e]+|(?<="spread": )[-\d.e]+',
        r'(?<="dense": )[-\d.e]+|(?<="lexical": )[-\d.e]+',
        r'(?<="log_bytes": )\d+|(?<="file_bytes": )\d+|(?<="commits": )\d+|(?<="tail": )\d+',
        r"(?<=commits)[ \d]+$|\b\d+(?= blocks)",
        r'(?<=model )[0-9a-f]{12}|(?<=")[0-9a-f]{12}(?=")',  # the model's digest
    )
)


class Terminal:
    """A folder in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shell = Shell(folder / "unnamed.mimir", {"MIMIR_VAULT": None})
        self.ids: list[str] = []

    def type(self, line: str, given: str) -> str:
        """What a line prints, normalised; `cat` makes the file that it shows."""
        line = re.sub(r"<id (\d+)>", lambda found: self.ids[int(found[1]) - 1], line)
        program, *words = shlex.split(line)
        if program == "export":
            self.shell.env.update([words[0].split("=", 1)])
            return ""
        if program == "cat":
            (self.folder / words[0]).write_text(given)
            return given
        assert program == "mimir"
        result = self.shell.run(*words)
        code = f"[exit {result.exit_code}]\n" if result.exit_code else ""
        return self._normal(result.output) + code

    def _normal(self, text: str) -> str:
        for id_ in _ID.findall(text):
            if id_ not in self.ids:
                self.ids.append(id_)
        text = _ID.sub(lambda found: f"<id {self.ids.index(found[0]) + 1}>", text)
        return "".join(f"{_plain(line)}\n" for line in text.splitlines())


def _plain(line: str) -> str:
    for figure in _FIGURES:
        line = figure.sub("<n>", line.rstrip())
    return line


def replay(transcript: str, folder: Path) -> str:
    """The transcript as it goes now."""
    terminal, said = Terminal(folder), ""
    for step in re.split(r"^(?=\$ |# )", transcript, flags=re.MULTILINE):
        line, _, given = step.partition("\n")
        said += f"{line}\n" if line else ""
        if line.startswith("$ "):
            said += terminal.type(line[2:], given)
    return said


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
def test_a_session_goes_as_written(
    file: Path, folder: Path, cheap_kdf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command prints what the transcript has, and ends with the exit code written there."""
    monkeypatch.chdir(folder)
    written = file.read_text(encoding="utf-8")
    went = replay(written, folder)
    assert [line.split() for line in went.splitlines()] == [
        line.split() for line in written.splitlines()
    ]
