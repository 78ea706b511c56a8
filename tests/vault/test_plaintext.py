"""No plaintext at rest: canaries of every kind, in every file, in every state of the vault."""

from __future__ import annotations

import os
import signal
import struct
import sys
import zlib
from base64 import b64encode
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mimir_core import Item, Mimir
from mimir_core.index.columns import quantize

from .scan import scan, text_forms
from .vaults import EMBEDDER, create, reopen, state_of
from .worker import run_worker, start_worker

WORD = "Quetzalcoatlus"
VALUE = "zirconiumfactory"
FIELD = "unicyclefield"
KEY = "passportkeyname"
THREAD = "wednesdaythread"
SPACE = "rumpelstiltskin"
MOMENT = 1_234_567_890.123456
VECTOR = np.linspace(-1, 1, 32, dtype=np.float32) + np.float32(0.037)


def canaries() -> list[Item]:
    """Memories that hold every kind of canary."""
    return [
        Item(
            f"{WORD} number {number} flew over the {VALUE}",
            namespace=("home", SPACE),
            thread=THREAD,
            key=f"{KEY}{number}",
            metadata={FIELD: VALUE, "list": [VALUE, 7], "nested": {FIELD: VALUE}},
            time=MOMENT,
            vector=VECTOR if number == 0 else None,
        )
        for number in range(5)
    ] + [Item(f"{WORD}-bytes".encode() * 3)]


def needles(mimir: Mimir) -> dict[str, list[bytes]]:
    """What must not be found, by kind."""
    micros = round(MOMENT * 1e6)
    state = state_of(mimir)
    records = [state.record(ordinal) for ordinal in range(6)]
    embedded = [VECTOR, *EMBEDDER.embed_documents([str(item.content) for item in canaries()[1:5]])]
    codes, scales = quantize(np.array(embedded))
    texts = (WORD, VALUE, FIELD, KEY, THREAD, SPACE, "quetzalcoatlu", "rumpelstiltskin.home")
    return {text: text_forms(text) for text in texts} | {
        "float32": [vector.tobytes() for vector in embedded],
        "float64": [vector.astype(np.float64).tobytes() for vector in embedded],
        "float16": [vector.astype(np.float16).tobytes() for vector in embedded],
        "int8": [row.tobytes() for row in codes],
        "scales": [struct.pack("<2f", *pair) for pair in pairwise(scales)],
        "ids": [record.id for record in records],
        "prefixes": [record.id[:8] for record in records],
        "uids": [record.parts.uid for record in records],
        "secrets": [state.entry(ordinal) for ordinal in range(6)],
        "device": [state.root.device],
        "time": [struct.pack(form, micros) for form in ("<q", ">q", "<d", ">d")],
        "seconds": [struct.pack(form, MOMENT) for form in ("<d", ">d")],
    }


def files(path: Path) -> set[str]:
    """The files beside the vault that hold anything."""
    return {p.name.removeprefix(path.name) for p in path.parent.iterdir() if p.stat().st_size}


def test_the_scan_finds_what_it_looks_for(folder: Path) -> None:
    """In a file that holds them, canaries are found in every guise."""
    for number, guise in enumerate(
        [
            WORD.encode(),
            WORD.encode("utf-16-le"),
            b"xx" + b64encode(b"a" + WORD.encode() * 2),
            WORD.encode().hex().encode(),
            WORD.encode()[::-1],
            os.urandom(50) + zlib.compress(b"before " + WORD.encode()) + b"after",
            WORD.lower().encode(),
        ]
    ):
        (folder / str(number)).write_bytes(os.urandom(100) + guise + os.urandom(100))
    found = scan(folder, {WORD: text_forms(WORD), "other": text_forms("unrelated")})
    assert found == {WORD: [str(number) for number in range(7)]}


