"""Build the model in the source tree: `python -m mimir_core.embedding.build [--pin]`."""

from __future__ import annotations

import sys

from .model import PINS, ensure_model, model_files, pins_of, write
from .weights import fetch_weights

if sys.argv[1:] == ["--pin"]:
    files = model_files(fetch_weights())
    write(files)
    PINS.write_text(pins_of(files), encoding="ascii")
else:
    ensure_model()
