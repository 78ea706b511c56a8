"""MimirSaver: what lies in the vault, what is outside it, and what damage does."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command
from ormsgpack import packb

from mimir_core import Mimir
from mimir_core.errors import NotSerializable, VaultClosed, VaultDamaged
from mimir_langchain import MimirSaver
from mimir_langchain.saver_records import pack, unpack

from ..vault.raw import flip, read_blocks
from ..vault.vaults import create, reopen
from .graphs import asking_graph, checkpoint, config, counting_graph, put

PLACE = ("langgraph", "checkpoints")
BEGIN = """
import sys
from pathlib import Path
from mimir_langchain import MimirSaver
from tests.langchain.graphs import asking_graph, config
from tests.vault.vaults import create
with create(Path(sys.argv[1])) as mimir:
    asking_graph(MimirSaver(mimir)).invoke({"said": [], "fixed": "f"}, config())
"""


def test_another_process_goes_on(path: Path) -> None:
    """A graph that one process left waiting is answered and ended in another."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", BEGIN, str(path)], cwd=root, check=True, timeout=120)
    with reopen(path) as mimir:
        done = asking_graph(MimirSaver(mimir)).invoke(Command(resume="yes"), config())
    assert done["said"] == ["hello", "you say yes"]


def test_no_canary_in_any_byte(folder: Path, path: Path) -> None:
    """Thread ids, namespaces, metadata, values, writes and channel names stand in no file."""
    with create(path) as mimir:
        saver = MimirSaver(mimir)
        where = {**config("canary-thread", "canary-ns"), "metadata": {"canary-field": "canary-m"}}
        stored = put(saver, where, {"run_id": "canary-run"}, **{"canary-channel": "canary-value"})
        saver.put_writes(stored, [("canary-write", "canary-value")], "canary-task", "canary-path")
        asking_graph(saver).invoke({"said": ["canary-said"], "fixed": "f"}, config("canary"))
        put(saver, put(saver, config("canary-deleted"), a=1), a="canary-value")
        saver.delete_thread("canary-deleted")
        assert len(list(saver.list(where))) == 1
        for file in folder.iterdir():
            if file.suffix != ".mimir":  # the open vault's own file must not be opened twice
                assert b"canary" not in file.read_bytes()
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert b"canary" not in path.read_bytes()


def test_every_flipped_block_is_noticed(path: Path, tmp_path: Path) -> None:
    """Whichever block is changed, what comes back is either whole or a typed error."""
    with create(path) as mimir:
        counting_graph(MimirSaver(mimir)).invoke({"said": [], "fixed": "x" * 20_000}, config())
        before = list(MimirSaver(mimir).list(None))
    noticed = 0
    for number in read_blocks(path):
        damaged = tmp_path / f"{number}.mimir"
        shutil.copy(path, damaged)
        flip(damaged, number)
        try:
            with reopen(damaged) as mimir:
                assert list(MimirSaver(mimir).list(None)) == before
        except VaultDamaged:
            noticed += 1
    assert noticed > 5  # the others are spare, or views that are built anew


def _without_length(record: bytes) -> bytes:
    return record[:-1]


def _no_record(record: bytes) -> bytes:
    return b"\0\0\0\1[" + record


def _no_sizes(record: bytes) -> bytes:
    return b"\0\0\0\2{}"


def _no_fields(record: bytes) -> bytes:
    return pack({}, b"", b"")


def _no_payload(record: bytes) -> bytes:
    return pack(unpack(record)[0])


def _no_checkpoint(record: bytes) -> bytes:
    header, (_, metadata) = unpack(record)
    return pack(header, packb(["a list"]), metadata)


DAMAGES = [_without_length, _no_record, _no_sizes, lambda _: b"", _no_fields, _no_payload,
           _no_checkpoint]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_record_is_an_error(
    mimir: Mimir, damage: Callable[[bytes], bytes]
) -> None:
    """Something else under a checkpoint's key raises instead of coming back as a checkpoint."""
    saver = MimirSaver(mimir)
    put(saver, config(), a=1)
    (thread,) = mimir.namespaces()
    (key,) = (key for key in mimir.keys(namespace=thread) if key.startswith("checkpoint "))
    record = bytes(mimir.get(key=key, namespace=thread).content)  # type: ignore[arg-type]
    unpack(record[1:])
    for content in (b"\0" + damage(record[1:]), b"\2" + record, "a text"):
        mimir.remember(content, key=key, namespace=thread)
        with pytest.raises(VaultDamaged):
            saver.get_tuple(config())
        with pytest.raises(VaultDamaged):
            list(saver.list(None))


def test_a_missing_value_is_an_error(mimir: Mimir) -> None:
    """A checkpoint one of whose values was taken away does not come back without it."""
    saver = MimirSaver(mimir)
    put(saver, config(), a=1)
    (thread,) = mimir.namespaces()
    (key,) = (key for key in mimir.keys(namespace=thread) if key.startswith("value "))
    mimir.forget(key=key, namespace=thread)
    with pytest.raises(VaultDamaged):
        saver.get_tuple(config())


