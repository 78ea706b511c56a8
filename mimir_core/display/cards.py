"""What a notebook shows of a vault, of hits, a thread, a memory and a lineage.

A vault shows numbers only; content stands where the cell asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mimir_core.display.markup import (
    bar,
    div,
    minute,
    number,
    page,
    passage,
    span,
    words,
)
from mimir_core.errors import MimirError

if TYPE_CHECKING:
    from mimir_core.lookup import Lookup
    from mimir_core.results import Hit, Lineage, Memory, Relative

MAX_TURNS = 200
"""Memories that one output shows; the rest are counted."""


def vault_html(mimir: Lookup) -> str:
    """The vault in numbers: no content, no names but the file's, as in its repr."""
    head = div("head", words(repr(mimir).strip("<>")))
    try:
        stats = mimir.stats()
    except (MimirError, OSError):
        return page(head, div("dim", "closed, or not readable now"))
    shown = {
        "memories": f"{stats.memories:,}",
        "forgotten or superseded": f"{stats.erased:,}",
        "namespaces": f"{stats.namespaces:,}",
        "vectors": f"{sum(stats.vectors.values()):,}",
        "commits": f"{stats.commits:,}",
        "MB on disk, sealed": f"{stats.file_bytes / 1e6:,.1f}",
    }
    return page(head, div("numbers", *(number(*each) for each in shown.items())))


def hits_html(hits: Sequence[Hit]) -> str:
    """Hits, best first, each with what every channel gave to its score."""
    if not hits:
        return page(div("dim", "Nothing found."))
    gains = [gain for hit in hits for gain in hit.channels.values()]
    low, high = min(0.0, *gains), max(0.0, *gains)
    reach = (low, high if high > low else low + 1)
    rows = [_hit(rank, hit, reach) for rank, hit in enumerate(hits[:MAX_TURNS], 1)]
    return page(*rows, _rest(len(hits)))


def _hit(rank: int, hit: Hit, reach: tuple[float, float]) -> str:
    gains = [bar(name, gain, *reach) for name, gain in hit.channels.items()]
    score = span("value", f"{hit.score:.2f}")
    total = div("bar m-dim", span("name", "score"), span("line"), score)
    around = [_turns(hit.before), passage(hit.text), _turns(hit.after)]
    found = f"by {' + '.join(hit.found_by)}"
    main = div("main", *around, _origin(hit.memory, found))
    hit_and_bars = div("wrap", main, div("bars", *gains, total))
    return div("row", span("rank", str(rank)), hit_and_bars)


def _turns(memories: Sequence[Memory]) -> str:
    return div("dim", *(passage(memory.text) for memory in memories)) if memories else ""


def _origin(memory: Memory, *more: str) -> str:
    known = (memory.metadata.get("speaker"), memory.thread, memory.key, *more)
    parts = [minute(memory.time), *(str(each) for each in known if each is not None)]
    return div("dim", " · ".join(f"<bdi>{words(part)}</bdi>" for part in parts))


def thread_html(memories: Sequence[Memory]) -> str:
    """Memories in order, each with its time and speaker."""
    if not memories:
        return page(div("dim", "No memories."))
    return page(*(_turn(memory) for memory in memories[:MAX_TURNS]), _rest(len(memories)))


def _turn(memory: Memory) -> str:
    return div("row", div("main", passage(memory.text), _origin(memory)))


def _rest(count: int) -> str:
    more = count - MAX_TURNS
    return div("dim", f"… and {more:,} more") if more > 0 else ""


def lineage_html(lineage: Lineage) -> str:
    """What a memory was made from and what was made from it, as ids: no content."""
    head = div("head", f"Lineage of <code>{words(lineage.id[:12])}</code>")
    return page(
        head,
        _relatives("made from", lineage.ancestors),
        _relatives("made of it", lineage.descendants),
    )


def _relatives(label: str, relatives: Sequence[Relative]) -> str:
    rows = [_relative(each) for each in relatives[:MAX_TURNS]] or [div("dim", "nothing")]
    return div("row", div("side", words(label)), div("main", *rows, _rest(len(relatives))))


def _relative(relative: Relative) -> str:
    kinds = " + ".join(kind.name.lower() for kind in relative.edges)
    code = f"<code>{words(relative.id[:12])}</code>"
    shown = span("gone", code) if relative.erased else code
    steps = "1 step" if relative.distance == 1 else f"{relative.distance:,} steps"
    state = ", forgotten" if relative.erased else ""
    return f"<div>{shown} {span('dim', words(f'{kinds}, {steps}{state}'))}</div>"
