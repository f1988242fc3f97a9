"""website/check.py: broken links, and addresses that a page would fetch from a network."""

from pathlib import Path

import pytest

from website.check import faults


def site(folder: Path, body: str) -> Path:
    (folder / "sub").mkdir()
    (folder / "index.html").write_text(f"<h1 id='start'>x</h1>{body}", encoding="utf-8")
    part = "<h2 id='part two'></h2><a href='#part%20two'></a>"
    (folder / "sub/page.html").write_text(part, encoding="utf-8")
    (folder / "sub/index.html").write_text("<a href='../index.html#start'></a>", encoding="utf-8")
    (folder / "table.csv").write_text("a,b\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "body",
    [
        "<a href='sub/page.html'></a>",
        "<a href='sub/page.html#part%20two'></a>",
        "<a href='sub/'></a><a href='sub'></a>",
        "<a href='#start'></a><a href='#'></a>",
        "<a href='table.csv'></a>",
        "<a href='https://example.org'></a><a href='mailto:a@example.org'></a>",
        "<img src='data:image/png;base64,AA=='>",
        "<link rel='canonical' href='https://example.org/index.html'>",
        "<pre>| a | b |\n::: name</pre>",
    ],
)
def test_a_good_link_is_no_fault(tmp_path: Path, body: str) -> None:
    assert list(faults(site(tmp_path, body))) == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<a href='no.html'></a>", "index.html: no.html does not exist"),
        ("<img src='no.svg'>", "index.html: no.svg does not exist"),
        ("<a href='#no'></a>", "index.html: #no names no anchor of that page"),
        (
            "<a href='sub/page.html#no'></a>",
            "index.html: sub/page.html#no names no anchor of that page",
        ),
        ("<a href='../other.html'></a>", "index.html: ../other.html leaves the site"),
        ("<script src='//cdn.x/a.js'></script>", "index.html: //cdn.x/a.js is fetched from a netw"),
        ("<link href='https://f.x/a.css'>", "index.html: https://f.x/a.css is fetched from a netw"),
        ("<p>::: securefl.no</p>", "index.html: not rendered: ::: securefl.no"),
        ("<p>| a | b |</p>", "index.html: not rendered: | a | b |"),
    ],
)
def test_a_bad_link_is_named_with_its_page(tmp_path: Path, body: str, sentence: str) -> None:
    (fault,) = faults(site(tmp_path, body))
    assert fault.startswith(sentence)


@pytest.mark.parametrize("rule", ["@import 'https://f.x/a.css'", "a { src: url(//f.x/a.woff) }"])
def test_a_style_that_fetches_is_named(tmp_path: Path, rule: str) -> None:
    (site(tmp_path, "") / "a.css").write_text(rule, encoding="utf-8")
    assert list(faults(tmp_path)) == ["a.css fetches from a network"]


def test_the_page_that_a_server_shows_anywhere_links_from_the_root(tmp_path: Path) -> None:
    (site(tmp_path, "") / "404.html").write_text("<a href='/index.html'></a>", encoding="utf-8")
    assert list(faults(tmp_path)) == []
