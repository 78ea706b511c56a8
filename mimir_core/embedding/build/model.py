"""From weights to the files of the built-in model.

The digests of the finished files stand in `model.sha256` beside the embedder. A build that gives
anything else fails: the digest names the vector space that vaults are filled in, so the model
changes on purpose or not at all. (`python -m mimir_core.embedding.build --pin` is on purpose.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from .graph import encoder_from, write_model
from .quantize import Int8, load_calibration, prepare
from .weights import BuildError, Weights, fetch_weights, say

EMBEDDING = Path(__file__).resolve().parents[1]
PINS = EMBEDDING / "model.sha256"
GRAPH = "model/minilm-int8.onnx"
TOKENIZER = "model/tokenizer.json"


def model_files(source: Weights) -> dict[str, bytes]:
    """The model's files by their path under `embedding`; a function of the weights alone."""
    encoder = prepare(encoder_from(source.tensors), load_calibration())
    graph = write_model(encoder, Int8()).SerializeToString(deterministic=True)
    return {GRAPH: graph, TOKENIZER: source.tokenizer}


def ensure_model() -> None:
    """Build the model into the source tree unless it already lies there.

    Raises:
        BuildError: The weights cannot be had, or the result is not the pinned model.
    """
    if is_built():
        return
    say("building the embedding model")
    files = model_files(fetch_weights())
    if pins_of(files) != PINS.read_text(encoding="ascii"):
        raise BuildError(f"the model that was built is not the one pinned in {PINS.name}")
    write(files)
    say(f"built {GRAPH} ({len(files[GRAPH]) / 1e6:.1f} MB)")


def is_built() -> bool:
    """Whether the files are there and are the pinned ones."""
    try:
        files = {name: (EMBEDDING / name).read_bytes() for name in (GRAPH, TOKENIZER)}
    except OSError:
        return False
    return pins_of(files) == PINS.read_text(encoding="ascii")


def pins_of(files: Mapping[str, bytes]) -> str:
    """The content of `model.sha256`, as `sha256sum --check` reads it."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())


def write(files: Mapping[str, bytes]) -> None:
    """Write each file under a temporary name first: a build that is cut off leaves none half."""
    for name, data in files.items():
        target = EMBEDDING / name
        target.parent.mkdir(exist_ok=True)
        partial = target.with_name(target.name + ".part")
        partial.write_bytes(data)
        partial.replace(target)
