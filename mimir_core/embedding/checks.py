"""The check every embedder makes before it works."""

from __future__ import annotations

from collections.abc import Sequence

from mimir_core.errors import InvalidText


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what has no words to embed.

    Raises:
        InvalidText: `texts` is one string instead of a list, or a text in it is not a string,
            is blank, or holds unpaired surrogates. The message gives its position, not the text.
    """
    if isinstance(texts, str):
        raise InvalidText("expected a list of texts, got one string")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidText(f"text {position} is {type(text).__name__}, not str")
        if not text.strip():
            raise InvalidText(f"text {position} is empty")
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise InvalidText(f"text {position} holds unpaired surrogates")
