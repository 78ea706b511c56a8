"""The command line, `mimir`. `mimir --help` lists the commands and the exit codes."""

from mimir_core.cli.app import main

__all__ = ["main"]
