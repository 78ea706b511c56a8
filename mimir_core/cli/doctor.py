"""`mimir doctor`: looks at everything that Mimir stands on, and says what to mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mimir_core.cli import options
from mimir_core.cli.checkup import Check, State, examine
from mimir_core.cli.console import console, print_json, say
from mimir_core.cli.exits import OTHER
from mimir_core.cli.render import cell, table

_STYLES = {State.OK: "green", State.NOTE: "yellow", State.FAULT: "bold red"}


def doctor(
    vault: Annotated[
        Path | None,
        typer.Argument(envvar="MIMIR_VAULT", help="A vault to look at from outside, too."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check model, SQLite, disk and versions, and say what to mend.

    Needs no passphrase and changes nothing. Exits with 1 if there is a fault.
    """
    checks = examine(vault)
    faults = [check for check in checks if check.state is State.FAULT]
    if as_json:
        print_json({"ok": not faults, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks, len(faults))
    if faults:
        raise typer.Exit(OTHER)


def _show(checks: Sequence[Check], faults: int) -> None:
    made = table("", "check", "found")
    for check in checks:
        found = cell(check.found)
        if check.mend:
            found.append_text(cell(f"\n→ {check.mend}", "cyan"))
        made.add_row(cell(check.state, _STYLES[check.state]), cell(check.name), found)
    made.columns[0].no_wrap = made.columns[1].no_wrap = True
    console().print(made)
    several = "1 thing needs" if faults == 1 else f"{faults} things need"
    say(f"{several} mending." if faults else "All is well.", "bold red" if faults else "bold green")
