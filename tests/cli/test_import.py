"""import and export: good lines, bad lines, interruptions, and the way back."""

from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mimir_core import Item, Mimir
from mimir_core.cli import importing, transfer

from ..vault.vaults import FAST
from .shell import PASSPHRASE, Shell, turns

GOOD: list[dict[str, Any]] = [
    {"conversation": "c", "id": "1", "speaker": "Ana", "text": "one", "time": "2024-05-01T10:00"},
    {"conversation": "c", "id": 2, "speaker": "Bob", "text": "two", "time": 1714558200, "mood": 3},
    {"conversation": "c", "session": 7, "id": "3", "text": "three", "time": "1:56 pm 8 May 2023"},
    {"id": "4", "text": "four", "time": "the other day"},
    {"text": "five"},
    {"text": "five"},
]
BAD: list[tuple[object, str]] = [
    ("{", "not JSON"),
    (b"\xff\xfe{}", "not UTF-8"),
    ('{"text": "x", "n": NaN}', "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[1]", "not a JSON object"),
    ({"id": "a"}, "there is no text"),
    ({"text": ""}, "empty"),
    ({"text": " \t"}, "empty"),
    ({"text": 5}, "not a string"),
    ({"text": "x", "id": ["a"]}, "id is neither"),
    ({"text": "x", "conversation": {}}, "conversation is neither"),
    ({"text": "x", "speaker": [1]}, "speaker is neither"),
    ({"text": "x", "time": [1]}, "time is neither"),
    ({"text": "x", "id": "k" * 1025}, "key"),
    ({"text": "x", "$or": 1}, "field name"),
    ({"text": "x", "n": 1 << 70}, "metadata['n']: an integer in metadata fits signed 64 bits"),
    ('{"text": "x", "n": [' + "[]," * 600_000 + "1]}", "more values"),
    ({"text": ", [" * 300_000, "n": [","] * 300_000}, "1048576 bytes"),
    ('{"text": "\\ud800"}', "surrogates"),
    ({"conversation": "c", "id": "1", "text": "again"}, "same id"),
    ({"text": "x" * ((8 << 20) + 1)}, "too long"),
    ({"mimir": 2, "text": "x"}, "newer Mimir"),
    ({"mimir": 1, "text": "x"}, "namespace"),
    ({"mimir": 1, "id": "a", "base64": "?", "namespace": ["a"]}, "base64"),
    (
        '{"mimir": 1, "id": "a", "text": "x", "namespace": ["a"], "time": "2024-05-01",'
        ' "metadata": {"a": ' + '{"b": ' * 900 + "1" + "}" * 902,
        "nest",
    ),
]


def test_every_bad_line_is_named_and_all_others_are_stored(shell: Shell, tmp_path: Path) -> None:
    """Each bad line is reported by number and reason, once; the good ones are all imported."""
    file = turns(tmp_path / "chat.jsonl", *GOOD, "", *(line for line, _ in BAD))
    result = shell.run("import", file, "--json")
    assert result.exit_code == 7
    summary = json.loads(result.stdout)
    assert (summary["imported"], summary["bad"]) == (len(GOOD), len(BAD))
    assert summary["times_kept"] == 1
    reported = result.stderr.splitlines()
    for number, (_, reason) in enumerate(BAD, len(GOOD) + 2):
        (line,) = [line for line in reported if line.startswith(f"{file}:{number}: ")]
        assert reason in line
    again = json.loads(shell.run("import", file, "--json").stdout)
    assert (again["imported"], again["skipped"], again["changed"]) == (0, len(GOOD), 0)


def test_fields_become_thread_key_time_and_metadata(shell: Shell, tmp_path: Path) -> None:
    """The documented fields land where the documentation says."""
    shell.ok("import", turns(tmp_path / "chat.jsonl", *GOOD), "--namespace", "a.b")
    stored = [json.loads(line) for line in shell.ok("export").splitlines()]
    assert {tuple(memory["namespace"]) for memory in stored} == {("a", "b")}
    one, two, three, four, five, six = stored
    assert (one["thread"], one["key"], one["metadata"]) == ("c", "c/1", {"speaker": "Ana"})
    assert one["time"] == "2024-05-01T10:00:00+00:00"
    assert (two["key"], two["time"]) == ("c/2", "2024-05-01T10:10:00+00:00")
    assert two["metadata"] == {"speaker": "Bob", "mood": 3}
    assert (three["thread"], three["time"]) == ("c/7", "2023-05-08T13:56:00+00:00")
    assert three["metadata"] == {"conversation": "c", "session": "7"}
    assert (four["thread"], four["key"]) == (None, "4")
    assert four["metadata"] == {"time_text": "the other day"}
    assert five["key"] != six["key"]