def test_nothing_readable_while_open_and_closed(mimir: Mimir, path: Path) -> None:
    """Neither the file, its journal nor shared memory holds a canary, at any time."""
    ids = mimir.remember_many(canaries())
    looked_for = needles(mimir)
    assert files(path) == {"", "-wal", "-shm"}
    assert scan(path.parent, looked_for) == {}
    mimir.recall(WORD, namespace=("home", SPACE))
    mimir.remember("again", key=f"{KEY}1", namespace=("home", SPACE))
    mimir.checkpoint()
    assert scan(path.parent, looked_for) == {}
    mimir.forget(ids[0])
    mimir.remember_many(canaries()[:1])
    assert scan(path.parent, looked_for) == {}
    mimir.close()
    assert files(path) == {""}
    assert scan(path.parent, looked_for) == {}


def test_nothing_readable_with_segments_and_graph(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views written by a checkpoint hold no canary either."""
    monkeypatch.setattr("mimir_core.index.vectors.GRAPH_FROM", 50)
    monkeypatch.setattr("mimir_core.index.vectors._TAIL", 50)
    mimir.remember_many(canaries())
    mimir.remember_many([Item(f"filler {n} {n % 17}") for n in range(200)])
    mimir.checkpoint()
    assert state_of(mimir).root.spaces[0].graph_size > 0
    assert scan(path.parent, needles(mimir)) == {}


def test_nothing_readable_after_a_crash(path: Path) -> None:
    """What a killed process leaves behind, journal included, holds no canary."""
    with create(path) as mimir:
        mimir.remember_many(canaries())
        looked_for = needles(mimir)
    with start_worker("write_and_wait", path, module="test_plaintext") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert files(path) == {"", "-wal", "-shm"}
    assert scan(path.parent, looked_for) == {}
    with reopen(path) as mimir:
        assert mimir.stats().memories == 12
        assert scan(path.parent, needles(mimir)) == {}


def write_and_wait(path: str) -> None:
    """Remember the canaries again, say so, and wait to be killed."""
    with reopen(Path(path)) as mimir:
        mimir.remember_many(
            [Item(i.content, namespace=("home", SPACE), metadata=i.metadata) for i in canaries()]
        )
        print("written", flush=True)
        signal.pause()


def test_no_temporary_file_is_made(path: Path, tmp_path: Path) -> None:
    """The vault writes nowhere but beside itself."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run_worker("use_a_vault", path, elsewhere, module="test_plaintext") == ["[]"]


def use_a_vault(path: str, elsewhere: str) -> None:
    """Use a vault with every folder for temporary files at `elsewhere`; print what is there."""
    import tempfile  # noqa: PLC0415

    os.environ.update(TMPDIR=elsewhere, SQLITE_TMPDIR=elsewhere, HOME=elsewhere)
    tempfile.tempdir = elsewhere
    os.chdir(elsewhere)
    with create(Path(path)) as mimir:
        ids = mimir.remember_many([Item(f"filler {n}" * 50, thread="t") for n in range(3_000)])
        mimir.forget(ids[:500])
        mimir.recall("filler")
        assert mimir.verify().ok
    print(os.listdir(elsewhere))


@pytest.mark.parametrize("length", [1, 100, 1_000, 15_000])
def test_the_file_is_whole_pages_and_hides_lengths(path: Path, length: int) -> None:
    """Sizes are whole blocks: 20 memories of one byte look like 20 of a hundred or a thousand."""
    with create(path) as mimir:
        mimir.remember_many([Item("x" * length) for _ in range(20)])
        mimir.checkpoint()
    pages, rest = divmod(path.stat().st_size, 16_384)
    assert rest == 0
    assert pages == 67  # the header's page, the preamble, an inner page of the tree, 64 blocks


def test_used_and_free_blocks_look_alike(path: Path) -> None:
    """Every block of a vault is random to the eye: no byte value stands out in any of them."""
    with create(path) as mimir:
        mimir.remember_many([Item(f"text {n}") for n in range(50)])
    data = path.read_bytes()
    for page in range(3, len(data) // 16_384):
        block = data[(page + 1) * 16_384 - 16_320 : (page + 1) * 16_384]
        counts = np.bincount(np.frombuffer(block, np.uint8), minlength=256)
        assert counts.max() < 130, page  # 64 expected; 130 is more than eight deviations off


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
