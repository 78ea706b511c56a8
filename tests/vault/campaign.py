"""Tampering: flipped bits, truncations, old blocks put back.

    python -m tests.vault.campaign [--flips N | --all] [--seed N]

Each changed copy of a small vault is opened, read in every way and verified. Allowed are a typed
error, the same data, and for damage to the journal an earlier committed state; anything else ends
the run with the mutation's description, as does a crash of the process (the last line printed with
--verbose then says where). `--all` flips every bit of the file and of the journal: two days on one
core, so `--part K/N` divides it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mimir_core import Item, Mimir
from mimir_core.errors import MimirError, VectorsLost

from .kill import in_child_value
from .raw import read_blocks, read_preamble, write_blocks
from .vaults import FAST, MEMORY_FOLDER, PASSPHRASE, create, everything, reopen

PAGE = 16_384
View = dict[str, Any]
Files = tuple[bytes, bytes]


def look(mimir: Mimir) -> View:
    """All a caller sees; dense answers are None where vectors are said to be lost."""
    seen: View = everything(mimir)
    try:
        hits = mimir.recall("cat number 7", mode="dense", k=10)
        seen["dense"] = [(hit.id, round(hit.score, 5)) for hit in hits]
    except VectorsLost:
        seen["dense"] = None
    return seen


def fill(mimir: Mimir) -> None:
    """A few memories of every kind, segments, a graph, something forgotten and superseded."""
    items = [Item(f"cat number {n} w{n % 5}", thread="t", metadata={"n": n}) for n in range(30)]
    ids = mimir.remember_many(items)
    mimir.remember("old value", key="k")
    mimir.remember("new value", key="k")
    mimir.remember("summary of cats", derived_from=ids[:2], namespace=("a", "b"))
    mimir.forget(ids[5])
    mimir.checkpoint()
    mimir.remember("tail", thread="t")


def small_graphs() -> None:
    """Lowers the number of vectors from which there is a graph."""
    for name in ("GRAPH_FROM", "_TAIL"):
        patch(f"mimir_core.index.vectors.{name}", 10).start()


def closed_vault(path: Path) -> tuple[Files, list[View]]:
    """The files of a closed vault, and the one state it is in."""

    def make() -> View:
        with create(path) as mimir:
            fill(mimir)
            return look(mimir)

    view = in_child_value(make)
    return (path.read_bytes(), b""), [view]


def crashed_vault(path: Path) -> tuple[Files, list[View]]:
    """The files of a vault whose process died with a full journal, and its states, newest first."""

    def make() -> list[View]:
        mimir = create(path)
        fill(mimir)
        mimir.checkpoint()
        views = [look(mimir)]
        for n in range(4):
            mimir.remember(f"journal {n}", thread="t", metadata={"n": n})
            views.append(look(mimir))
        files = (path.read_bytes(), path.with_name(path.name + "-wal").read_bytes())
        return [files, views[::-1]]

    files, views = in_child_value(make)
    assert len(files[1]) > 4 * PAGE
    return files, views


def judge(path: Path, files: Files, views: list[View], passphrase: str = PASSPHRASE) -> str:
    """Opens a changed copy: the name of the error, "same", "earlier", or "reported".

    "reported" is the same data from a vault that verify finds damaged.

    Raises AssertionError for data that no committed state held.
    """
    for suffix, data in (("", files[0]), ("-wal", files[1]), ("-shm", b"")):
        place = path.with_name(path.name + suffix)
        place.unlink(missing_ok=True)
        if data or not suffix:
            place.write_bytes(data)
    try:
        with reopen(path, passphrase) as mimir:
            seen, ok = look(mimir), mimir.verify().ok
    except MimirError as error:
        return type(error).__name__
    dense = seen.pop("dense")
    for number, view in enumerate(views):
        if seen == {name: value for name, value in view.items() if name != "dense"}:
            assert dense in (view["dense"], None), "dense recall gave another answer"
            assert dense or not ok, "lost vectors, and verify found nothing"
            return "earlier" if number else "same" if ok else "reported"
    raise AssertionError("data that was never committed")


def flipped(data: bytes, bit: int) -> bytes:
    """A copy with one bit flipped."""
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


def sampled_bits(size: int, count: int, randomness: random.Random, unit: int) -> Iterator[int]:
    """Half of them anywhere, half where structure lies: the first bytes of file and pages."""
    for number in range(count):
        if number % 4 == 0:
            byte = randomness.randrange(min(110, size))
        elif number % 4 == 2:
            byte = randomness.randrange(size // unit) * unit + randomness.randrange(64)
        else:
            byte = randomness.randrange(size)
        yield 8 * min(byte, size - 1) + randomness.randrange(8)


def flips(path: Path, files: Files, views: list[View], bits: Iterable[tuple[int, int]]) -> None:
    """Flips each (file, bit) alone; prints how often which outcome came."""
    outcomes: Counter[str] = Counter()
    spans = block_spans(files[0])
    for which, bit in bits:
        changed = list(files)
        changed[which] = flipped(files[which], bit)
        outcome = _judged(path, (changed[0], changed[1]), views, f"bit {bit} of file {which}")
        assert outcome != "earlier" or which == 1, f"bit {bit}: an older state without a journal"
        if which == 0 and any(bit // 8 in span for span in spans):
            assert outcome != "same", f"bit {bit} of a block was not noticed"
        outcomes[outcome] += 1
    print(sum(outcomes.values()), dict(outcomes), flush=True)


def block_spans(data: bytes) -> list[range]:
    """Where sealed blocks lie in a vault's file: at the end of pages after the first two."""
    ends = range(3 * PAGE, len(data) + 1, PAGE)
    return [range(end - 16_320, end) for end in ends if data[end - PAGE] == 0x0D]


