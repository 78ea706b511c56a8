"""Mimir and all that it stands on keep quiet, as seen at the system call."""

from __future__ import annotations

import re

import pytest

from ..guard.session import Session, Watched

USES = ("core", "command_line", "langchain", "langgraph", "llamaindex")
ALIVE = 20.0
"""Seconds that each lives on after its work: telemetry likes to wait."""

TRIES = {
    # LlamaIndex imports nltk, that joblib, which tries whether semaphores and files can be made.
    "llamaindex": r"\w+ (/dev/shm/sem\.\w+(-\d+-\w+)?|TEMPORARY/\w{8})",
}
"""What a framework does by itself when it is imported: nothing of it stays."""


@pytest.fixture(scope="module")
def watched(guard: Session, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """All uses side by side, so that they take no longer than one."""
    return {
        use: Watched.start(
            guard, tmp_path_factory.mktemp(use), "-m", "tests.quiet.uses", use, str(seconds)
        )
        for use, seconds in {**dict.fromkeys(USES, ALIVE), "notebook": 1, "telemetry": 1}.items()
    }


@pytest.mark.parametrize("use", USES)
def test_an_ordinary_use_keeps_quiet(watched: dict[str, Watched], use: str) -> None:
    """No name is looked up, nobody is reached, nothing is written but in the vault's folder."""
    this = watched[use]
    status, breaches = this.wait(240)
    assert status == 0, (this.folder / "output").read_text()
    tried = TRIES.get(use, "").replace("TEMPORARY", re.escape(str(this.folder / "temporary")))
    assert [each for each in breaches if not re.fullmatch(tried, each)] == []
    assert not any((this.folder / "home").iterdir())
    assert not any((this.folder / "temporary").iterdir())
    assert any((this.folder / "vault").iterdir())


def test_a_notebook_reaches_nobody(watched: dict[str, Watched]) -> None:
    """Its kernel serves on loopback; IPython, matplotlib and fontconfig keep their own folders."""
    for library in ("ipykernel", "nbclient", "matplotlib", "sklearn"):
        pytest.importorskip(library)
    this = watched["notebook"]
    status, breaches = this.wait(240)
    assert status == 0, (this.folder / "output").read_text()
    own = f"{this.folder}/(home|temporary)/|/var/cache/fontconfig/|/dev/shm/sem"
    assert [each for each in breaches if not re.search(rf" ({own})", each)] == []


def test_telemetry_would_be_seen(watched: dict[str, Watched]) -> None:
    """onnxruntime left to itself writes in the home, and the guard sees its native calls."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29):
        pytest.skip("this onnxruntime has no telemetry")
    status, breaches = watched["telemetry"].wait(120)
    assert status == 0
    assert any(re.search(r"/home/cache/.*onnxruntime", each) for each in breaches)
