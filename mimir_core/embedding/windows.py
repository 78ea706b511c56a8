"""Cutting a long text into pieces that the model can read whole.

A text is tokenized some thousands of characters at a time, so that one of 8 MiB takes little memory
beside itself. It is cut where the tokenizer ends a word anyway, and so has the tokens that it has
in one go.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from tokenizers import Encoding

Encode = Callable[[Sequence[str]], Sequence[Encoding]]
"""Tokenizes texts, leaving those tokens past the truncation in `overflowing`."""

OVERLAP = 32
"""Tokens, about, that a piece repeats from the one before it."""

STEP_CHARS = 16_384
"""Characters tokenized at a time; a run of more that has no end of a word is cut anywhere."""

AHEAD = 8
"""Steps that one call of the tokenizer takes, which does them on all CPUs."""

MOST_STEPS = 16
"""What has not filled the model within so many steps is no language; the rest is not read."""

# BERT's words end before these: blanks, ASCII punctuation, ideographs.
_END = r"(?=[ \t\n\r!-/:-@\[-`{-~\u3001\u3002\u3400-\u4dbf\u4e00-\u9fff]|\Z)"
_STEPS = re.compile(rf".{{1,{STEP_CHARS}}}{_END}|.{{1,{STEP_CHARS}}}", re.DOTALL)


def windows(text: str, encode: Encode, limit: int) -> list[str]:
    """Cut between words into pieces of at most `limit` tokens, markers not counted.

    Args:
        text: The text.
        encode: Tokenizes steps of it.
        limit: More than OVERLAP, and than the tokens of any word (WordPiece: 100).
    """
    begins, ends, cuts = array("I"), array("I"), array("I")
    for at, encoding in _encoded_steps(text, encode):
        last = None
        for part in (encoding, *encoding.overflowing):
            for word, (begin, end) in zip(part.word_ids, part.offsets, strict=True):
                if word is None:
                    continue
                if word != last:
                    cuts.append(len(begins))
                    last = word
                begins.append(at + begin)
                ends.append(at + end)
    cuts.append(len(begins))
    pieces = list(_pieces(cuts, limit))
    return [text] if len(pieces) <= 1 else [text[begins[i] : ends[j - 1]] for i, j in pieces]


def head(text: str, encode: Encode, limit: int) -> str:
    """A beginning of the text that has the same first `limit` tokens."""
    if len(text) <= STEP_CHARS:
        return text
    end = tokens = 0
    for step in islice(_STEPS.finditer(text), MOST_STEPS):
        (encoding,) = encode([step[0]])
        tokens += sum(map(len, (encoding, *encoding.overflowing)))
        end = step.end()
        if tokens > 2 * limit:  # of which few are markers
            break
    return text[:end]


def _encoded_steps(text: str, encode: Encode) -> Iterator[tuple[int, Encoding]]:
    """Where each step begins, and its tokens."""
    steps = _STEPS.finditer(text)
    while some := list(islice(steps, AHEAD)):
        encodings = encode([step[0] for step in some])
        yield from zip((step.start() for step in some), encodings, strict=True)


def _pieces(cuts: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Token ranges that begin and end where a word does.

    Args:
        cuts: The number of each word's first token, ascending, and of all tokens.
    """
    begin = end = 0
    while end < cuts[-1]:
        end = cuts[bisect_right(cuts, begin + limit) - 1]
        yield begin, end
        begin = max(begin + 1, cuts[bisect_right(cuts, end - OVERLAP) - 1])
