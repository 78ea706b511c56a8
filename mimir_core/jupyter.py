"""`%load_ext mimir_core.jupyter`: a vault at hand in IPython and Jupyter.

    %mimir open agent.mimir            asks for the passphrase, or takes MIMIR_PASSPHRASE
    %remember -t monday Ana's cat is called Pixel
    %recall -k 3 what is the cat's name?

The vault is the one that `%mimir` opened, or else the open `Mimir` among the notebook's variables.
`%%remember` and `%%recall` take the cell as their text. A passphrase is never an argument, so that
neither history nor notebook holds it; the texts of cells and what they show, a notebook does hold.
"""

from __future__ import annotations

import atexit
import getpass
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand

from mimir_core.cli import options
from mimir_core.cli.passphrase import VARIABLE
from mimir_core.cli.times import read_time
from mimir_core.errors import InvalidArgument, MimirError, NotAVault, VaultClosed, VaultExists
from mimir_core.intake import DEFAULT_NAMESPACE
from mimir_core.memory import Mimir
from mimir_core.results import Hits
from mimir_core.tracebacks import clear_locals

Options: TypeAlias = dict[str, list[str]]
Kind: TypeAlias = Literal["line", "line_cell"]

_USAGE = """\
%mimir                   the vault in use
%mimir open PATH         opens a vault; asks for its passphrase unless MIMIR_PASSPHRASE is set
%mimir create PATH       makes one; asks twice
%mimir use NAME          takes the Mimir of this variable
%mimir close             closes what %mimir opened
"""
_SHORT = {"-k": "k", "-m": "meta", "-n": "namespace", "-t": "thread", "-w": "where"}
_REMEMBER = {"namespace", "thread", "key", "meta", "time"}
_RECALL = {"k", "namespace", "thread", "where", "mode", "since", "until", "context"}
_OPTION = re.compile(r"""\s*(--?[a-z]+)[ =]+("[^"]*"|'[^']*'|\S+)\s*""")

_QUESTION = re.compile(
    r"^(?P<before>\s*(?:\w+\s*=\s*)?)%(?P<name>recall|remember)[ \t]+(?P<text>.*\?)[ \t]*(?=\n|$)"
)

_loaded: dict[InteractiveShell, Magics] = {}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Brings the magics; IPython calls it."""
    magics = _loaded[shell] = Magics(shell.user_ns)
    atexit.register(magics.close)
    kinds: dict[str, Kind] = {"mimir": "line", "remember": "line_cell", "recall": "line_cell"}
    for name, kind in kinds.items():
        magic = _magic(getattr(magics, name))
        shell.magics_manager.register_function(magic, kind, name)
    shell.input_transformers_cleanup.append(questions)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Closes what `%mimir` opened; IPython calls it."""
    magics = _loaded.pop(shell)
    shell.input_transformers_cleanup.remove(questions)
    atexit.unregister(magics.close)
    magics.close()


def questions(lines: list[str]) -> list[str]:
    """Keeps IPython from taking the question mark that ends a query for a call for help."""
    if lines and lines[0].startswith("%%"):
        return lines
    return [_QUESTION.sub(_call, line) for line in lines]


def _call(found: re.Match[str]) -> str:
    return f"{found['before']}get_ipython().run_line_magic({found['name']!r}, {found['text']!r})"


def _magic(method: Callable[..., object]) -> Callable[..., object]:
    """A method as a magic: its text is taken as it stands, and its errors are one line.

    A traceback could show the values of variables, a passphrase or a content among them.
    """

    @no_var_expand
    def magic(line: str, cell: str | None = None) -> object:
        try:
            return method(line) if cell is None else method(line, cell)
        except MimirError as error:
            clear_locals(error)  # which hangs on the one that follows
            raise UsageError(str(error)) from None

    magic.__doc__ = method.__doc__
    return magic


