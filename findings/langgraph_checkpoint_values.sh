#!/usr/bin/env bash
# LangGraph's serializer changes some values of a checkpoint without a word.
#
# langgraph-checkpoint 4.3.2, Python 3.11, numpy 2.3.5: `JsonPlusSerializer`, the default of every
# checkpointer, writes a value without an error and reads another one:
#
#   what goes in                                what comes out, as seen
#   a datetime in the zone "Europe/Oslo"        the same moment, "+02:00" instead of the zone
#   a repeated hour in autumn (fold=1)          its first occurrence (fold=0)
#   an array of objects                         None
#   an array with named fields                  an array of raw bytes without names
#   deque([1, 2], maxlen=2)                     deque([1, 2]) without a bound
#   a tuple, a set of tuples                    a list, a list of lists
#   a defaultdict                               a dict, which raises KeyError
#   an Enum as a key of a dict                  the Enum's value
#   a text with a lone surrogate                the text with "?" in its place
#   an exception                                its repr, a text
#
# So a state that a graph goes on with after an interrupt, in another process or from an earlier
# checkpoint, can differ from the one it stopped with. Of these only the set of tuples is logged.
#
# It installs the packages named below into a folder of its own and runs without Mimir. It ends
# with 0 while this is so, and with 1, naming the line, once a value comes back otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langgraph-checkpoint==4.3.2 numpy==2.3.5

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from collections import defaultdict, deque
from datetime import datetime
from enum import Enum
from zoneinfo import ZoneInfo

import numpy as np
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

serde = JsonPlusSerializer()
Color = Enum("Color", {"RED": "red"})
noon = datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Oslo"))
named = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])


def back(value):
    """What is read of what was written."""
    return serde.loads_typed(serde.dumps_typed(value))


cases = {
    "a zone": (noon, lambda v: v == noon and repr(v.tzinfo)
               == "datetime.timezone(datetime.timedelta(seconds=7200))"),
    "a repeated hour": (datetime(2024, 10, 27, 2, 30, fold=1), lambda v: v.fold == 0),
    "an array of objects": (np.array([1, "a"], dtype=object), lambda v: v is None),
    "an array with named fields": (named, lambda v: v.dtype == np.dtype("V12")),
    "a bounded deque": (deque([1, 2], maxlen=2), lambda v: v == deque([1, 2]) and v.maxlen is None),
    "a tuple": ((1, 2), lambda v: v == [1, 2]),
    "a set of tuples": ({(1, 2)}, lambda v: v == [[1, 2]]),
    "a defaultdict": (defaultdict(int, a=1), lambda v: type(v) is dict),
    "an Enum as a key": ({Color.RED: 1}, lambda v: v == {"red": 1}),
    "a lone surrogate": ("a\ud800", lambda v: v == "a?"),
    "an exception": (ValueError("x"), lambda v: v == "ValueError('x')"),
}
changed = 0
for name, (value, as_said) in cases.items():
    found = back(value)
    kept = as_said(found)
    changed += not kept
    print(f"{'as said' if kept else 'CHANGED':8} {name}: {ascii(value)} -> {ascii(found)}")
sys.exit(min(changed, 1))
PYTHON