def test_gzip_and_standard_input_are_read(shell: Shell, tmp_path: Path) -> None:
    """gzip is told by its content, "-" is standard input, and damage to gzip is a bad line."""
    lines = turns(tmp_path / "plain.jsonl", *GOOD).read_bytes()
    packed = tmp_path / "packed.txt"
    packed.write_bytes(gzip.compress(lines))
    assert shell.json("import", packed)["imported"] == len(GOOD)
    piped = shell.run("import", "-", "--namespace", "piped", "--json", stdin=gzip.compress(lines))
    assert json.loads(piped.stdout)["imported"] == len(GOOD)
    packed.write_bytes(gzip.compress(lines)[:-20])
    damaged = shell.run("import", packed, "--namespace", "cut", "--json")
    assert damaged.exit_code == 7
    assert "damaged" in damaged.stderr


def test_a_line_that_changed_is_skipped_and_said(shell: Shell, tmp_path: Path) -> None:
    """The vault keeps its own text of a key; the summary says that the file has another."""
    shell.ok("import", turns(tmp_path / "a.jsonl", {"id": "1", "text": "the old text"}))
    result = shell.run("import", turns(tmp_path / "b.jsonl", {"id": "1", "text": "the new text"}))
    assert result.exit_code == 0
    assert "another text" in result.stderr
    assert shell.json("recall", "text")[0]["text"] == "the old text"


