import base64
import re
from html.parser import HTMLParser

import pytest

from difftune.report import (
    Block,
    Code,
    Collapsible,
    Measured,
    Numbers,
    Picture,
    Row,
    Section,
    Table,
    Text,
    region,
    render,
)
from tests.report import samples

EVIL = '<script>alert("x")</script> & \'"'
VOID = {"meta", "img", "br", "link", "wbr"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.ids = [], [], "", set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def blocks(text):
    return [
        Text(f"{text}\n\nsecond paragraph"),
        Numbers([(text, text)]),
        Row([Code(text), Table(columns=(text,), rows=((text,),), caption=text)]),
        Collapsible(text, [Code(text)]),
        Picture(b"\x89PNG", text),
    ]


@pytest.fixture(scope="module")
def page():
    figure = region(samples.toy_templates())
    return render(
        EVIL,
        EVIL,
        [
            Section(EVIL, blocks(EVIL)),
            Section("Region", [Picture(figure, "Signal region"), Picture(figure, width=50)]),
            Section("Empty", []),
        ],
    )


def test_everything_is_escaped(page):
    parsed = Page(page)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count(EVIL) >= 10
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert images[0]["alt"] == EVIL


def test_page_needs_nothing_from_outside(page):
    parsed = Page(page)
    for tag, attributes in parsed.tags:
        assert tag not in {"link", "script", "iframe", "object"}
        assert attributes.get("href", "#").startswith("#")
        if "src" in attributes:
            assert tag == "img"
            kind, data = attributes["src"].split(",")
            assert kind == "data:image/png;base64"
            assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert not re.search(r"url\(|@import|https?:", page)
    assert len(page) < 1_000_000


def test_contents_lead_to_the_sections(page):
    parsed = Page(page)
    targets = [a["href"].removeprefix("#") for tag, a in parsed.tags if tag == "a"]
    assert len(targets) == 2
    assert set(targets) <= parsed.ids
    assert "Empty" not in parsed.text
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.tags[0] == ("html", {"lang": "en"})


def test_tables_and_all_pieces_are_blocks():
    pieces = [*blocks("x"), Table(columns=("a",), rows=((Measured(1, 2),),))]
    assert all(isinstance(piece, Block) for piece in pieces)


def test_paragraphs():
    assert Text(" one\ntwo\n\nthree ").html() == "<p>one\ntwo</p><p>three</p>"


def test_code_between_backticks():
    page = Page(Text("Run `difftune run <file>` & wait").html())
    assert page.text == "Run difftune run <file> & wait"
    assert [tag for tag, _ in page.tags] == ["p", "code"]


def test_what_is_too_wide_for_the_page_is_set_smaller_and_then_in_parts():
    normal, smaller, parts = (
        Table(columns=tuple(f"long_name_{i}" for i in range(n)), rows=((1.0,) * n,)).html()
        for n in (6, 10, 40)
    )
    assert "dense" not in normal
    assert "wbr" not in normal
    assert 'class="dense over-' in smaller
    assert "long_<wbr>name_<wbr>9" in smaller
    assert smaller.count("<table") == 1
    count = parts.count("<table")
    assert count > 1
    tags = Page(parts).tags
    # Every part has the first column, and each other column stands in one of them.
    assert sum(tag == "th" for tag, _ in tags) == 39 + count
    labels = [own["data-label"] for tag, own in tags if tag == "td" and "data-label" in own]
    assert labels == [f"long_name_{i}" for i in range(1, 40)]
