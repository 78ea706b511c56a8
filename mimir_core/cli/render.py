"""Tables for people, plain dicts for programs: what the commands print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mimir_core.cli.console import console, safe
from mimir_core.results import Forgotten, Hit, Memory, Stats
from mimir_core.types import Namespace

MAX_SHOWN = 600
"""Characters of a text that a table shows; `--json` and `export` give all."""


def table(*columns: str) -> Table:
    """An empty table in the house style; numbers go to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column in ("#", "score", "memories", "count")
        made.add_column(column, justify="right" if right else "left", overflow="fold")
    return made


def cell(value: object, style: str = "") -> Text:
    """A value as a safe cell, shortened."""
    text = str(value)
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"
    return Text(safe(text), style=style)


def print_hits(hits: Sequence[Hit], *, explain: bool = False) -> None:
    """Prints the hits of a recall, best first, and on request what each channel gave."""
    if not hits:
        console().print("Nothing found.")
        return
    made = table("#", "score", "memory")
    for rank, hit in enumerate(hits, 1):
        made.add_row(cell(rank), cell(f"{hit.score:.2f}"), _hit(hit, explain), end_section=True)
    _print(made)


def _hit(hit: Hit, explain: bool) -> Text:
    parts = [_turn(memory, "dim") for memory in hit.before]
    parts.append(Text.assemble(_head(hit.memory), ("  by " + "+".join(hit.found_by), "green")))
    parts.append(cell(hit.text, "bold"))
    parts += [_turn(memory, "dim") for memory in hit.after]
    if explain:
        parts.append(_why(hit))
    return Text("\n").join([*parts, cell(hit.id, "dim")])


def _why(hit: Hit) -> Text:
    gains = [f"{name} {gain:+.2f}" for name, gain in hit.channels.items()]
    source = [f"spread from {hit.spread_from}"] if hit.spread_from else []
    return cell("  ".join(gains + source), "green")


def _head(memory: Memory) -> Text:
    parts = [memory.time.strftime("%Y-%m-%d %H:%M"), memory.metadata.get("speaker"), memory.thread]
    return cell("  ".join(str(part) for part in parts if part is not None), "cyan")


def _turn(memory: Memory, style: str) -> Text:
    speaker = memory.metadata.get("speaker")
    return cell(f"  {speaker}: {memory.text}" if speaker is not None else f"  {memory.text}", style)


def print_thread(memories: Iterable[Memory]) -> None:
    """Prints the turns of a thread, oldest first."""
    made = table("time", "speaker", "text")
    for memory in memories:
        when = cell(memory.time.strftime("%Y-%m-%d %H:%M"), "cyan")
        made.add_row(when, cell(memory.metadata.get("speaker") or ""), cell(memory.text))
    made.columns[0].no_wrap = True
    _print(made)


def print_counts(counts: Mapping[str, int], what: str) -> None:
    """Prints names with how many memories each."""
    made = table(what, "memories")
    for name, count in counts.items():
        made.add_row(cell(name), cell(f"{count:,}"))
    _print(made)


def print_excerpts(found: Forgotten) -> None:
    """Prints how many memories would go from which namespace, with pieces of a few of each."""
    if not found.count:
        return
    made = table("namespace", "memories", "such as")
    for labels, count in sorted(found.namespaces.items()):
        texts = [cell(one.text) for one in found.excerpts if one.namespace == labels]
        made.add_row(cell(".".join(labels)), cell(f"{count:,}"), Text("\n").join(texts))
    _print(made)


def forgotten_json(found: Forgotten, dry_run: bool) -> dict[str, Any]:
    """What was forgotten, or would be, for `--json`; excerpts of what `--mentions` found."""
    counts = {".".join(labels): count for labels, count in sorted(found.namespaces.items())}
    told = {"ids": list(found.ids), "count": found.count, "dry_run": dry_run, "namespaces": counts}
    if found.excerpts:
        told["excerpts"] = [{"id": each.id, "text": each.text} for each in found.excerpts]
    return told


def print_stats(stats: Stats, namespaces: Mapping[Namespace, int]) -> None:
    """Prints the vault in numbers, and its namespaces."""
    made = table("vault", "count")
    for name, value in _stat_rows(stats).items():
        made.add_row(cell(name), cell(value))
    _print(made)
    if namespaces:
        print_counts({".".join(labels): count for labels, count in namespaces.items()}, "namespace")


def _stat_rows(stats: Stats) -> dict[str, str]:
    rows = {
        "memories": f"{stats.memories:,}",
        "forgotten or superseded": f"{stats.erased:,}",
        **{f"vectors of model {name}": f"{count:,}" for name, count in stats.vectors.items()},
        "vector blocks lost": f"{stats.vectors_lost:,}",
        "file": f"{stats.file_bytes / 1e6:,.2f} MB",
        "commits": f"{stats.commits:,}",
        "not in a segment yet": f"{stats.tail:,}",
        "vector search": "ready" if stats.indexed else "exact, its graph is being built",
    }
    return {name: value for name, value in rows.items() if value != "0" or name == "memories"}


def memory_json(memory: Memory) -> dict[str, Any]:
    """A memory for `--json`; bytes as base64 under `base64` instead of `text`."""
    content = memory.content
    return {
        "id": memory.id,
        "time": memory.time,
        "namespace": list(memory.namespace),
        "thread": memory.thread,
        "key": memory.key,
        "metadata": dict(memory.metadata),
        **({"text": content} if isinstance(content, str) else {"base64": content}),
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit for `--json`."""
    return {
        "score": hit.score,
        "found_by": list(hit.found_by),
        "channels": dict(hit.channels),
        "spread_from": hit.spread_from,
        **memory_json(hit.memory),
        "before": [memory_json(memory) for memory in hit.before],
        "after": [memory_json(memory) for memory in hit.after],
    }


def _print(made: RenderableType) -> None:
    console().print(made)
