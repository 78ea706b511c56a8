#!/usr/bin/env bash
# tokenizers 0.23.3: `Tokenizer.encode` holds the interpreter's lock while it works;
# `Tokenizer.encode_batch` of the same single text lets other Python threads run.
#
# Neither is documented. Threads that call `encode` therefore gain nothing from each other, and one
# long text stops every other thread of the process until it is done.
#
# The script builds a tokenizer of its own, encodes one text of a million characters both ways, and
# counts how far a second thread gets meanwhile, as a share of what it makes while nobody else works
# (the median of five). Seen on two CPUs that had other work to do as well:
#
#     tokenizers 0.23.3
#     encode: the other thread at 0% of its pace (median of 5), 23.2 s
#     encode_batch: the other thread at 52% of its pace (median of 5), 15.3 s
#     as described: encode holds the lock, encode_batch does not
#
# (seconds of a text five times as long). Exits with 1 if that is no longer so: `encode` leaves the
# other thread a fifth of its pace, or `encode_batch` not twice what `encode` does. Exits with 2 if
# the package cannot be installed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/pip" install --quiet --only-binary :all: "tokenizers==0.23.3" || exit 2

"$work/venv/bin/python" - <<'PYTHON'
import sys
import threading
import time

import tokenizers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = "the quick brown fox jumps over a lazy dog".split()
tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate([*WORDS, "?"])}, "?"))
tokenizer.pre_tokenizer = Whitespace()
text = " ".join(WORDS) + " "
text *= 20_000

steps = 0
running = True


def count() -> None:
    global steps
    while running:
        steps += 1


def pace(work) -> tuple[float, float]:
    """Steps a second of the other thread while `work` runs, and how long that took."""
    begin, before = time.perf_counter(), steps
    work()
    passed = time.perf_counter() - begin
    return (steps - before) / passed, passed


other = threading.Thread(target=count, daemon=True)
other.start()
assert tokenizer.encode(text).ids == tokenizer.encode_batch([text])[0].ids
rounds = [
    (
        pace(lambda: time.sleep(1))[0],
        pace(lambda: tokenizer.encode(text)),
        pace(lambda: tokenizer.encode_batch([text])),
    )
    for _ in range(5)
]
running = False
print("tokenizers", tokenizers.__version__)
for name, at in (("encode", 1), ("encode_batch", 2)):
    shares = sorted(each[at][0] / each[0] for each in rounds)
    longest = max(each[at][1] for each in rounds)
    print(f"{name}: the other thread at {shares[2]:.0%} of its pace (median of 5), {longest:.1f} s")
encode, batch = (sorted(each[at][0] / each[0] for each in rounds)[2] for at in (1, 2))
if encode < 0.2 and batch > 2 * encode:
    print("as described: encode holds the lock, encode_batch does not")
else:
    sys.exit("no longer as described")
PYTHON
