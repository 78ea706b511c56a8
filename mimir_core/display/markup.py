"""HTML for notebooks: escaped text, one style sheet, no script, nothing fetched.

Colours are mid-tones and greys over a transparent ground, so that they hold in light and dark
themes; where a viewer strips the style sheet, the words still stand one below the other.
"""

from __future__ import annotations

import datetime as dt
from html import escape

MAX_SHOWN = 600
"""Characters of a text that a notebook shows."""

CHANNEL_COLOURS = {
    "dense": "#4f86c6", "lexical": "#d98032", "spread": "#4ea36b", "time": "#9a6fc0"
}  # fmt: skip
GREY = "#8a8a8a"

# `.mimir.mimir` outweighs the rules that notebooks have for the output of cells.
_STYLE = """
.mimir.mimir{font:13px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:inherit;
background:transparent;max-width:60rem;margin:.3rem 0}
.mimir.mimir .m-head{font-weight:600;margin-bottom:.3rem}
.mimir.mimir .m-dim{opacity:.68;font-size:12px;font-weight:400}
.mimir.mimir .m-row{display:flex;gap:1.2rem;padding:.45rem 0;
border-top:1px solid rgba(128,128,128,.3)}
.mimir.mimir .m-wrap{display:flex;flex-wrap:wrap;flex:1;min-width:0;gap:.3rem 1.2rem}
.mimir.mimir .m-rank{flex:0 0 1.4rem;text-align:right;opacity:.68}
.mimir.mimir .m-side{flex:0 0 6rem;opacity:.68}
.mimir.mimir .m-main{flex:1 1 18rem;min-width:0}
.mimir.mimir .m-text{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
.mimir.mimir .m-bars{flex:0 0 17rem;font-size:12px;font-variant-numeric:tabular-nums}
.mimir.mimir .m-bar{display:flex;align-items:center;gap:.5rem;line-height:1.45}
.mimir.mimir .m-name{flex:0 0 3.4rem}
.mimir.mimir .m-track{flex:1;position:relative;height:.5rem;border-radius:.25rem;
background:rgba(128,128,128,.16)}
.mimir.mimir .m-line{flex:1}
.mimir.mimir .m-fill{position:absolute;top:0;bottom:0;border-radius:.25rem}
.mimir.mimir .m-value{flex:0 0 3.2rem;text-align:right}
.mimir.mimir .m-numbers{display:flex;flex-wrap:wrap;gap:.3rem 1.8rem}
.mimir.mimir .m-number{font-size:17px;font-variant-numeric:tabular-nums}
.mimir.mimir code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
font-size:12px;background:transparent;color:inherit;padding:0}
.mimir.mimir .m-gone{text-decoration:line-through;opacity:.6}
"""


def page(*parts: str) -> str:
    """The parts under their style sheet."""
    style = "".join(_STYLE.splitlines())
    return f'<style>{style}</style><div class="mimir">{"".join(parts)}</div>'


def div(name: str, *parts: str) -> str:
    """An element of a class of ours, around markup."""
    return f'<div class="m-{name}">{"".join(parts)}</div>'


def span(name: str, *parts: str) -> str:
    """The same within a line."""
    return f'<span class="m-{name}">{"".join(parts)}</span>'


def words(text: object) -> str:
    """Any text, escaped."""
    return escape(str(text))


def passage(text: str) -> str:
    """A stored text, escaped, shortened, and kept from reordering what stands around it."""
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"
    return f'<div class="m-text" dir="auto">{words(shown)}</div>'


def number(label: str, value: str) -> str:
    """A figure above what it counts."""
    return f"<div>{div('number', words(value))}{div('dim', words(label))}</div>"


def minute(time: dt.datetime) -> str:
    """A time as people read it, UTC."""
    return f"{time:%Y-%m-%d %H:%M}"


def bar(name: str, value: float, low: float, high: float) -> str:
    """A labelled bar from zero to `value` on a track from `low` to `high`."""
    reach = high - low
    start, end = sorted(((0 - low) / reach, (value - low) / reach))
    place = f"left:{start:.1%};width:{end - start:.1%}"
    colour = CHANNEL_COLOURS.get(name, GREY)
    fill = f'<span class="m-fill" style="{place};background:{colour}"></span>'
    value_shown = span("value", f"{value:+.2f}")
    return div("bar", span("name", words(name)), span("track", fill), value_shown)
