"""The package: what it exports, when it is imported, and what it is called."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.vector_stores.types import BasePydanticVectorStore

import mimir_llamaindex
from mimir_llamaindex import MimirEmbedding, MimirRetriever, MimirVectorStore

ROOT = Path(__file__).parents[2]
NAMES = (
    "MimirChatStore", "MimirDocumentStore", "MimirEmbedding", "MimirFileSystem", "MimirIndexStore",
    "MimirIngestionCache", "MimirKVStore", "MimirMemoryBlock", "MimirRetriever", "MimirVectorStore",
    "content_id", "mimir_storage_context", "scrub_last",
)  # fmt: skip


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_there(name: str) -> None:
    """Each name can be imported from the package, and is listed."""
    assert getattr(mimir_llamaindex, name).__name__ == name
    assert name in mimir_llamaindex.__all__
    assert name in dir(mimir_llamaindex)


def test_all_is_complete() -> None:
    """`__all__` names what there is and nothing else, in order."""
    assert tuple(mimir_llamaindex.__all__) == NAMES


def test_unknown_names_are_attribute_errors() -> None:
    """What is not there is missing as in any module."""
    with pytest.raises(AttributeError, match="MimirGraph"):
        mimir_llamaindex.MimirGraph  # noqa: B018  # asking is the test


def test_the_version_is_that_of_the_distribution() -> None:
    """`__version__` is what pip knows."""
    try:
        known = version("mimir-sealed")
    except PackageNotFoundError:
        pytest.skip("the distribution is not installed")
    assert mimir_llamaindex.__version__ == known


def test_importing_the_package_imports_no_framework() -> None:
    """A class is imported when it is first used."""
    code = "import sys, mimir_llamaindex; print('llama_index' in sys.modules)"
    assert python(code).split() == ["False"]


def test_without_the_framework_the_extra_is_named() -> None:
    """Where LlamaIndex is missing, every class raises MissingExtra and says what to install."""
    needing = [name for name in NAMES if name != "scrub_last"]
    code = f"""
import sys
sys.modules["llama_index"] = sys.modules["fsspec"] = None
import mimir_llamaindex
for name in {needing}:
    try:
        getattr(mimir_llamaindex, name)
    except ImportError as error:
        print(f"{{type(error).__name__}}|{{error}}|{{error.name.split('.')[0] in sys.modules}}")
"""
    hint = "(pip install 'mimir-sealed[llamaindex]')"
    expected = [f"MissingExtra|{name} needs LlamaIndex {hint}|True" for name in needing]
    assert python(code).splitlines() == expected


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (MimirVectorStore, BasePydanticVectorStore),
        (MimirRetriever, BaseRetriever),
        (MimirEmbedding, BaseEmbedding),
    ],
)
def test_classes_extend_the_framework(kind: type, base: type) -> None:
    """A class is what the framework asks for, directly."""
    assert kind.__mro__[1] is base


@pytest.mark.parametrize("kind", [MimirVectorStore, MimirEmbedding])
def test_class_names_are_explicit(kind: type[MimirVectorStore]) -> None:
    """The name that caches and dumps use is the class's own."""
    assert "class_name" in vars(kind)
    assert kind.class_name() == kind.__name__


def test_names_of_parts_differ() -> None:
    """No two classes share a name, by which an ingestion's cache tells them apart."""
    kinds = [getattr(mimir_llamaindex, name) for name in NAMES]
    names = [kind.class_name() for kind in kinds if hasattr(kind, "class_name")]
    assert len(set(names)) == len(names)
