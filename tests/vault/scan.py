"""Looks for known bytes in every file of a folder, in every guise we can think of.

Runs in a process of its own: one that has a vault open must not open its files otherwise.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .worker import run_worker


def scan(folder: Path, needles: dict[str, list[bytes]]) -> dict[str, list[str]]:
    """Where each needle's forms were found: name to a list of file names."""
    request = {name: [form.hex() for form in forms] for name, forms in needles.items()}
    (line,) = run_worker("main", folder, json.dumps(request), module="scan")
    found: dict[str, list[str]] = json.loads(line)
    return found


def guises(data: bytes) -> set[bytes]:
    """The bytes as they are, reversed, in hex, and in base64 at each of its three offsets."""
    forms = {data, data[::-1], data.hex().encode(), data.hex().upper().encode()}
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + data)
        # the first and last characters mix with what stands beside
        forms.add(coded[4 if shift else 0 : -4])
        forms.add(coded[4 if shift else 0 : -4].replace(b"+", b"-").replace(b"/", b"_"))
    return {form for form in forms if len(form) >= 6}


def text_forms(text: str) -> list[bytes]:
    """A text in the encodings that it might be written in."""
    return [
        form.encode(encoding)
        for form in (text, text.upper(), text.lower())
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")
    ]


def haystacks(data: bytes) -> Iterator[bytes]:
    """The bytes, and what any zlib or gzip stream in them inflates to."""
    yield data
    for header in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b\x08"):
        at = data.find(header)
        while at >= 0:
            with suppress(zlib.error):
                yield zlib.decompressobj(47).decompress(data[at : at + (1 << 20)])
            at = data.find(header, at + 1)


def main(folder: str, request: str) -> None:
    """Print the findings as JSON."""
    needles = {
        name: set().union(*(guises(bytes.fromhex(form)) for form in forms))
        for name, forms in json.loads(request).items()
    }
    found: dict[str, list[str]] = {}
    for file in sorted(Path(folder).iterdir()):
        for hay in haystacks(file.read_bytes()):
            for name, forms in needles.items():
                if any(form in hay for form in forms):
                    found.setdefault(name, []).append(file.name)
    print(json.dumps(found))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
