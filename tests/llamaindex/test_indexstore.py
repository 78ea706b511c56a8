"""The index store keeps index structs, so that an index can be loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core.data_structs.data_structs import (
    IndexDict,
    IndexGraph,
    IndexList,
    IndexStruct,
    KeywordTable,
)
from llama_index.core.storage.index_store.keyval_index_store import KVIndexStore

from mimir_core import Mimir
from mimir_llamaindex import MimirIndexStore

from ..vault.vaults import create, reopen
from .conftest import ASYNC, Call
from .watched import Watched, found_in

ASYNC["add_index_struct"] = "async_add_index_struct"
ASYNC["index_structs"] = "async_index_structs"

STRUCTS: list[IndexStruct] = [
    IndexGraph(index_id="graph", all_nodes={0: "a", 1: "b"}, root_nodes={0: "a"}),
    IndexDict(index_id="dict", summary="of all", nodes_dict={"v1": "n1"}),
    IndexList(index_id="list", nodes=["n1", "n2"]),
    KeywordTable(index_id="keywords", table={"cat": {"n1", "n2"}}),
]


@pytest.fixture
def structs(mimir: Mimir) -> MimirIndexStore:
    """An empty store."""
    return MimirIndexStore(mimir)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.index_id)
async def test_comes_back(structs: MimirIndexStore, call: Call, struct: IndexStruct) -> None:
    """A struct of any kind comes back equal, by its id or as the only one."""
    await call(structs.add_index_struct, struct)
    assert await call(structs.get_index_struct, struct.index_id) == struct
    assert await call(structs.get_index_struct) == struct
    assert await call(structs.index_structs) == [struct]


async def test_many(structs: MimirIndexStore, call: Call) -> None:
    """Structs stay apart by id; one of a known id replaces it; a deleted one is gone."""
    for struct in STRUCTS:
        await call(structs.add_index_struct, struct)
    assert await call(structs.index_structs) == STRUCTS
    changed = IndexList(index_id="list", nodes=["n3"])
    await call(structs.add_index_struct, changed)
    assert await call(structs.get_index_struct, "list") == changed
    await call(structs.delete_index_struct, "list")
    assert await call(structs.get_index_struct, "list") is None
    assert len(await call(structs.index_structs)) == 3


async def test_off_the_event_loop(mimir: Mimir) -> None:
    """The async methods leave the event loop's thread alone."""
    watched = Watched(mimir)
    structs = MimirIndexStore(watched)  # type: ignore[arg-type]  # it does all that a Mimir does
    watched.threads.clear()
    await structs.async_add_index_struct(STRUCTS[0])
    assert await structs.aget_index_struct() == STRUCTS[0]
    await structs.adelete_index_struct("graph")
    assert watched.worked_elsewhere()


def test_lasts_and_is_sealed(path: Path, tmp_path: Path) -> None:
    """Opened again, everything is there; no file shows any of it, and `persist` writes none."""
    struct = IndexDict(index_id="axolotlindex", summary="axolotlsummary")
    with create(path) as mimir:
        structs = MimirIndexStore(mimir)
        structs.add_index_struct(struct)
        structs.persist(str(tmp_path / "index_store.json"))
    assert found_in(path.parent, "axolotlindex", "axolotlsummary") == {}
    assert list(tmp_path.iterdir()) == []
    with reopen(path) as mimir:
        assert MimirIndexStore(mimir).index_structs() == [struct]


def test_is_an_index_store(mimir: Mimir, structs: MimirIndexStore) -> None:
    """It is LlamaIndex's index store, true even when empty, and apart by namespace."""
    assert isinstance(structs, KVIndexStore)
    assert structs
    structs.add_index_struct(STRUCTS[0])
    assert MimirIndexStore(mimir, ("other",)).index_structs() == []
