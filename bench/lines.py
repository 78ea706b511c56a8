"""Files of JSON lines, checked: an error names the file and the line, never what stands there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mimir_core.cli.importing import open_lines
from mimir_core.errors import InputError, InvalidArgument

Line = dict[str, Any]
Checked = TypeVar("Checked")
KINDS = {str: "text", int: "a whole number", float: "a number", list: "a list"}


def read_objects(path: Path, check: Callable[[Line], Checked]) -> Iterator[Checked]:
    """What `check` makes of the object of each line, gzip or plain; blank lines are passed over.

    Raises:
        InvalidArgument: the file cannot be read or is empty, a line is not an object in JSON and
            UTF-8, or `check` raises an InputError for it.
    """
    if not path.is_file():
        raise InvalidArgument(f"{path.name} is no file", hint="check its path")
    empty = True
    with open_lines(path) as lines:
        for number, line in lines:
            try:
                checked = check(_read(line))
            except InputError as error:
                where = f"{path.name} line {number}"
                raise InvalidArgument(f"{where}: {error.args[0]}", hint=error.hint) from None
            empty = False
            yield checked
    if empty:
        raise InvalidArgument(f"{path.name} is empty")


def of_type(value: object, name: str, *kinds: type) -> Any:
    """A field's value, if it is of one of these types; truth is no number.

    Raises:
        InvalidArgument: it is missing, null, or of another type.
    """
    if value is None:
        raise InvalidArgument(f"there is no {name}")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise InvalidArgument(f"{name} is not {' or '.join(KINDS[kind] for kind in kinds)}")
    return value


def text(value: object, name: str) -> str:
    """A field's value, if it is text, which may be blank.

    Raises:
        InvalidArgument: it is missing, no text, or holds surrogates.
    """
    found: str = of_type(value, name, str)
    try:
        found.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name} holds surrogates, which UTF-8 cannot encode") from None
    return found


def label(value: object, name: str) -> str:
    """A field's value as text, if it is a name: text that is not empty, or a whole number.

    Raises:
        InvalidArgument: it is missing or anything else.
    """
    found = str(of_type(value, name, str, int))
    if not found:
        raise InvalidArgument(f"{name} is empty")
    return found


def _read(line: bytes | InputError) -> Line:
    if isinstance(line, InputError):
        raise line
    return parse(line)


def parse(data: bytes) -> Line:
    """An object in JSON and UTF-8.

    Raises:
        InvalidArgument: it is anything else, or holds NaN or an infinity.
    """
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError:
        raise InvalidArgument("not UTF-8") from None
    except (ValueError, RecursionError):
        raise InvalidArgument("not JSON") from None
    if not isinstance(found, dict):
        raise InvalidArgument("not a JSON object")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
