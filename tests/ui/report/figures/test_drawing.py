"""A drawing as one <svg> element: text, colours, ids, and the same bytes every time."""

import hashlib
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from securefl.ui.report.figures.drawing import (
    INK,
    LINE,
    PAPER,
    SERIES,
    canvas,
    end_labels,
    lines_of,
    panel,
    shown,
    svg_of,
    write,
)
from tests.paths import ROOT

HOSTILE = [
    "<script>alert(1)</script>",
    "$x$ and \\frac",
    "$",
    "😀 🏥",
    "עברית ועוד",
    "&amp; ]]> <!--",
    '" onload="x',
    "a\x00b\x1b[31m",
]


def drawn(words: str = "words", name: str = "figure") -> str:
    figure = canvas(120)
    axes = panel(figure, top=10, height=80)
    axes.plot([1, 2], [3, 4], color=SERIES[1], marker="o")
    axes.fill_between([1, 2], [3, 3], [4, 4], color=SERIES[0], alpha=0.2, clip_on=True)
    axes.plot([1, 2], [3, 3], color=INK)
    write(axes, 1, 3, shown(words))
    axes.set_xticks([1, 2], [shown(words), "two"])
    return svg_of(figure, name=name, alt=f"shows {shown(words)}")


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - drawn here


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in parsed(svg).iter() if node.text]


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_words_of_somebody_else_stay_text(words: str) -> None:
    svg = drawn(words)
    root = parsed(svg)
    assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {
        *("svg", "g", "defs", "path", "use", "text", "clipPath", "rect"),
    }
    assert shown(words) in texts(svg)
    assert root.get("aria-label") == f"shows {shown(words)}"
    assert "<script" not in svg
    assert not [key for node in root.iter() for key in node.attrib if key.startswith("on")]


def test_a_drawing_is_one_element_that_reaches_for_nothing() -> None:
    svg = drawn()
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    # A style sheet would be one for the whole page; a date would give other bytes tomorrow.
    for part in (
        "<?xml",
        "DOCTYPE",
        "<style",
        "metadata",
        "date",
        "matplotlib",
        "http://www.w3.org/1999",
    ):
        assert part not in svg
    assert not re.findall(r"(?:href|src)=\"(?!#)", svg)
    root = parsed(svg)
    assert root.get("role") == "img"
    assert root.get("viewBox") == "0 0 360 120"
    assert "width: 100%" in root.attrib["style"]


def test_every_id_begins_with_the_figures_name_and_is_referred_to() -> None:
    svg = drawn(name="roc-2")
    ids = re.findall(r'id="([^"]*)"', svg)
    assert ids
    assert all(re.fullmatch(r"roc-2-\d+", name) for name in ids)
    assert len(ids) == len(set(ids))
    referred = re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", svg)
    assert {one or other for one, other in referred} == set(ids)


def test_colours_are_those_of_the_page_with_the_printed_ones_behind_them() -> None:
    svg = drawn()
    assert f"var(--s1, {SERIES[1]})" in svg
    assert f"var(--line, {LINE})" in svg
    assert "stroke: currentColor" in svg
    assert INK not in svg
    # Nothing hides the page behind the drawing.
    assert PAPER not in svg
    assert re.search(r'<svg [^>]*fill="currentColor"', svg)


def test_the_same_figure_gives_the_same_bytes_in_two_processes() -> None:
    code = (
        "import hashlib; from tests.ui.report.figures.test_drawing import drawn; "
        "print(hashlib.sha256(drawn().encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert drawn() == drawn()
    assert other.stdout.strip() == hashlib.sha256(drawn().encode()).hexdigest()


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn()
    assert dict(matplotlib.rcParams) == before


def test_shown_words_are_one_line_without_controls_and_not_too_long() -> None:
    assert shown("a\nb\tc  d") == "a b c d"
    # U+202E turns the direction of all that follows.
    assert shown("a\u202eb") == "a b"
    assert shown("x" * 40, 10) == "x" * 9 + "…"
    assert shown("x" * 10, 10) == "x" * 10


def test_words_are_wrapped_into_a_few_lines() -> None:
    assert lines_of("one two three four", 9) == "one two\nthree…"
    assert lines_of("one", 9) == "one"
    assert lines_of("", 9) == ""


def test_labels_keep_their_order_and_a_distance() -> None:
    # By hand: 1.0 and 1.2 are .8 too near, so that each moves by .4; 5 stays.
    assert end_labels([1.0, 1.2, 5.0], 1.0) == pytest.approx([0.6, 1.6, 5.0])
    assert end_labels([5.0, 1.0], 1.0) == [5.0, 1.0]
    # Equal places: in the order given, around their mean.
    assert end_labels([2.0, 2.0, 2.0], 1.0) == pytest.approx([1.0, 2.0, 3.0])
    # The third pushes the first two, which were apart: around (0 + 0 - 1 + ...) by hand below.
    assert end_labels([0.0, 1.0, 1.0], 1.0) == pytest.approx([-1 / 3, 2 / 3, 5 / 3])
