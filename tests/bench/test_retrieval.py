"""The measures of retrieval, by hand, and the command from files to figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.compare import ROOT
from bench.retrieval import MODES, Question, read_questions, scores
from mimir_core.errors import InvalidArgument

from .test_lines import write

TURNS = [
    {"conversation": "a", "id": 1, "speaker": "Ana", "text": "My parrot Rio learned to whistle"},
    {"conversation": "a", "id": 2, "text": "Rio the parrot whistles at the postman now"},
    {"conversation": "a", "id": 3, "text": "We ate soup for dinner"},
    {"conversation": "b", "id": 1, "text": "The parrot Rio whistles in another conversation"},
    {"conversation": "b", "id": 2, "text": "Our train to Lisbon leaves at nine"},
]
QUESTIONS = [
    {"conversation": "a", "question": "Does the parrot Rio whistle?", "gold": ["1", 2]},
    {"conversation": "b", "question": "When does the train to Lisbon leave?", "gold": [2]},
]


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What `python -m bench` does with these arguments."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_measures_by_hand() -> None:
    """Recall@k is the mean share of evidence among the first k, MRR of 1 / the first one's rank."""
    filler = [f"x{number}" for number in range(30)]
    found = [
        ["a", *filler[:5], "b"],  # both of two: ranks 1 and 7
        [*filler[:2], "c", *filler[2:]],  # one of one: rank 3
        [*filler[:15], "e"],  # one of two: rank 16
        filler,  # a miss
    ]
    golds = [{"a", "b"}, {"c"}, {"d", "e"}, {"f"}]
    assert scores(found, [frozenset(gold) for gold in golds]) == {
        "recall@1": pytest.approx((0.5 + 0 + 0 + 0) / 4),
        "recall@5": pytest.approx((0.5 + 1 + 0 + 0) / 4),
        "recall@10": pytest.approx((1 + 1 + 0 + 0) / 4),
        "recall@20": pytest.approx((1 + 1 + 0.5 + 0) / 4),
        "mrr": pytest.approx((1 + 1 / 3 + 1 / 16 + 0) / 4),
    }


def test_a_cut_includes_its_last_rank() -> None:
    """Evidence at ranks 5, 10 and 20 counts there, and not one rank before."""
    ranks = (1, 5, 6, 10, 11, 20, 21)
    for rank in ranks:
        keys = [*(f"x{number}" for number in range(rank - 1)), "gold"]
        found = scores([keys], [frozenset({"gold"})])
        for cut in (1, 5, 10, 20):
            assert found[f"recall@{cut}"] == (rank <= cut)


def test_the_command_finds_what_is_there(tmp_path: Path) -> None:
    """On made-up files each mode asks in the question's conversation and finds the known turns."""
    turns, asked = write(tmp_path / "t.jsonl", *TURNS), write(tmp_path / "q.jsonl", *QUESTIONS)
    done = bench("retrieval", "--turns", turns, "--queries", asked, "--json")
    assert done.returncode == 0, done.stderr
    # One of two evidence turns is first for the one question, the only one for the other.
    figures = {"recall@1": 0.75, "recall@5": 1, "recall@10": 1, "recall@20": 1, "mrr": 1}
    assert json.loads(done.stdout) == {"n": 2} | dict.fromkeys(MODES, figures)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": None}, "there is no question"),
        ({"question": " "}, "the question is blank"),
        ({"question": ["SECRET"]}, "question is not text"),
        ({"conversation": None}, "there is no conversation"),
        ({"gold": None}, "there is no gold"),
        ({"gold": "12"}, "gold is not a list"),
        ({"gold": {"1": 2}}, "gold is not a list"),
        ({"gold": []}, "gold names no turn"),
        ({"gold": [["1"]]}, "an id in gold is not text or a whole number"),
        ({"gold": [True]}, "an id in gold is not text or a whole number"),
        ({"gold": ["1", "9"]}, "gold names a turn that is not there"),
        ({"conversation": "b", "gold": ["3"]}, "gold names a turn that is not there"),
    ],
)
def test_a_bad_question_is_named_by_its_line(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    """A question that cannot be asked, or whose evidence is not there, is refused by its line."""
    file = write(tmp_path / "q.jsonl", QUESTIONS[0], QUESTIONS[1] | change)
    with pytest.raises(InvalidArgument, match=f"^q.jsonl line 2: {reason}") as error:
        read_questions(file, TURNS)
    assert "SECRET" not in str(error.value)


def test_questions_are_read_as_they_stand(tmp_path: Path) -> None:
    """Ids count as text, whether they are given as text or as whole numbers."""
    file = write(tmp_path / "q.jsonl", *QUESTIONS)
    assert read_questions(file, TURNS) == [
        Question("a", "Does the parrot Rio whistle?", frozenset({"1", "2"})),
        Question("b", "When does the train to Lisbon leave?", frozenset({"2"})),
    ]


def test_bad_input_ends_the_command_with_a_reason(tmp_path: Path) -> None:
    """A bad line gives exit code 2, one line on stderr with its hint, and nothing on stdout."""
    turns = write(tmp_path / "t.jsonl", *TURNS, "{")
    done = bench("storage", "--turns", turns, "--count", 10, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "python -m bench: t.jsonl line 6: not JSON\n"
    done = bench("storage", "--turns", tmp_path / "absent.jsonl")
    assert done.stderr == "python -m bench: absent.jsonl is no file (check its path)\n"
