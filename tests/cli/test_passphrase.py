"""Where the passphrase comes from, and what happens when it is wrong."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mimir_core.cli.passphrase import read_new_passphrase, read_passphrase

from .shell import PASSPHRASE, Shell, environment


def test_passwd_replaces_the_passphrase(shell: Shell) -> None:
    """After passwd the old passphrase opens nothing and the new one everything."""
    shell.ok("remember", "the tea is green")
    assert shell.run("passwd", MIMIR_NEW_PASSPHRASE="another").exit_code == 0
    refused = shell.run("stats")
    assert refused.exit_code == 3
    assert "passphrase" in refused.stderr
    assert PASSPHRASE not in refused.output
    assert shell.run("stats", MIMIR_PASSPHRASE="another").exit_code == 0


def test_a_file_gives_the_passphrase_and_goes_before_the_environment(
    shell: Shell, tmp_path: Path
) -> None:
    """The first line of the file counts; a file that others can read draws a warning."""
    file = tmp_path / "passphrase"
    file.write_bytes(PASSPHRASE.encode() + b"\r\nsecond line\n")
    file.chmod(0o644)
    result = shell.run("stats", "--json", "--passphrase-file", file, MIMIR_PASSPHRASE="wrong")
    assert result.exit_code == 0
    assert "warning" in result.stderr
    assert "chmod" in result.stderr
    file.chmod(0o600)
    new = tmp_path / "new"
    new.write_text("another\n")
    new.chmod(0o600)
    result = shell.run("passwd", "--passphrase-file", file, "--new-passphrase-file", new)
    assert (result.exit_code, result.stderr) == (0, "")
    assert shell.run("stats", "--passphrase-file", new).exit_code == 0
    for unusable in (tmp_path / "missing", tmp_path):
        assert shell.run("stats", "--passphrase-file", unusable).exit_code == 2


def test_what_is_started_later_inherits_no_passphrase(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both variables leave the environment once they count, used or not."""
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE)
    file.chmod(0o600)
    for given in (None, file):
        monkeypatch.setenv("MIMIR_PASSPHRASE", PASSPHRASE)
        monkeypatch.setenv("MIMIR_NEW_PASSPHRASE", PASSPHRASE)
        assert read_passphrase(given) == read_new_passphrase(given) == PASSPHRASE
        seen = subprocess.run(["env"], capture_output=True, check=True).stdout
        leaked = PASSPHRASE.encode() in seen
        assert not leaked


ASK = """
import ctypes, resource
from mimir_core.cli import app

def tell(*args, **kwargs):
    print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))

app.app = tell
app.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_commands_memory_is_dumped_nowhere() -> None:
    """The limit of core files is nothing, and the process is not dumpable; ours stays as it is."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0"]
    import_alone = ASK.replace("app.main()", "tell()")
    done = subprocess.run(
        [sys.executable, "-c", import_alone], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(before[0]), "1"]


def test_a_byte_order_mark_is_no_part_of_a_passphrase(shell: Shell, tmp_path: Path) -> None:
    """A file as editors on Windows write it opens the vault; UTF-16 is refused, not guessed."""
    file = tmp_path / "passphrase"
    file.touch(mode=0o600)
    file.write_bytes(b"\xef\xbb\xbf" + PASSPHRASE.encode() + b"\r\n")
    assert shell.run("stats", "--passphrase-file", file).exit_code == 0
    for encoding in ("utf-16", "utf-16-be", "utf-32", "utf-32-be"):
        file.write_bytes(f"\ufeff{PASSPHRASE}\n".encode(encoding))
        refused = shell.run("stats", "--passphrase-file", file)
        assert refused.exit_code == 2
        assert "UTF-8" in refused.stderr
        assert PASSPHRASE not in refused.output


def test_a_byte_order_mark_is_no_part_of_what_is_remembered(shell: Shell) -> None:
    """Standard input is stored without its mark; UTF-16 is refused."""
    shell.ok("remember", "-", stdin=b"\xef\xbb\xbftea is green\r\n")
    (found,) = shell.json("recall", "tea")
    assert found["text"] == "tea is green"
    assert shell.run("remember", "-", stdin="\ufefftea".encode("utf-16-le")).exit_code == 2


def test_without_a_terminal_a_missing_passphrase_is_an_error(tmp_path: Path) -> None:
    """No file, no variable, no terminal: exit code 2 and a hint, and no vault was made."""
    shell = Shell(tmp_path / "agent.mimir", {"MIMIR_PASSPHRASE": None})
    code, out, err = shell.outside("create", shell.vault)
    assert (code, out) == (2, "")
    assert "MIMIR_PASSPHRASE" in err
    assert not shell.vault.exists()


def test_what_is_no_vault_is_said_before_any_passphrase(tmp_path: Path) -> None:
    """A missing file, a file of something else and an existing file each have their own error."""
    shell = Shell(tmp_path / "nothing.mimir", {"MIMIR_PASSPHRASE": None})
    assert shell.run("stats").exit_code == 3
    other = tmp_path / "other.txt"
    other.write_text("not a vault")
    assert shell.run("stats", "--vault", other, MIMIR_PASSPHRASE="x").exit_code == 3
    assert shell.run("create", other).exit_code == 2
    assert other.read_text() == "not a vault"
    assert shell.run("stats", MIMIR_VAULT=None).exit_code == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
def test_a_terminal_is_asked_without_echo(tmp_path: Path) -> None:
    """create asks twice at a terminal, shows nothing of it, and refuses two that differ."""
    vault = tmp_path / "agent.mimir"
    differ, code = _typed([b"one", b"two"], "create", vault)
    assert code == 2
    assert b"differ" in differ
    assert not vault.exists()
    secret = PASSPHRASE.encode()
    shown, code = _typed([secret, secret], "create", vault)
    assert code == 0, shown
    assert secret not in shown
    shown, code = _typed([secret], "stats", "--vault", vault)
    assert code == 0, shown
    assert b"memories" in shown


def _typed(answers: list[bytes], *args: object) -> tuple[bytes, int]:
    """Runs mimir at a terminal and answers its prompts: what was shown, and the exit code."""
    command = [sys.executable, "-m", "mimir_core.cli", *map(str, args)]
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, environment({"MIMIR_PASSPHRASE": None, "MIMIR_VAULT": None}))
    shown, waiting = b"", list(answers)
    while piece := _read(terminal):
        shown += piece
        if waiting and shown.count(b": ") > len(answers) - len(waiting):
            os.write(terminal, waiting.pop(0) + b"\n")
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side has closed
        return b""
