"""The magics, in an IPython shell of their own."""

from __future__ import annotations

import atexit
import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimir_core import KdfProfile, Mimir
from mimir_core.errors import VaultClosed
from mimir_core.results import Hits

pytest.importorskip("IPython", reason="the magics come with the notebook extra")
from IPython.core.error import UsageError  # after the check that it is there
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

PASSPHRASE = "a passphrase for tests"


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `%mimir` make and open vaults of the test cost."""
    for method in (Mimir.create, Mimir.open):
        defaults: dict[str, object] = method.__func__.__kwdefaults__  # type: ignore[attr-defined]
        monkeypatch.setitem(defaults, "profile", KdfProfile.INSECURE_FOR_TESTS)


@pytest.fixture
def ipython(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[InteractiveShell]:
    """A shell with the extension loaded; the folder is the current one."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.delenv("MIMIR_PASSPHRASE", raising=False)
    shell = InteractiveShell(config=Config({"HistoryManager": {"hist_file": ":memory:"}}))
    shell.run_line_magic("load_ext", "mimir_core.jupyter")
    yield shell
    shell.run_line_magic("unload_ext", "mimir_core.jupyter")
    atexit.unregister(shell.atexit_operations)


def run(shell: InteractiveShell, source: str) -> object:
    """What a cell ends in; its error, if it has one."""
    result = shell.run_cell(source, store_history=True)
    if result.error_in_exec is not None:
        raise result.error_in_exec
    return result.result


def test_a_vault_is_made_opened_used_and_closed(
    ipython: InteractiveShell, cheap: None, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """create asks twice, open once; what one cell remembers the next recalls; close closes."""
    asked: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt: asked.append(prompt) or PASSPHRASE)
    made = run(ipython, "%mimir create agent.mimir")
    assert isinstance(made, Mimir)
    id_ = run(ipython, "%remember -t monday -m speaker=Ana Ana's cat is called {Pixel} for $5")
    assert made.get(str(id_)).text == "Ana's cat is called {Pixel} for $5"
    run(ipython, "%mimir close")
    with pytest.raises(VaultClosed):
        made.stats()
    run(ipython, "%mimir open agent.mimir")
    run(ipython, "hits = %recall -k 1 -t monday -w speaker=Ana what is the cat's name?")
    hits = ipython.user_ns["hits"]
    assert isinstance(hits, Hits)
    assert [hit.id for hit in hits] == [id_]
    assert asked == ["Passphrase: ", "Passphrase again: ", "Passphrase: "]
    history = " ".join(line for *_, line in ipython.history_manager.get_range())
    assert "%mimir open" in history
    assert PASSPHRASE not in history


def test_the_environment_gives_the_passphrase(
    ipython: InteractiveShell, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With MIMIR_PASSPHRASE set nobody is asked; a wrong one is one line without it."""
    monkeypatch.setenv("MIMIR_PASSPHRASE", PASSPHRASE)
    run(ipython, "%mimir create agent.mimir")
    monkeypatch.setenv("MIMIR_PASSPHRASE", "wrong")
    with pytest.raises(UsageError, match="passphrase") as refused:
        run(ipython, "%mimir open agent.mimir")
    assert "wrong one" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_cells_are_texts(ipython: InteractiveShell, mimir: Mimir) -> None:
    """%%remember and %%recall take the whole cell, options in their first line."""
    ipython.user_ns["mimir"] = mimir
    id_ = str(run(ipython, "%%remember --key note -n alice.notes\nfirst line\n\nsecond line\n"))
    assert mimir.get(key="note", namespace=("alice", "notes")).text == "first line\n\nsecond line"
    hits = run(ipython, "%%recall -n alice.notes\nsecond\nline\n")
    assert [hit.id for hit in hits] == [id_]  # type: ignore[attr-defined]  # they are hits


def test_an_open_variable_is_picked_up(
    ipython: InteractiveShell, mimir: Mimir, folder: Path
) -> None:
    """The one open Mimir among the variables is used; of several, `%mimir use` says which."""
    with pytest.raises(UsageError, match="no vault is open"):
        run(ipython, "%recall anything")
    ipython.user_ns["first"] = mimir
    assert run(ipython, "%mimir") is mimir
    other = Mimir.create(folder / "other.mimir", PASSPHRASE, profile=KdfProfile.INSECURE_FOR_TESTS)
    ipython.user_ns["second"] = other
    with pytest.raises(UsageError, match="several"):
        run(ipython, "%remember where does it go?")
    run(ipython, "%mimir use second")
    run(ipython, "%remember here")
    assert (other.stats().memories, mimir.stats().memories) == (1, 0)
    other.close()
    assert run(ipython, "%mimir") is mimir


@pytest.mark.parametrize(
    "source",
    [
        "%mimir dance", "%mimir open", "%mimir open missing.mimir", "%mimir use nothing",
        "%remember", "%remember -t monday", "%remember --dance x y", "%recall -k many tea",
        "%recall -w ((( tea", "%recall -k 0 tea", "%remember -n a..b tea",
    ],
)  # fmt: skip
def test_bad_lines_are_one_line_errors(
    ipython: InteractiveShell, mimir: Mimir, source: str
) -> None:
    """What cannot be read is a UsageError without a traceback, and nothing is stored."""
    ipython.user_ns["mimir"] = mimir
    with pytest.raises(UsageError) as refused:
        run(ipython, source)
    assert "tea" not in str(refused.value)
    assert mimir.stats().memories == 0


def test_a_text_may_begin_with_a_dash(ipython: InteractiveShell, mimir: Mimir) -> None:
    """Numbers are no options, and -- ends the options."""
    ipython.user_ns["mimir"] = mimir
    assert mimir.get(str(run(ipython, "%remember -5 degrees"))).text == "-5 degrees"
    assert mimir.get(str(run(ipython, "%remember -- -x marks it"))).text == "-x marks it"


def test_a_question_is_no_call_for_help(
    ipython: InteractiveShell, mimir: Mimir, capsys: pytest.CaptureFixture[str]
) -> None:
    """A query may end in a question mark, in a line, an assignment or a loop; %recall? is help."""
    ipython.user_ns["mimir"] = mimir
    mimir.remember("the tea is green")
    assert run(ipython, "%recall is the tea green?") == mimir.recall("is the tea green?")
    run(ipython, "for _ in range(2):\n    hits = %recall is the tea green?\n")
    assert len(ipython.user_ns["hits"]) == 1
    assert run(ipython, "%%recall\n%recall is the tea green?") == mimir.recall("tea green")
    capsys.readouterr()
    run(ipython, "%recall?")
    assert "QUERY" in capsys.readouterr().out
