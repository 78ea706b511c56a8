"""What a forget leaves in the free space of a real file system: nothing that it made old."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mimir_core import Mimir
from mimir_core.storage import SqliteBlockStore

from .kill import in_child_value
from .raw import read_blocks, read_preamble
from .vaults import FAST, create

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None,
    reason="mounting an image needs root and e2fsprogs",
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An image file and where it is mounted."""
    image, point = tmp_path / "image", tmp_path / "disk"
    image.write_bytes(b"")
    os.truncate(image, 48 << 20)
    point.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    mount = ["mount", "-o", "loop", str(image), str(point)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no loop device here")
    try:
        yield image, point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def forget(mimir: Mimir) -> None:
    """Erase one of the memories."""
    mimir.forget(key="secret")


def passwd(mimir: Mimir) -> None:
    """Change the passphrase."""
    mimir.change_passphrase("new", profile=FAST)


@pytest.mark.parametrize("change", [forget, passwd])
@pytest.mark.parametrize("closed", [False, True])
def test_nothing_old_is_in_free_space(
    disk: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Mimir], None],
    closed: bool,
) -> None:
    """No version of a block or preamble that a forget made old is anywhere on the disk."""
    image, point = disk
    written: list[bytes] = []
    for name in ("_put", "_append"):
        _record(monkeypatch, name, written)
    with create(point / "v") as mimir:
        old = in_child_value(lambda: read_preamble(point / "v"))
        for n in range(40):
            mimir.remember(f"turn {n} " + "x" * 500)
        mimir.remember("quetzalcoatlus", key="secret")
        change(mimir)
        if not closed:
            _assert_gone(image, point, written, old if change is passwd else None)
    _assert_gone(image, point, written, old if change is passwd else None)


def _record(monkeypatch: pytest.MonkeyPatch, name: str, written: list[bytes]) -> None:
    real = getattr(SqliteBlockStore, name)

    def watch(self: SqliteBlockStore, number: int, block: bytes) -> None:
        written.append(block)
        real(self, number, block)

    monkeypatch.setattr(SqliteBlockStore, name, watch)


def _assert_gone(image: Path, point: Path, written: list[bytes], preamble: bytes | None) -> None:
    subprocess.run(["sync"], check=True)
    current = set(in_child_value(lambda: read_blocks(point / "v")).values())
    raw = image.read_bytes()
    old = [block for block in written if block not in current]
    assert len(old) > 40
    assert any(block[4_100:4_164] in raw for block in current)
    for block in old:
        assert not any(block[at : at + 64] in raw for at in (64, 4_200, 8_300, 12_400))
    assert preamble is None or preamble[64:128] not in raw