def test_a_line_without_an_end_stops_its_file(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overlong line is skipped, one that does not end at all ends the file; memory is flat."""
    monkeypatch.setattr(importing, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(importing, "MAX_SKIPPED_BYTES", 1 << 20)
    monkeypatch.setattr(importing, "_PIECE", 10_000)
    good, long = b'{"text": "good"}\n', b'{"text": "' + b"x" * 5_000 + b'"}\n'
    file = tmp_path / "chat.jsonl.gz"
    with gzip.open(file, "wb") as stream:
        stream.write(long + good)
        stream.writelines([b"x" * 10_000] * 200)
        stream.write(b"\n" + good)
    result = shell.run("import", file, "--json")
    summary = json.loads(result.stdout)
    assert (result.exit_code, summary["imported"], summary["bad"]) == (7, 1, 2)
    assert f"{file}:1: the line is longer than 1000 bytes" in result.stderr
    assert f"{file}:3: the line has no end in sight" in result.stderr


def test_batches_hold_so_many_bytes(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long lines make a batch of few, whatever compressed data unpacks to."""
    monkeypatch.setattr(importing, "BATCH_BYTES", 10_000)
    batches: list[int] = []

    def held(self: importing.Importer, batch: list[Item]) -> list[str | None]:
        batches.append(sum(len(item.content) for item in batch))
        return [None] * len(batch)

    monkeypatch.setattr(importing.Importer, "_held", held)
    file = turns(tmp_path / "chat.jsonl", *({"id": n, "text": "x " * 1_500} for n in range(12)))
    shell.ok("import", file)
    assert len(batches) == 3
    assert max(batches) <= 13_000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_file_in_utf_16_is_named_once(shell: Shell, tmp_path: Path, encoding: str) -> None:
    """UTF-16 and UTF-32 with a byte order mark are refused with what to do; UTF-8's is skipped."""
    text = '\ufeff{"text": "one"}\r\n{"text": "two"}\r\n'
    file = tmp_path / "chat.jsonl"
    file.write_bytes(text.encode(encoding))
    result = shell.run("import", file)
    assert result.exit_code == 7
    assert result.stderr.count("not in UTF-8") == len(result.stderr.splitlines()) == 1
    file.write_text(text, encoding="utf-8")
    assert json.loads(shell.ok("import", file, "--json"))["imported"] == 2


def test_several_files_are_one_import(shell: Shell, tmp_path: Path) -> None:
    """What an earlier file brought is skipped in a later one; a missing file stops before all."""
    first = turns(tmp_path / "a.jsonl", {"id": "1", "text": "one"}, {"id": "2", "text": "two"})
    second = turns(tmp_path / "b.jsonl", {"id": "2", "text": "two"}, {"id": "3", "text": "three"})
    assert shell.run("import", first, tmp_path / "missing").exit_code == 2
    assert shell.json("stats")["memories"] == 0
    summary = shell.json("import", first, second)
    assert (summary["imported"], summary["skipped"]) == (3, 1)


def test_what_is_exported_comes_back_the_same(
    shell: Shell, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Export, import elsewhere, export again: the same memories but for their ids."""
    odd = {"text": "x", "deep": {"$date": "no date"}, "list": [1, "a", None]}
    shell.ok("import", turns(tmp_path / "chat.jsonl", *GOOD, odd))
    shell.ok("remember", "dated", "--meta", "day=2024-05-01", "--meta", "at=2024-05-01T10:00")
    shell.ok("remember", "here", "--namespace", "else.where", "--thread", "t")
    out = tmp_path / "export.jsonl"
    shell.ok("export", "--output", out)
    assert out.stat().st_mode & 0o077 == 0
    assert shell.run("export", "--output", out).exit_code == 2
    other = Shell(tmp_path_factory.mktemp("other") / "other.mimir")
    other.ok("create", other.vault)
    assert other.json("import", out)["imported"] == len(GOOD) + 3
    assert _comparable(other.ok("export")) == _comparable(out.read_text())
    assert other.json("import", out)["skipped"] == len(GOOD) + 3


def test_the_newest_value_of_a_key_stays_its_value(
    shell: Shell, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Exported and imported, a key with history has its newest value; the older one is there."""
    with Mimir.open(shell.vault, PASSPHRASE, profile=FAST) as mimir:
        mimir.remember("Ana lives in Rome", key="home")
        mimir.remember("Ana lives in Oslo", key="home", keep_history=True)
    out = tmp_path / "export.jsonl"
    shell.ok("export", "--output", out)
    other = Shell(tmp_path_factory.mktemp("other") / "other.mimir")
    other.ok("create", other.vault)
    for imported in (2, 0):
        assert other.json("import", out)["imported"] == imported
    with Mimir.open(other.vault, PASSPHRASE, profile=FAST) as mimir:
        assert mimir.get(key="home").text == "Ana lives in Oslo"
        assert {memory.text for memory in mimir.memories()} == {
            "Ana lives in Rome", "Ana lives in Oslo",
        }  # fmt: skip


def test_an_export_that_cannot_be_written_leaves_no_file(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends with its exit code, and nothing readable stays behind."""
    shell.ok("remember", "a secret")
    shell.ok("remember", "another")
    real = transfer.to_json

    def full(value: Any) -> str:
        if value["text"] == "another":
            raise OSError(errno.ENOSPC, "full")
        return real(value)

    monkeypatch.setattr(transfer, "to_json", full)
    out = tmp_path / "export.jsonl"
    result = shell.run("export", "--output", out)
    assert (result.exit_code, "No space left" in result.stderr) == (8, True)
    assert not out.exists()


def test_a_number_that_is_no_time_is_kept_as_text(shell: Shell, tmp_path: Path) -> None:
    """Whatever its size, and the other lines are stored as well."""
    times = [10**400, 1e300, 2023, -1]
    lines = [{"text": f"turn {n}", "time": time} for n, time in enumerate(times)]
    summary = shell.json("import", turns(tmp_path / "chat.jsonl", *lines, {"text": "last"}))
    assert (summary["imported"], summary["times_kept"], summary["bad"]) == (5, 4, 0)
    exported = [json.loads(line) for line in shell.ok("export").splitlines()]
    assert [line["metadata"].get("time_text") for line in exported] == [*map(str, times), None]


def _comparable(exported: str) -> list[dict[str, Any]]:
    """Exported memories without ids; a memory without a key gets one on its way in."""
    memories = [json.loads(line) for line in exported.splitlines()]
    for memory in memories:
        own = memory.pop("id")
        memory["key"] = None if str(memory["key"]).startswith("exported/") else memory["key"]
        assert len(own) == 64
    return memories
