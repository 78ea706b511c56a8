"""onnxruntime's telemetry is off before it can begin, and whoever comes too late is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimir_core.cli import checkup
from mimir_core.cli.checkup import State

ROOT = Path(__file__).parents[2]
TELL = "; import os; print(os.environ.get('ORT_DISABLE_TELEMETRY'))"


def python(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs code with an empty home."""
    home = {"HOME": str(folder), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-c", code], env=home | env, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "import mimir_core", "from mimir_core.embedding import MiniLM", "import mimir_core.errors",
        "from mimir_langchain import MimirEmbeddings", "import mimir_core.cli",
        "from mimir_llamaindex import MimirEmbedding", "import mimir_core.embedding.build.model",
        "import bench.process, bench.peers.protocol",
        "from importlib.util import *; s = spec_from_file_location('hook',"
        " 'mimir_core/build_hook.py'); m = module_from_spec(s); s.loader.exec_module(m);"
        " m.load_model_builder()",
    ],
)  # fmt: skip
def test_it_is_off_whatever_is_imported_first(code: str, tmp_path: Path) -> None:
    """Every way into the package sets onnxruntime's switch; nothing is left in the home."""
    done = python(f"import os; os.chdir({str(ROOT)!r}); {code}{TELL}", tmp_path)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "after"), [("0", "0"), ("false", "false"), ("1", "1"), ("yes", "yes"), ("", "1")]
)
def test_a_users_own_choice_stays(tmp_path: Path, before: str, after: str) -> None:
    """Who has set the switch is left alone; an empty value is no choice."""
    code = f"import mimir_core.quiet{TELL}"
    env = {"ORT_DISABLE_TELEMETRY": before, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    if before in ("0", "false"):  # or it would begin: a stand-in tells no more than that
        (tmp_path / "onnxruntime.py").write_text("raise ImportError('not here')")
        code = "import sys, types; sys.modules['mimir_core'] = m = types.ModuleType('mimir_core');"
        code += f"m.__path__ = [{str(ROOT / 'mimir_core')!r}]; import mimir_core.quiet{TELL}"
    done = python(code, tmp_path, **env)
    assert (done.stdout, done.stderr) == (f"{after}\n", "")


LATE = "import sys, types; sys.modules['onnxruntime'] = o = types.ModuleType('onnxruntime');"


@pytest.mark.parametrize(
    ("version", "env", "warned"),
    [("1.32.0", {}, 1), ("2.0", {}, 1), ("odd", {}, 1), ("1.28.1", {}, 0),
     ("1.32.0", {"ORT_DISABLE_TELEMETRY": "1"}, 0)],
)  # fmt: skip
def test_who_comes_too_late_is_told_once(
    tmp_path: Path, version: str, env: dict[str, str], warned: int
) -> None:
    """An onnxruntime that reports, imported before Mimir, draws one warning with a hint."""
    code = f"{LATE} o.__version__ = {version!r}; o.__path__ = [];"
    code += "m = types.ModuleType('mimir_core'); sys.modules['mimir_core'] = m;"
    code += f"m.__path__ = [{str(ROOT / 'mimir_core')!r}];"
    code += "import mimir_core.quiet as q, importlib; importlib.reload(q)"
    done = python(code, tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("TelemetryWarning") == warned
    assert done.stderr.count("ORT_DISABLE_TELEMETRY=1") == warned


def test_the_doctor_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Off is well; on by choice, too late, or what was left by earlier runs is noted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert checkup.telemetry(late=False).state is State.OK
    assert "import mimir_core first" in checkup.telemetry(late=True).mend
    (tmp_path / "Microsoft" / "DeveloperTools" / ".onnxruntime").mkdir(parents=True)
    left = checkup.telemetry(late=False)
    assert (left.state, str(tmp_path) in left.mend) == (State.NOTE, True)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert checkup.telemetry(late=False).mend == "unset ORT_DISABLE_TELEMETRY"


FORK = """
import os, signal, sys
from mimir_core import MiniLM
model = MiniLM()
model.embed_query("the cat")
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.alarm(30)  # for one that does not
print("the child ends")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_ends(tmp_path: Path) -> None:
    """A child forked when the model is loaded ends by itself, through all that runs at exit."""
    done = python(FORK, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the child ends\n", "")
