"""The tree of errors that every part raises from."""

from __future__ import annotations

import inspect

import pytest

from mimir_core import errors

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.MimirError)
]


def drawn_tree() -> dict[str, str]:
    """Name and parent of each error in the drawing at the top of the module."""
    parents: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        body = line.lstrip(" │├└─")
        depth = len(line) - len(body)
        if not body or not body[0].isupper() or depth < 4:
            continue
        name = body.split()[0]
        while stack and stack[-1][0] >= depth:
            stack.pop()
        parents[name] = stack[-1][1] if stack else ""
        stack.append((depth, name))
    return parents


def test_the_drawing_is_the_tree() -> None:
    """The tree drawn in the docstring holds every error, under its parent."""
    real = {kind.__name__: kind.__mro__[1].__name__ for kind in ALL}
    real["MimirError"] = ""
    assert drawn_tree() == real


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_documented_and_printable(kind: type[errors.MimirError]) -> None:
    """An error says what happened, and its hint follows in brackets."""
    assert kind.__doc__
    assert str(kind("it broke", hint="mend it")) == "it broke (mend it)"
    assert str(kind("it broke", hint="")) == "it broke"
    assert kind("it broke").hint == kind.default_hint


def test_bad_input_is_also_a_builtin_error() -> None:
    """Callers who know only the built-in errors catch ours as those."""
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.NotFound, LookupError)
    assert issubclass(errors.NotSerializable, TypeError)
    assert issubclass(errors.MissingExtra, ImportError)


def test_a_missing_extra_says_what_to_install() -> None:
    """The error made of a failed import names its module, what needs it, and the extra."""
    failed = ModuleNotFoundError("No module named 'harp'", name="harp")
    made = errors.MissingExtra.after(failed, "music needs a harp", "strings")
    assert str(made) == "music needs a harp (pip install 'mimir-sealed[strings]')"
    assert made.name == "harp"


@pytest.mark.parametrize(
    "kind", [k for k in ALL if issubclass(k, errors.VaultError) and k is not errors.VaultError]
)
def test_every_vault_error_says_what_to_do(kind: type[errors.MimirError]) -> None:
    """An error about the file carries a hint for the person at the terminal."""
    assert kind.default_hint
