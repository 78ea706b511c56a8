"""Importing the package needs no framework; a class that lacks its own names the extra."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mimir_langchain

ROOT = Path(__file__).parents[2]
BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import mimir_langchain
"""
EXTRAS = {
    "MimirByteStore": "langchain",
    "MimirCache": "langchain",
    "MimirChatMessageHistory": "langchain",
    "MimirEmbeddings": "langchain",
    "MimirMemory": "langchain",
    "MimirMemoryMiddleware": "langgraph",
    "MimirRetriever": "langchain",
    "MimirSaver": "langgraph",
    "MimirStore": "langgraph",
    "MimirSummaryMemory": "langchain",
    "MimirVectorStore": "langchain",
}
CORE_ALONE = [name for name in EXTRAS if name not in ("MimirMemory", "MimirSummaryMemory")
              and EXTRAS[name] == "langchain"]  # fmt: skip


def without(blocked: set[str], code: str) -> str:
    """What a fresh process without these packages prints."""
    command = [sys.executable, "-c", BLOCK.format(blocked=blocked) + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_class_loads_and_is_listed() -> None:
    """All names of `__all__` are there, each the class of its name, and nothing else is."""
    assert mimir_langchain.__all__ == sorted(EXTRAS)
    assert set(EXTRAS) <= set(dir(mimir_langchain))
    for name in mimir_langchain.__all__:
        assert getattr(mimir_langchain, name).__name__ == name
    with pytest.raises(AttributeError):
        mimir_langchain.MimirCrystalBall  # noqa: B018  # reading it is what is tested


def test_importing_loads_no_framework() -> None:
    """The package itself imports neither LangChain nor Mimir's core."""
    code = "print(sorted({name.split('.')[0] for name in sys.modules}))"
    shown = without(set(), code)
    assert "mimir_langchain" in shown
    assert not any(name in shown for name in ("'langchain_core'", "'langgraph'", "'mimir_core'"))


FRAMEWORKS = {"langchain_classic", "langchain", "langgraph"}
LACKING = [(name, FRAMEWORKS | {"langchain_core"}) for name in EXTRAS] + [
    (name, FRAMEWORKS) for name in EXTRAS if name not in CORE_ALONE
]


@pytest.mark.parametrize(("name", "blocked"), LACKING)
def test_a_class_that_lacks_its_framework_names_the_extra(name: str, blocked: set[str]) -> None:
    """A class whose framework is not installed raises MissingExtra, which names the extra."""
    code = f"""
try:
    mimir_langchain.{name}
except ImportError as error:
    print(type(error).__name__, error.name.split(".")[0], error, sep="|")
"""
    kind, module, message = without(blocked, code).strip().split("|")
    assert (kind, module in blocked) == ("MissingExtra", True)
    assert message.endswith(f"(pip install 'mimir-sealed[{EXTRAS[name]}]')")


def test_langchain_core_is_enough_for_most() -> None:
    """Without langgraph and langchain-classic, the classes that need neither load."""
    code = f"print([getattr(mimir_langchain, name).__name__ for name in {CORE_ALONE}])"
    assert without(FRAMEWORKS, code).strip() == str(CORE_ALONE)


def test_an_error_inside_is_not_taken_for_a_missing_extra() -> None:
    """A module of Mimir that is missing is reported as such."""
    code = """
mimir_langchain._HOMES["MimirRetriever"] = ("nowhere", "langchain")
try:
    mimir_langchain.MimirRetriever
except ModuleNotFoundError as error:
    print(error)
"""
    assert "mimir_langchain.nowhere" in without(set(), code)


def test_it_knows_its_version() -> None:
    """The version is that of the installed distribution."""
    try:
        installed = metadata.version("mimir-sealed")
    except metadata.PackageNotFoundError:
        pytest.skip("mimir-sealed runs from its source tree")
    assert mimir_langchain.__version__ == installed


def test_it_ships_its_types() -> None:
    """The marker of PEP 561 is there."""
    assert Path(mimir_langchain.__file__).with_name("py.typed").exists()
