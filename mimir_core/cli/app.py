"""`mimir`: the program, its commands, and how errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from mimir_core.cli import reading, writing
from mimir_core.cli.console import show_error, warn
from mimir_core.cli.demo import demo
from mimir_core.cli.doctor import doctor
from mimir_core.cli.examples import OVERVIEW, epilog, examples
from mimir_core.cli.exits import INTERRUPTED, exit_code
from mimir_core.cli.hardening import forbid_dumps
from mimir_core.errors import MimirError, StorageFailed

COMMANDS: dict[str, Callable[..., None]] = {
    "create": writing.create,
    "remember": writing.remember,
    "recall": reading.recall,
    "forget": writing.forget,
    "import": writing.import_,
    "export": reading.export,
    "thread": reading.thread,
    "stats": reading.stats,
    "verify": reading.verify,
    "passwd": writing.passwd,
    "doctor": doctor,
    "demo": demo,
}


class _Group(TyperGroup):
    """Turns errors into a message, a hint and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # typer brings its own copy of click, and its Context
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except MimirError as error:
            show_error(error)
            raise typer.Exit(exit_code(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever read the output has seen enough: typer ends in silence
            failure = StorageFailed(f"the system refused: {os.strerror(error.errno or 0)}")
            show_error(failure)
            raise typer.Exit(exit_code(failure)) from None
        except (KeyboardInterrupt, typer.Abort):
            warn("interrupted")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="mimir",
    cls=_Group,
    epilog=epilog(),
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show local variables, passphrases among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def overview(context: typer.Context) -> None:
    """Mimir: a private, encrypted, local memory for AI agents."""
    if context.invoked_subcommand is None:
        typer.echo(OVERVIEW)


for _name, _command in COMMANDS.items():
    app.command(_name, epilog=examples(_name))(_command)


def main() -> None:
    """The entry point of `mimir`."""
    forbid_dumps()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may know fewer characters
    app(prog_name="mimir")
