"""Someone with every key: opens each page that lies in the vault's files and looks for traces.

Stale pages count: every page of the file and every frame of the journal is tried as every block,
whatever the map says. Runs in a process of its own, as `scan` does.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mimir_core.crypto import nodes
from mimir_core.crypto.aead import OpenFailed, aes_gcm_open, xchacha_open
from mimir_core.crypto.blocks import BLOCK_SIZE, CONTENT_SIZE, BlockCipher
from mimir_core.crypto.graph import open_graph
from mimir_core.crypto.preamble import MAGIC, PREAMBLE_SIZE, unlock
from mimir_core.crypto.slots import PassphraseCredential
from mimir_core.dag import NodeRecord, read_records
from mimir_core.errors import MimirError
from mimir_core.index.graph import GraphState
from mimir_core.vault.layout import Root, Stream
from mimir_core.vault.segment import SEGMENT_PARTS

from .worker import run_worker

PAGE = 16_384
Content = tuple[int, int, bytes]


def autopsy(
    path: Path, passphrase: str, needles: dict[str, bytes], suspects: list[int]
) -> dict[str, list[str]]:
    """What is found of each needle, by the kind of place; and what opens that should not.

    Under "opens" stand those of the suspects' ordinals whose metadata or payload some key in the
    vault still opens, under "graph" the rows that a readable graph links.
    """
    request = json.dumps({name: data.hex() for name, data in needles.items()})
    arguments = (path, passphrase, request, json.dumps(suspects))
    (line,) = run_worker("main", *arguments, module="autopsy")
    found: dict[str, list[str]] = json.loads(line)
    return found


def pages(path: str) -> list[bytes]:
    """Every page of the file and of its journal, old ones included."""
    data = Path(path).read_bytes()
    found = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    journal = Path(path + "-wal")
    frames = journal.read_bytes() if journal.exists() else b""
    return found + [frames[at + 24 : at + 24 + PAGE] for at in range(32, len(frames), 24 + PAGE)]


def preambles(raw: list[bytes]) -> list[bytes]:
    """Every preamble that lies anywhere."""
    starts = [(page, page.find(MAGIC)) for page in raw]
    return [page[at : at + PREAMBLE_SIZE] for page, at in starts if at >= 0]


def opened(raw: list[bytes], cipher: BlockCipher) -> list[Content]:
    """The content of every page that opens as some block: stream, index, content."""
    found = []
    for page in raw:
        for number in range(len(raw)):
            try:
                stream, index, content = cipher.open(number, page[-BLOCK_SIZE:], tag=None)
            except OpenFailed:
                continue
            found.append((stream, index, bytes(content)))
            break
    return found


def inflated(contents: list[Content]) -> Iterator[bytes]:
    """What segments inflate to, as far as they do, whichever versions of their parts lie about."""
    parts = [(index, content) for stream, index, content in contents if stream == Stream.SEGMENTS]
    for first, head in parts:
        if first % SEGMENT_PARTS == 0:
            others = sorted(part for part in parts if 0 < part[0] - first < SEGMENT_PARTS)
            rest = b"".join(content for _, content in others)
            yield _inflate(head[4:])
            yield _inflate(head[4:] + rest)


def _inflate(data: bytes) -> bytes:
    inflater, out = zlib.decompressobj(), b""
    try:
        for at in range(0, len(data), 256):
            out += inflater.decompress(data[at : at + 256])
    except zlib.error:
        pass
    return out


def graph_rows(contents: list[Content]) -> set[int]:
    """The rows of every graph that some root's key still opens."""
    rows: set[int] = set()
    for root in _roots(contents):
        for number, space in enumerate(root.spaces):
            stream = Stream.GRAPH + number
            parts = sorted((i, content) for kind, i, content in contents if kind == stream)
            sealed = b"".join(content for _, content in parts)
            for size in {space.graph_size, len(sealed)}:
                try:
                    graph = open_graph(space.graph_key, number, sealed[:size])
                    rows |= set(GraphState.from_bytes(graph).node_rows.tolist())
                except (OpenFailed, MimirError):
                    continue
    return rows


def _roots(contents: list[Content]) -> list[Root]:
    return [Root.decode(content) for stream, _, content in contents if stream == Stream.ROOT]


def records(contents: list[Content]) -> list[NodeRecord]:
    """The log's node records, of the longest log."""
    size = max(root.log_size for root in _roots(contents))
    blocks: dict[int, bytes] = {}
    for stream, index, content in contents:
        if stream == Stream.LOG and len(content) > len(blocks.get(index, b"")):
            blocks[index] = content
    log = b"".join(blocks[index] for index in range(-(-size // CONTENT_SIZE)))[:size]
    found: list[NodeRecord] = []
    with suppress(ValueError):  # behind what was damaged nothing is to be found
        found.extend(record for _, record in read_records(log) if isinstance(record, NodeRecord))
    return found


def readable(contents: list[Content], suspects: list[int]) -> list[str]:
    """Those suspects whose metadata or payload opens under any 32 bytes of any keybook."""
    entries = {
        content[at : at + 32]
        for stream, _, content in contents
        if stream == Stream.KEYBOOK
        for at in range(0, len(content), 32)
    }
    nodes_ = records(contents)
    return [str(n) for n in suspects if any(_opens(nodes_[n], entry) for entry in entries)]


def _opens(record: NodeRecord, entry: bytes) -> bool:
    parts = record.parts
    label = b"mimir/v1/"
    for attempt in (
        lambda: nodes.open_metadata(entry, parts.uid, parts.metadata),
        lambda: nodes.open_payload(entry, parts.uid, parts.payload),
        lambda: xchacha_open(entry, parts.metadata, label + b"metadata" + parts.uid),
        lambda: aes_gcm_open(entry, parts.payload, label + b"payload" + parts.uid),
    ):
        try:
            attempt()
        except OpenFailed:
            continue
        return True
    return nodes.commitment_matches(entry, parts.uid, parts.commitment)


def main(path: str, passphrase: str, request: str, suspects: str) -> None:
    """Print the findings as JSON."""
    needles = {name: bytes.fromhex(data) for name, data in json.loads(request).items()}
    raw = pages(path)
    keys = next(
        unlock(preamble, PassphraseCredential(passphrase), allow_insecure=True)
        for preamble in preambles(raw)
    )
    contents = opened(raw, BlockCipher(keys))
    places = {
        "raw": raw,
        **{f"stream {stream}": [c for kind, _, c in contents if kind == stream]
           for stream in {kind for kind, _, _ in contents}},
        "segment": list(inflated(contents)),
    }  # fmt: skip
    found = {
        name: [place for place, pieces in places.items() if any(needle in p for p in pieces)]
        for name, needle in needles.items()
    }
    found = {name: where for name, where in found.items() if where}
    found["opens"] = readable(contents, json.loads(suspects))
    found["graph"] = [str(row) for row in sorted(graph_rows(contents))]
    print(json.dumps(found))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