def test_large_values(path: Path) -> None:
    """Values, writes and metadata over the core's limit for one memory come back whole."""
    large = bytes(range(256)) * (40 << 10)  # 10 MiB
    with create(path) as mimir:
        where = put(MimirSaver(mimir), config(), {"note": "n" * (9 << 20)}, a=large, b="small")
        MimirSaver(mimir).put_writes(where, [("w", large)], "task")
    with reopen(path) as mimir:
        found = MimirSaver(mimir).get_tuple(config())
        assert found is not None
        assert found.checkpoint["channel_values"] == {"a": large, "b": "small"}
        assert found.metadata["note"] == "n" * (9 << 20)
        assert found.pending_writes == [("task", "w", large)]
        assert mimir.verify().ok
        MimirSaver(mimir).delete_thread("t")
        assert mimir.stats().memories == 1


def test_savers_of_two_namespaces_are_apart(mimir: Mimir) -> None:
    """The same thread id in two namespaces, one below the other, is two threads."""
    savers = [MimirSaver(mimir, namespace=place) for place in ("users", ("users", "ana"))]
    for number, saver in enumerate(savers):
        put(saver, config(), {"run_id": "r"}, a=number)
    for number, saver in enumerate(savers):
        (only,) = saver.list(None)
        assert only.checkpoint["channel_values"] == {"a": number}
    savers[1].delete_thread("t")
    assert len(list(savers[0].list(None))) == 1
    assert list(savers[1].list(None)) == []


def test_runs_are_deleted_in_their_own_namespace(mimir: Mimir) -> None:
    """Deleting a run leaves the run of the same id of a saver in a namespace below."""
    upper, lower = (MimirSaver(mimir, namespace=place) for place in ("users", ("users", "ana")))
    made = checkpoint(a=1)
    for saver, run in ((upper, "r1"), (lower, "r2")):
        saver.put(config(), made, {"run_id": run}, made["channel_versions"])  # type: ignore[typeddict-unknown-key]
    upper.delete_for_runs(["r2"])
    assert len(list(upper.list(None))) == len(list(lower.list(None))) == 1
    upper.delete_for_runs(["r1"])
    assert list(upper.list(None)) == []
    assert len(list(lower.list(None))) == 1


def test_a_serializer_of_ones_own(mimir: Mimir) -> None:
    """The `serde` given makes what is sealed, and reads it."""

    class Reversing(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            kind, data = super().dumps_typed(obj)
            return f"reversed {kind}", bytes(data)[::-1]

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return super().loads_typed((data[0].removeprefix("reversed "), data[1][::-1]))

    saver = MimirSaver(mimir, serde=Reversing())
    where = put(saver, config(), {"step": 1}, a="value")
    saver.put_writes(where, [("w", "write")], "task")
    found = saver.get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": "value"}
    assert found.pending_writes == [("task", "w", "write")]
    with pytest.raises(NotImplementedError):
        MimirSaver(mimir).get_tuple(config())


def test_a_clone_with_an_allowlist(mimir: Mimir) -> None:
    """LangGraph's strict mode clones the saver; the clone works on the same vault."""
    saver = MimirSaver(mimir, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    clone = saver.with_allowlist([("tests.langchain.graphs", "State")])
    assert clone is not saver
    assert type(clone) is MimirSaver
    put(saver, config(), a=1)
    assert clone.get_tuple(config()) == saver.get_tuple(config())


def test_it_is_neither_pickled_nor_shown(mimir: Mimir) -> None:
    """A repr holds nothing, and pickle and deepcopy are refused."""
    saver = MimirSaver(mimir)
    assert repr(saver) == "<MimirSaver>"
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(NotSerializable):
            attempt(saver)


def test_a_closed_vault_says_so(path: Path) -> None:
    """Every call after the vault is closed raises, and nothing is lost."""
    mimir = create(path)
    saver = MimirSaver(mimir)
    where = put(saver, config(), a=1)
    mimir.close()
    for call in (
        lambda: saver.get_tuple(config()),
        lambda: list(saver.list(None)),
        lambda: saver.put(config(), checkpoint(), {}, {}),
        lambda: saver.put_writes(where, [("w", 1)], "task"),
        lambda: saver.delete_thread("t"),
        lambda: saver.prune(["t"]),
    ):
        with pytest.raises(VaultClosed):
            call()
    with reopen(path) as again:
        assert len(list(MimirSaver(again).list(None))) == 1


def test_two_threads_equal_memory(mimir: Mimir) -> None:
    """Two threads that run in turn never see each other; each equals one of memory's."""
    saver, other = MimirSaver(mimir), InMemorySaver()
    graphs = counting_graph(saver), counting_graph(other)  # type: ignore[arg-type]
    for turn in range(3):
        for thread in ("ana", "bob"):
            words = {"said": [], "fixed": f"{thread}{turn}"}
            mine, memory = (graph.invoke(words, config(thread)) for graph in graphs)
            assert mine == memory
            assert not any({"ana": "bob", "bob": "ana"}[thread] in said for said in mine["said"])
