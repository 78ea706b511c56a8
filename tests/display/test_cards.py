"""What a notebook shows of vaults, hits, threads, lineages: escaped, and only what was asked."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from mimir_core import Item, Mimir
from mimir_core.display.cards import MAX_TURNS
from mimir_core.display.markup import MAX_SHOWN, passage
from mimir_core.results import Hits, Thread

SECRET = "Ana's cat is called <Pixel> & \"Byte\""


class Page(HTMLParser):
    """What a browser makes of HTML: text, tags, and whether every tag was closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.open = "", set[str](), list[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        assert not [name for name, _ in attrs if name not in ("class", "style", "dir")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def shown(value: object) -> str:
    """What a notebook shows of a value as text; it must be harmless and well-formed."""
    html = value._repr_html_()  # type: ignore[attr-defined]  # the protocol of notebooks
    page = Page(html)
    assert not page.open
    assert page.tags <= {"style", "div", "span", "code", "bdi"}
    assert not re.search(r"url\(|@import|https?:|javascript|<script", html)
    return page.text


def test_a_vault_shows_numbers_only(mimir: Mimir) -> None:
    """Neither content nor thread, key, namespace or metadata stand in what a vault shows."""
    mimir.remember(
        SECRET, thread="monday", key="cat", namespace=("alice", "chat"), metadata={"tag": "pet"}
    )
    text = shown(mimir)
    assert "1memories" in text
    for word in ("Pixel", "monday", "cat", "alice", "chat", "pet"):
        assert word not in text


def test_a_closed_vault_says_so(mimir: Mimir) -> None:
    """A closed vault is shown without an exception."""
    mimir.close()
    assert "closed" in shown(mimir)


def test_hits_show_text_and_what_each_channel_gave(mimir: Mimir) -> None:
    """Each hit shows its text, its origin and a bar for every channel of its score."""
    for text in ("Where is the ladder?", SECRET, "Thanks!"):
        mimir.remember(text, thread="monday", metadata={"speaker": "Ana"})
    hits = mimir.recall("the cat Pixel", neighbours=1)
    text = shown(hits)
    assert SECRET in text
    for word in ("dense", "lexical", "spread", "Ana", "monday", f"{hits[0].score:.2f}"):
        assert word in text
    assert f"{hits[0].channels['lexical']:+.2f}" in text
    assert SECRET in shown(hits[0])


def test_nothing_found_says_so(mimir: Mimir) -> None:
    """An empty list of hits, and an empty thread, are shown as such."""
    assert shown(mimir.recall("anything")) == "Nothing found."
    assert shown(mimir.thread("none")) == "No memories."


def test_bars_keep_within_their_track(mimir: Mimir) -> None:
    """Bars of positive and of negative scores lie between 0 and 100 % of their track."""
    mimir.remember_many(Item(f"note {n} of {'tea' * (n % 3)}") for n in range(30))
    for mode in ("hybrid", "dense", "lexical"):
        html = mimir.recall("tea note", k=30, mode=mode)._repr_html_()
        bars = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", html)
        assert bars
        for left, width in bars:
            assert 0 <= float(left) <= float(left) + float(width) <= 100.11


def test_a_thread_shows_its_turns_and_counts_the_rest(mimir: Mimir) -> None:
    """A long thread shows its first turns and how many more there are."""
    mimir.remember_many(Item(f"turn {n}", thread="long") for n in range(MAX_TURNS + 7))
    text = shown(mimir.thread("long"))
    assert text.count("turn ") == MAX_TURNS
    assert "… and 7 more" in text
    assert shown(mimir.thread("long")[-2:]).count("turn ") == 2


def test_a_memory_is_shown_when_it_was_asked_for(mimir: Mimir) -> None:
    """A cell that ends in one memory shows its text; bytes show as text, too."""
    assert SECRET in shown(mimir.get(mimir.remember(SECRET)))
    assert "raw" in shown(mimir.get(mimir.remember(b"raw\xff")))


def test_a_lineage_shows_ids_and_no_text(mimir: Mimir) -> None:
    """Parents, children and what was forgotten among them stand there by id and kind of edge."""
    source = mimir.remember(SECRET)
    gone = mimir.remember("to be forgotten")
    made = mimir.remember("a summary", derived_from=[source, gone])
    mimir.forget(gone)
    text = shown(mimir.lineage(made))
    assert source[:12] in text
    assert "forgotten" in text.split(gone[:12])[1]
    assert "derives, 1 step" in text
    assert made[:12] in shown(mimir.lineage(source)).split("made of it")[1]
    assert "Pixel" not in text
    assert "summary" not in text


def test_plain_reprs_show_no_content(mimir: Mimir) -> None:
    """What a console shows of the same values holds ids and numbers only."""
    mimir.remember(SECRET, thread="monday")
    for value in (mimir, mimir.recall("cat"), mimir.thread("monday"), mimir.graph()):
        assert "Pixel" not in repr(value)
        assert "monday" not in repr(value)


def test_slices_are_shown_as_the_whole_is(mimir: Mimir) -> None:
    """A slice of hits is hits, a slice of a thread is a thread, and one of them is an element."""
    mimir.remember_many(Item(f"turn {n}", thread="t") for n in range(4))
    hits, thread = mimir.recall("turn", k=4), mimir.thread("t")
    assert isinstance(hits[:2], Hits)
    assert isinstance(thread[1:], Thread)
    assert thread[1] == mimir.thread("t", last=3)[0]
    assert hits == list(hits)


@given(st.text(max_size=MAX_SHOWN))
def test_any_text_is_shown_as_text(text: str) -> None:
    """Whatever a memory holds, a browser sees one element with that text in it."""
    page = Page(passage(text))
    assert page.tags == {"div"}
    assert not page.open
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert page.text.replace("\r\n", "\n").replace("\r", "\n") == expected


def test_a_long_text_is_cut_and_says_so() -> None:
    """Beyond 600 characters a text is cut, and its length is told."""
    text = Page(passage("x" * 5_000)).text
    assert text.startswith("x" * MAX_SHOWN + "…")
    assert "5,000 characters" in text
