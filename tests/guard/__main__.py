"""Watch a program: `python -m tests.guard LOG FOLDER COMMAND...`.

Each attempt to reach another machine, to look up a name, or to write a file outside of FOLDER
becomes a line of JSON in LOG, and the exit status of COMMAND the last one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from .calls import Judge
from .filters import install, machine
from .supervisor import forward_signals, supervise


def main(log: Path, folder: Path, command: list[str]) -> int:
    """Runs the command to its end; returns its exit status."""
    here = machine()
    assert here is not None
    with log.open("a", encoding="utf-8") as noted:
        listener = install(files=True)
        child = os.fork()
        if child == 0:
            os.close(listener)
            os.execvp(command[0], command)
        forward_signals(child)
        status = supervise(listener, child, Judge(here, folder.resolve()), noted)
        print(json.dumps({"exit": status}), file=noted, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