class Magics:
    """The magics of one shell, and the vault they work on.

    Args:
        variables: The notebook's.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._opened: Mimir | None = None
        self._chosen: Mimir | None = None

    def close(self) -> None:
        """Closes the vault that `%mimir` opened, if any."""
        opened, self._opened, self._chosen = self._opened, None, None
        if opened is not None:
            opened.close()

    # The magics

    def mimir(self, line: str) -> Mimir | None:
        """%mimir [open PATH | create PATH | use NAME | close]"""
        verb, _, rest = line.strip().partition(" ")
        name = _unquoted(rest.strip())
        if not verb:
            return self._vault()
        if verb == "close" and not name:
            self.close()
            return None
        if verb not in ("open", "create", "use") or not name:
            raise UsageError(f"what it takes is:\n{_USAGE}")
        return self._use(name) if verb == "use" else self._open(verb, Path(name))

    def remember(self, line: str, cell: str | None = None) -> str:
        """%remember [-n A.B] [-t THREAD] [--key KEY] [-m NAME=VALUE]... [--time TIME] TEXT

        Stores a memory and returns its id; `%%remember` takes the cell as the text."""
        given, text = _split(line, cell, _REMEMBER)
        time = _last(given, "time")
        return self._vault().remember(
            text,
            namespace=options.labels(_last(given, "namespace")) or DEFAULT_NAMESPACE,
            thread=_last(given, "thread"),
            key=_last(given, "key"),
            metadata=options.metadata(given.get("meta", ())),
            time=None if time is None else read_time(time),
        )

    def recall(self, line: str, cell: str | None = None) -> Hits:
        """%recall [-k N] [-n A.B] [-t THREAD] [-w FILTER]... [--mode MODE] [--since TIME]
        [--until TIME] [--context N] QUERY

        Finds memories; `%%recall` takes the cell as the query."""
        given, query = _split(line, cell, _RECALL)
        selection = options.selection(
            _last(given, "thread"), given.get("where"), _last(given, "since"), _last(given, "until")
        )
        return self._vault().recall(
            query,
            k=_number(given, "k", 5),
            mode=_last(given, "mode") or "hybrid",
            namespace=options.labels(_last(given, "namespace")) or DEFAULT_NAMESPACE,
            neighbours=_number(given, "context", 0),
            **selection,
        )

    # The vault in use

    def _open(self, verb: str, path: Path) -> Mimir:
        path = path.expanduser()
        if verb == "create" and path.exists():
            raise VaultExists("something already exists at this path")
        if verb == "open" and not path.exists():  # known before anyone types a passphrase
            raise NotAVault("there is no vault at this path")
        make = Mimir.create if verb == "create" else Mimir.open
        opened = make(path, _passphrase(twice=verb == "create"))
        self.close()
        self._opened = opened
        return opened

    def _use(self, name: str) -> Mimir:
        found = self._variables.get(name)
        if not isinstance(found, Mimir):
            raise InvalidArgument("no variable of that name holds a Mimir")
        self._chosen = found
        return found

    def _vault(self) -> Mimir:
        for known in (self._chosen, self._opened):
            if known is not None and _is_open(known):
                return known
        vaults = {id(each): each for each in self._variables.values() if isinstance(each, Mimir)}
        found = [each for each in vaults.values() if _is_open(each)]
        if len(found) == 1:
            return found[0]
        hint = "`%mimir use NAME` says which" if found else "`%mimir open PATH` opens one"
        raise InvalidArgument("several vaults are open" if found else "no vault is open", hint=hint)


def _is_open(mimir: Mimir) -> bool:
    try:
        mimir.namespaces()
    except VaultClosed:
        return False
    return True


def _passphrase(*, twice: bool) -> str:
    """From MIMIR_PASSPHRASE, or asked for without echo. Raises InvalidArgument."""
    if (value := os.environ.get(VARIABLE)) is not None:
        return value
    try:
        passphrase = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("Passphrase again: ") != passphrase:
            raise InvalidArgument("the two passphrases differ", hint="try again")
    except (StdinNotImplementedError, EOFError):
        hint = f"set {VARIABLE} before the notebook is run"
        raise InvalidArgument("nobody can be asked for the passphrase", hint=hint) from None
    return passphrase


# Options before a text


def _split(line: str, cell: str | None, known: set[str]) -> tuple[Options, str]:
    """The options at the beginning of a line, and the text: what follows them, then the cell.

    Raises:
        InvalidArgument: an option is unknown, or there is no text.
    """
    given: Options = {}
    while found := _OPTION.match(line):
        name = _SHORT.get(found[1], found[1].removeprefix("--"))
        if name not in known:
            hint = f"there are {', '.join(sorted(known))}; -- goes before a text with a dash"
            raise InvalidArgument("an option is unknown", hint=hint)
        given.setdefault(name, []).append(_unquoted(found[2]))
        line = line[found.end() :]
    text = line.removeprefix("-- ").strip() if cell is None else f"{line}\n{cell}".strip()
    if not text:
        raise InvalidArgument("there is no text", hint="write it after the options")
    return given, text


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _last(given: Options, name: str) -> str | None:
    return given.get(name, [None])[-1]


def _number(given: Options, name: str, default: int) -> int:
    value = _last(given, name)
    if value is None:
        return default
    if not value.isdecimal():
        raise InvalidArgument(f"{name} is a whole number")
    return int(value)
