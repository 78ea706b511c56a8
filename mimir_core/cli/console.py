"""What reaches the terminal: safe text, errors, warnings, JSON."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from typing import Any

from rich.console import Console
from rich.text import Text

from mimir_core.errors import MimirError

# C0 and C1 controls but the newline, DEL, and the characters that reorder or hide text
# (Unicode TR 36, 3.1): stored text is somebody else's, and must not drive the terminal.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_DEL = "\x7f"
_PICTURES = 0x2400  # of U+0000 to U+001F


def safe(text: str) -> str:
    """Text that a terminal only shows: a control character becomes its picture or its number."""
    return _UNSAFE.sub(lambda found: _visible(found[0]), text)


def _visible(char: str) -> str:
    if char == "\t":
        return "    "
    if char == _DEL:
        return "\u2421"
    return chr(_PICTURES + ord(char)) if char < " " else f"<U+{ord(char):04X}>"


def console() -> Console:
    """Standard output as it is now: coloured on a terminal, plain and 80 wide in a pipe."""
    return Console(highlight=False, markup=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """Prints text of our own or of the vault's, made safe."""
    console().print(Text(safe(text), style=style), soft_wrap=True)


def warn(message: str) -> None:
    """Prints a warning on standard error."""
    _to_stderr("warning: ", message, "yellow")


def show_error(error: MimirError) -> None:
    """Prints what happened and what to do about it on standard error."""
    _to_stderr("error: ", str(error.args[0]), "bold red")
    if error.hint:
        _to_stderr("hint: ", error.hint, "cyan")


def _to_stderr(label: str, message: str, style: str) -> None:
    text = Text.assemble((label, style), safe(message))
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints one JSON value on one line, in ASCII, so that no byte of it drives a terminal."""
    print(to_json(value))


def to_json(value: Any) -> str:
    """JSON in ASCII; dates as ISO 8601, bytes as base64."""
    return json.dumps(value, default=_plain, allow_nan=False).replace(_DEL, "\\u007f")


def _plain(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")
