"""Long texts are tokenized step by step, with the tokens that they have in one go."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest
from tokenizers import Encoding, Tokenizer

from mimir_core.embedding.minilm import HERE
from mimir_core.embedding.windows import AHEAD, MOST_STEPS, STEP_CHARS, head, windows

LIMIT = 254
MIB = 1 << 20


class Counted:
    """The built-in tokenizer, which notes how many characters each call was given."""

    def __init__(self) -> None:
        self.tokenizer = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)
        self.given: list[int] = []

    def __call__(self, texts: Sequence[str]) -> list[Encoding]:
        self.given.append(sum(map(len, texts)))
        return self.tokenizer.encode_batch(list(texts))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Counted().tokenizer


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    """All tokens of a text in one go, without markers."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return list(chain.from_iterable(part.tokens for part in (encoding, *encoding.overflowing)))


@pytest.mark.parametrize(
    "unit",
    [
        "the heron stood in the reeds; ",
        "unbelievably-long words, d'accord?\n\n",
        "漢字かな交じり文。",
        "x" * 99 + " ",
        "a\u0301e\u0301 cafe\u0301 ",
        "tab\tand\x1cothers\x00 ",
    ],
)
def test_steps_change_no_window(tokenizer: Tokenizer, unit: str) -> None:
    """Windows of a text of many steps are those that its tokens in one go make."""
    text = unit * (6 * STEP_CHARS // len(unit))
    found = windows(text, Counted(), LIMIT)
    assert len(found) > 6
    counts = [len(tokens(tokenizer, window)) for window in found]
    assert max(counts) <= LIMIT
    assert min(counts[:-1]) > LIMIT - 100
    assert tokens(tokenizer, found[0]) == tokens(tokenizer, text)[: counts[0]]
    assert tokens(tokenizer, found[-1]) == tokens(tokenizer, text)[-counts[-1] :]


@pytest.mark.parametrize("unit", ["a b ", "\ufdfa", "漢字", "\u3316", " ", "\ufdfa" * 60 + "9 "])
def test_no_call_of_the_tokenizer_is_given_a_whole_long_text(unit: str) -> None:
    """Whatever a text is made of, a few steps at a time are tokenized: memory stays small."""
    counted = Counted()
    windows(unit * (MIB // len(unit)), counted, LIMIT)
    assert max(counted.given) <= AHEAD * STEP_CHARS
    assert sum(counted.given) <= MIB


@pytest.mark.parametrize("unit", ["a b ", "\ufdfa", "漢字", " ", "\ufdfa" * 60 + "9 "])
def test_a_beginning_is_read_where_no_more_counts(tokenizer: Tokenizer, unit: str) -> None:
    """Of a text that is not cut into windows only as much is tokenized as fills the model."""
    counted = Counted()
    text = unit * (MIB // len(unit))
    kept = head(text, counted, 256)
    assert text.startswith(kept)
    assert sum(counted.given) <= MOST_STEPS * STEP_CHARS
    filled = len(kept) < MOST_STEPS * STEP_CHARS
    assert not filled or tokenizer.encode(kept).ids == tokenizer.encode(kept * 2).ids


def test_a_short_text_is_not_tokenized_to_be_kept_whole() -> None:
    """Looking for the beginning of a text of one step costs nothing."""
    counted = Counted()
    assert head("two words", counted, 256) == "two words"
    assert counted.given == []
