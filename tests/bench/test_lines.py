"""Bad files are refused before anything is measured, by file, line and reason, without content."""

from __future__ import annotations

import gzip
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from bench import langchain, latency, llamaindex, nearest, overhead, profile, retrieval, storage
from bench.peers import compare
from bench.turns import QUERIES, as_item, queries, read_lines, read_turns
from mimir_core.errors import InvalidArgument

from .conftest import TURNS

GOOD = {"conversation": "c", "id": "1", "text": "SECRET one two"}


def write(path: Path, *lines: object) -> Path:
    """Writes lines, each given as an object or as it stands."""
    whole = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(line + "\n" for line in whole), "utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{SECRET", "not JSON"),
        ('{"SECRET": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["SECRET"]', "not a JSON object"),
        ({"conversation": "c", "id": "SECRET"}, "there is no text"),
        (GOOD | {"text": ["SECRET"]}, "text is not text"),
        (GOOD | {"text": "SECRET \ud800"}, "text holds surrogates"),
        ({"id": "1", "text": "SECRET"}, "there is no conversation"),
        (GOOD | {"conversation": ""}, "conversation is empty"),
        ({"conversation": "c", "text": "SECRET"}, "there is no id"),
        (GOOD | {"id": True}, "id is not text or a whole number"),
        (GOOD | {"id": 1.5}, "id is not text or a whole number"),
        (GOOD | {"session": []}, "session is not text or a whole number"),
        (GOOD | {"speaker": {"SECRET": 1}}, "speaker is not text or a whole number"),
        (GOOD | {"time": ["SECRET"]}, "time is not text or a whole number or a number"),
        ('{"conversation": "c", "id": "1", "text": "SECRET", "x": 1e999}', "finite"),
    ],
)
def test_a_bad_turn_is_named_by_its_line(tmp_path: Path, line: object, reason: str) -> None:
    """The error holds file name, line number and reason, and nothing of what the line says."""
    file = write(tmp_path / "turns.jsonl", GOOD, "", line)
    with pytest.raises(InvalidArgument, match=reason) as error:
        list(read_lines(file))
    assert str(error.value).startswith("turns.jsonl line 3: ")
    assert "SECRET" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A line that is not UTF-8 is named."""
    file = tmp_path / "turns.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\n{"text": "\xff"}\n')
    with pytest.raises(InvalidArgument, match=r"^turns\.jsonl line 2: not UTF-8"):
        list(read_lines(file))


def test_cut_gzip_is_refused(tmp_path: Path) -> None:
    """Compressed data that ends early is damage, after what could still be read."""
    file = tmp_path / "turns.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(GOOD).encode() + b"\n")[:-9])
    with pytest.raises(InvalidArgument, match=r"^turns\.jsonl\.gz line 2: the compressed data"):
        list(read_lines(file))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    """A file without lines, or with blank ones alone, is an error and no empty result."""
    file = tmp_path / "turns.jsonl"
    file.write_text(content, "utf-8")
    with pytest.raises(InvalidArgument, match=r"^turns\.jsonl is empty"):
        list(read_lines(file))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A path to nothing, or to a folder, is named."""
    for path in (tmp_path / "turns.jsonl", tmp_path):
        with pytest.raises(InvalidArgument, match=f"{path.name} is no file"):
            list(read_lines(path))


def test_blank_texts_and_lines_are_passed_over(tmp_path: Path) -> None:
    """Lines without anything and turns without text count for nothing; names become text."""
    file = write(tmp_path / "t.jsonl", "", GOOD | {"text": " "}, GOOD | {"id": 7, "session": 2})
    assert read_turns(file, 5) == [GOOD | {"id": "7", "session": 2}]


@pytest.mark.parametrize(
    ("run", "least"),
    [(latency.run, 5), (profile.run, 5), (overhead.run, 5), (langchain.run, 5), (llamaindex.run, 5),
     (compare.run, 5), (nearest.run, 30), (storage.run, 1)],
)  # fmt: skip
def test_too_small_a_count_is_refused(turns_file: Path, run: Any, least: int) -> None:
    """No benchmark starts with fewer turns than its hits, of the count or of the file."""
    for count in (-1, 0, least - 1):
        with pytest.raises(InvalidArgument, match=f"at least {least}"):
            run(Namespace(turns=turns_file, count=count))
    few = write(turns_file, *TURNS[: least - 1])
    with pytest.raises(InvalidArgument, match="are needed" if least > 1 else "is empty"):
        run(Namespace(turns=few, count=10_000))


def test_queries_are_the_turns_that_follow(tmp_path: Path) -> None:
    """Queries are later turns of 3 words at least; where none follow, the imported ones."""
    texts = ["a b c", "d e", "f g h", "i j", "k l m n", "o p q"]
    file = write(tmp_path / "t.jsonl", *(GOOD | {"text": text} for text in texts))
    assert queries(file, 3) == ["k l m n", "o p q"]
    assert queries(file, 2) == ["f g h"]
    assert queries(file, 6) == queries(file, 100) == ["a b c", "f g h", "k l m n", "o p q"]


def test_queries_are_spread_evenly(tmp_path: Path) -> None:
    """Of more texts than are asked, every n-th is taken."""
    texts = [f"this is {number}" for number in range(7 * QUERIES)]
    file = write(tmp_path / "t.jsonl", *(GOOD | {"text": text} for text in texts))
    assert queries(file, 3 * QUERIES) == texts[3 * QUERIES : 6 * QUERIES : 3]


def test_nothing_to_search_for_is_refused(tmp_path: Path) -> None:
    """Turns of two words alone leave no query, which is an error and no empty figure."""
    file = write(tmp_path / "t.jsonl", *(GOOD | {"text": "two words"} for _ in range(9)))
    with pytest.raises(InvalidArgument, match="3 words"):
        queries(file, 5)


def test_a_turn_keeps_what_its_line_says() -> None:
    """Conversation and session are the thread, the time is read, all else but null is metadata."""
    spoken = {"session": 2, "time": "1:56 pm on 8 May, 2023", "speaker": "Ana"}
    item = as_item(GOOD | spoken | {"x": [1], "y": None})
    assert (item.content, item.thread, str(item.time)) == (
        "SECRET one two", "c/2", "2023-05-08 13:56:00+00:00",
    )  # fmt: skip
    assert item.metadata == {"id": "1", "session": 2, "speaker": "Ana", "x": [1]}
    assert item.key is None


def test_a_time_that_cannot_be_read_is_a_field() -> None:
    """What is no time stays as text; an empty one, and a missing speaker, are none."""
    assert as_item(GOOD | {"time": "late"}).metadata == {"id": "1", "time_text": "late"}
    plain = as_item(GOOD | {"time": "", "session": ""})
    assert (plain.time, plain.thread, plain.metadata) == (None, "c", {"id": "1", "session": ""})


def test_retrieval_stores_the_same_by_id() -> None:
    """The item of `retrieval` differs from the others' in namespace and key alone."""
    ours, theirs = retrieval.as_item(GOOD), as_item(GOOD)
    assert (ours.namespace, ours.key) == (("c",), "1")
    for name in ("content", "thread", "time", "metadata"):
        assert getattr(ours, name) == getattr(theirs, name)
