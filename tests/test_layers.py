"""The layers of design and what each may import, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = (ROOT / "mimir_core" / "embedding" / "build", ROOT / "mimir_core" / "build_hook.py")

FACADE = ("memory", "recall", "intake", "scope", "reading", "repair", "results",
          "searched", "seen", "lookup", "mentions", "forgetting", "graph", "display")
PEERS = ("dag", "index", "embedding", "storage")
GROUND = ("types", "encoding", "quiet", "tracebacks")
RANKS = (
    {"mimir_langchain": 6, "mimir_llamaindex": 6, "mimir_core.cli": 5, "mimir_core.jupyter": 6,
     "mimir_core": 4}
    | dict.fromkeys((f"mimir_core.{name}" for name in FACADE), 4)
    | {"mimir_core.vault": 3}
    | dict.fromkeys((f"mimir_core.{name}" for name in PEERS), 2)
    | {"mimir_core.crypto": 1}
    | dict.fromkeys((f"mimir_core.{name}" for name in GROUND), 0)
    | {"mimir_core.errors": -1}
)
ADAPTERS = ("mimir_langchain", "mimir_llamaindex")
PUBLIC = "mimir_core"
"""The package itself is the facade's list of public names, and all that adapters may know."""

ONLY = {
    "cryptography": "mimir_core.crypto",
    "nacl": "mimir_core.crypto",
    "argon2": "mimir_core.crypto",
    "sqlite3": "mimir_core.storage",
    "onnxruntime": "mimir_core.embedding",
    "tokenizers": "mimir_core.embedding",
    "hnswlib": "mimir_core.index",
    "msgpack": "mimir_core.encoding",
}
ELSEWHERE = {
    ("mimir_core.cli.demo", "sqlite3"): "the demo makes a plain table to compare with",
    ("mimir_core.cli.checkup", "sqlite3"): "the doctor asks what SQLite can do",
}
NETWORK = {"socket", "ssl", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib"}


def modules() -> list[Path]:
    """Every module that is part of the product at run time."""
    found = [path for top in ("mimir_core", *ADAPTERS) for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in found if not {path, *path.parents} & set(BUILD))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """The dotted names a module imports, `from package import module` resolved to the module."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, node.module] if node.module else above)
            source = base if node.level else str(node.module)
            for alias in node.names:
                inner = ROOT / Path(*source.split("."), alias.name)
                is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
                yield f"{source}.{alias.name}" if is_module else source


def layer_of(name: str) -> str | None:
    """The layer a dotted name belongs to; None for what is not ours."""
    parts = name.split(".")
    if parts[0] in ADAPTERS:
        return parts[0]
    return None if parts[0] != PUBLIC else ".".join(parts[:2])


def is_allowed(importer: str, imported: str) -> bool:
    """Whether a layer may import another."""
    if importer == imported:
        return True
    if importer in ADAPTERS or importer == "mimir_core.cli":
        known = (PUBLIC, "mimir_core.errors", "mimir_core.types", "mimir_core.memory")
        return imported in known or (
            importer == "mimir_core.cli" and imported not in ADAPTERS
            and RANKS[imported] < RANKS[importer]
        )  # fmt: skip
    facade = RANKS[importer] == RANKS[imported] == RANKS[PUBLIC]
    return RANKS[imported] < RANKS[importer] or (facade and imported != PUBLIC)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_layer_imports_only_what_stands_below_it(path: Path) -> None:
    """No module imports a layer above its own, or a peer beside it."""
    importer = layer_of(name_of(path))
    assert importer in RANKS, f"{importer} has no place in the layers"
    wrong = [
        name
        for name in imports(path)
        if (layer := layer_of(name)) is not None and not is_allowed(importer, layer)
    ]
    assert not wrong


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_library_is_imported_where_it_belongs(path: Path) -> None:
    """Crypto libraries, SQLite and native parsers each have one package that imports them."""
    name = name_of(path)
    wrong = [
        found
        for found in imports(path)
        if (home := ONLY.get(found.split(".")[0])) and not f"{name}.".startswith(f"{home}.")
        and (name, found) not in ELSEWHERE
    ]
    assert not wrong


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nothing_reaches_for_the_network(path: Path) -> None:
    """No module that runs after installation imports a networking module."""
    assert not [name for name in imports(path) if name.split(".")[0] in NETWORK]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_stay_small(path: Path) -> None:
    """No module is longer than 450 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


def test_the_rule_sees_a_breach() -> None:
    """The rule itself refuses what it must: a peer beside, a layer above, an adapter inside."""
    assert not is_allowed("mimir_core.storage", "mimir_core.index")
    assert not is_allowed("mimir_core.crypto", "mimir_core.dag")
    assert not is_allowed("mimir_core.vault", "mimir_core.memory")
    assert not is_allowed("mimir_langchain", "mimir_llamaindex")
    assert not is_allowed("mimir_langchain", "mimir_core.vault")
    assert is_allowed("mimir_core.vault", "mimir_core.crypto")