def truncations(path: Path, files: Files, views: list[View], count: int) -> None:
    """Cuts file or journal to many lengths; prints how often which outcome came."""
    outcomes: Counter[str] = Counter()
    randomness = random.Random(count)
    which = 1 if files[1] else 0
    size = len(files[which])
    lengths = {0, 1, 99, 100, 511, 512, size - 1, size - PAGE}
    lengths |= {PAGE * randomness.randrange(size // PAGE) for _ in range(count // 2)}
    lengths |= {randomness.randrange(size) for _ in range(count // 2)}
    for length in sorted(lengths):
        changed = [*files]
        changed[which] = files[which][:length]
        outcome = _judged(path, (changed[0], changed[1]), views, f"cut to {length}")
        assert outcome != "same" or which == 1, f"cut to {length}: not noticed"
        outcomes[outcome] += 1
    print(sum(outcomes.values()), dict(outcomes), flush=True)


def _judged(path: Path, files: Files, views: list[View], what: str) -> str:
    if VERBOSE:
        print(what, file=sys.stderr, flush=True)
    try:
        return judge(path, files, views)
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error


VERBOSE = False


def bits(folder: str, count: str, seed: str) -> None:
    """Flip sampled bits of a closed vault and of a crashed one; truncate both."""
    small_graphs()
    randomness, path = random.Random(int(seed)), Path(folder, "v.mimir")
    for make, which, unit in ((closed_vault, 0, PAGE), (crashed_vault, 1, PAGE + 24)):
        path.unlink(missing_ok=True)
        files, views = make(path)
        assert judge(path, files, views) == "same"
        chosen = sampled_bits(len(files[which]), int(count), randomness, unit)
        flips(path, files, views, ((which, bit) for bit in chosen))
        truncations(path, files, views, int(count) // 5)


def replays(folder: str, mixes: str, seed: str) -> None:
    """Put old blocks back, each alone and in mixes, and the old preamble; prints outcomes."""
    small_graphs()
    path, old_path = Path(folder, "new.mimir"), Path(folder, "old.mimir")
    view_a, view_b = in_child_value(lambda: _two_states(path, old_path))
    new_file, old, new = path.read_bytes(), read_blocks(old_path), read_blocks(path)
    preambles = read_preamble(old_path), read_preamble(path)
    assert len(old) == len(new)
    assert preambles[0] != preambles[1]
    changed = sorted(number for number in old if old[number] != new[number])
    randomness = random.Random(int(seed))
    cases: list[tuple[list[int], bool]] = [([], True), *(([n], False) for n in changed)]
    for _ in range(int(mixes)):
        size = randomness.choice((2, 3, len(changed) // 2, len(changed) - 1))
        cases.append((randomness.sample(changed, size), randomness.random() < 0.3))
    outcomes: Counter[str] = Counter()
    for numbers, with_preamble in cases:
        path.write_bytes(new_file)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        blocks = {number: old[number] for number in numbers}
        write_blocks(path, blocks, preambles[0] if with_preamble else None)
        outcome = _refused(path, view_a if 0 in numbers else view_b)
        if (with_preamble and 0 not in numbers) or numbers == [0]:
            assert outcome == "error", (numbers, outcome)
        outcomes[outcome] += 1
    print(sum(outcomes.values()), dict(outcomes), flush=True)


def _refused(path: Path, view: View) -> str:
    """Checks that old blocks are noticed: an error, or the true data and a report."""
    outcome = "error"
    for passphrase in (PASSPHRASE, "new"):
        try:
            with reopen(path, passphrase) as mimir:
                assert not mimir.verify().ok, "an old block was not noticed"
                seen = look(mimir)
        except MimirError:
            continue
        if seen["dense"] is None:
            view = {**view, "dense": None}
        assert seen == view, "old data"
        outcome = "rebuilt"
    return outcome


def _two_states(path: Path, old_path: Path) -> tuple[View, View]:
    with create(path) as mimir:
        fill(mimir)
        first = look(mimir)
    old_path.write_bytes(path.read_bytes())
    with reopen(path) as mimir:
        ids = list(mimir.memories(thread="t"))
        mimir.forget([ids[3].id, ids[9].id])
        mimir.remember("another", thread="t")
        mimir.remember("newer value", key="k")
        mimir.change_passphrase("new", profile=FAST)
    with reopen(path, "new") as mimir:
        return first, look(mimir)


def main(arguments: list[str]) -> None:
    """The command."""
    global VERBOSE  # noqa: PLW0603  # set once, from the command line
    parser = argparse.ArgumentParser(description="Tamper with a small vault")
    parser.add_argument("--all", action="store_true", help="flip every bit")
    parser.add_argument("--part", default="1/1", help="K/N: the K-th of N parts of --all")
    parser.add_argument("--flips", type=int, default=20_000, help="bits to flip of each file")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--verbose", action="store_true", help="name each mutation first")
    options = parser.parse_args(arguments)
    VERBOSE = options.verbose
    print("seed", options.seed, flush=True)
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        if options.all:
            _all_bits(Path(folder, "v.mimir"), *map(int, options.part.split("/")))
        else:
            bits(folder, str(options.flips), str(options.seed))
            replays(folder, str(options.flips // 10), str(options.seed))


def _all_bits(path: Path, part: int, parts: int) -> None:
    small_graphs()
    for make, which in ((closed_vault, 0), (crashed_vault, 1)):
        path.unlink(missing_ok=True)
        files, views = make(path)
        size = 8 * len(files[which])
        flips(path, files, views, ((which, bit) for bit in range(part - 1, size, parts)))


if __name__ == "__main__":
    if sys.argv[1:2] in (["bits"], ["replays"]):
        globals()[sys.argv[1]](*sys.argv[2:])
    else:
        main(sys.argv[1:])
