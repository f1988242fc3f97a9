"""Drawings of a page: a matplotlib figure as one <svg> element that takes the page's colours.

Drawings lie inside the page, so that its theme colours them and their text stays text. Nothing of
a drawing may reach beyond it: it has no style sheet, and its ids begin with its own name.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure as _Figure

Canvas = _Figure
Panel = Any  # axes: the types of matplotlib lack what plots take

# In points. A drawing fills a page of 360 pixels, where its text is still 9 pixels high.
WIDTH = 360
FONT_SIZE = 11
SMALL = 10.5
LARGEST_ON_PAGE = "34rem"

INK, PAPER = "#000000", "#ffffff"
LINE, SOFT = "#d9dee5", "#f2f4f7"
ACCENT, WARN, BAD = "#1f5fae", "#8a5a00", "#b3261e"
# After Okabe and Ito, darker where text of this colour would be hard to read on white.
SERIES = (
    *("#0072b2", "#c04a00", "#007a5a", "#a8457f"),
    *("#5b4ba8", "#8f6a00", "#1786b8", "#6b6b6b"),
)
_ROLES: Mapping[str, str] = {
    INK: "currentColor",
    **{
        colour: f"var(--{name}, {colour})"
        for name, colour in {
            "paper": PAPER,
            "line": LINE,
            "soft": SOFT,
            "accent": ACCENT,
            "warn": WARN,
            "bad": BAD,
            **{f"s{number}": colour for number, colour in enumerate(SERIES)},
        }.items()
    },
}
_SETTINGS: Any = {
    "svg.hashsalt": "securefl",
    "svg.fonttype": "none",  # text, not outlines
    "text.parse_math": False,  # a dollar sign in somebody's name begins no formula
    "font.size": FONT_SIZE,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font-family:[^;]*;?\s*")
_NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)")
_COORDINATES = ("d", "x", "y", "width", "height", "transform", "points")
_DECIMALS = 2


def canvas(height: float) -> Canvas:
    """Returns an empty figure of the usual width; its height is in points."""
    with matplotlib.rc_context(_SETTINGS):
        return Canvas(figsize=(WIDTH / 72, height / 72))


def panel(
    figure: Canvas, *, top: float, height: float, left: float = 40, right: float = 12
) -> Panel:
    """Returns axes with two quiet spines and no tick marks; all arguments are in points.

    Args:
        figure: on which they lie.
        top: distance from the figure's top.
        height: of the axes.
        left: distance from the figure's left edge.
        right: distance from its right edge.
    """
    whole = figure.get_figheight() * 72
    place = (
        left / WIDTH,
        1 - (top + height) / whole,
        (WIDTH - left - right) / WIDTH,
        height / whole,
    )
    with matplotlib.rc_context(_SETTINGS):
        axes = figure.add_axes(place)
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(LINE)
        axes.tick_params(length=0, labelsize=SMALL)
    return axes


def write(
    axes: Panel,
    x: float,
    y: float,
    words: str,
    *,
    size: float = SMALL,
    colour: str = INK,
    **how: object,
) -> None:
    """Writes words at a place of the data; see matplotlib's Axes.text for `how`."""
    with matplotlib.rc_context(_SETTINGS):
        axes.text(x, y, words, fontsize=size, color=colour, clip_on=False, **how)


def shown(words: str, most: int = 28) -> str:
    """Returns somebody's words as one line that can be drawn, cut after `most` characters.

    Characters that control a terminal, a line or the direction of text are left out.
    """
    plain = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn") else " "
        for character in words
    )
    line = " ".join(plain.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def lines_of(words: str, width: int, most: int = 2) -> str:
    """Returns somebody's words as a few lines of at most `width` characters."""
    line = shown(words, width * (most + 1))
    return "\n".join(wrap(line, width, max_lines=most, placeholder="…"))


def svg_of(figure: Canvas, *, name: str, alt: str) -> str:
    """Returns a drawing as the text of one <svg> element; the same figure gives the same bytes.

    Args:
        figure: in the colours of this module.
        name: begins all ids of the element.
        alt: what it shows.
    """
    file = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The page's font draws the text, whatever matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+", category=UserWarning)
        warnings.filterwarnings("ignore", message="Matplotlib currently", category=UserWarning)
        figure.patch.set_visible(False)
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    # Written by matplotlib a moment ago: it holds no entities of anybody else's.
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314
    return element(_without_names(root), name=name, alt=alt, height=figure.get_figheight() * 72)


def element(
    root: ElementTree.Element, *, name: str, alt: str, height: float, width: float = WIDTH
) -> str:
    """Returns the content of an <svg> element in a page's colours, as text.

    Args:
        root: its children are the content.
        name: begins all ids.
        alt: what it shows.
        height: of the drawing, in points.
        width: of the drawing, in points.
    """
    _rename(root, name)
    for node in root.iter():
        _tidy(node)
    _flatten(root)
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-label": alt,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "style": f"display: block; width: 100%; max-width: {LARGEST_ON_PAGE}; height: auto",
    }
    root.text = root.tail = None
    return ElementTree.tostring(root, encoding="unicode")


def _without_names(root: ElementTree.Element) -> ElementTree.Element:
    """Takes namespaces, metadata and style sheets out of a tree."""
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            # A style sheet inside a page is one for the whole page.
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)
        for key in [key for key in parent.attrib if "}" in key]:
            parent.attrib[key.rpartition("}")[2]] = parent.attrib.pop(key)
    return root


def _rename(root: ElementTree.Element, name: str) -> None:
    """Gives the ids that something refers to new names, and removes all others."""
    names: dict[str, str] = {}
    for node in root.iter():
        for target in _targets(node):
            names.setdefault(target, f"{name}-{len(names)}")
    for node in root.iter():
        own = node.attrib.pop("id", None)
        if own in names:
            node.set("id", names[own])
        for key, value in node.attrib.items():
            if key == "href":
                node.set(key, f"#{names[value.removeprefix('#')]}")
            else:
                node.set(key, _REFERENCE.sub(lambda found: f"url(#{names[found[1]]})", value))


def _targets(node: ElementTree.Element) -> Iterator[str]:
    for key, value in node.attrib.items():
        if key == "href":
            yield value.removeprefix("#")
        yield from _REFERENCE.findall(value)


def _tidy(node: ElementTree.Element) -> None:
    """Rounds coordinates, and turns colours and fonts into those of the page."""
    for key in _COORDINATES:
        if key in node.attrib:
            rounded = _NUMBER.sub(_rounded, node.attrib[key])
            node.set(key, " ".join(_NO_TURN.sub("", rounded).split()))
    if not node.get("transform", "-"):
        del node.attrib["transform"]
    if "style" in node.attrib:
        style = _FONT.sub("", node.attrib["style"])
        node.set("style", _COLOUR.sub(lambda found: _ROLES.get(found[0], found[0]), style))
    if node.tag != "text" and node.tag != "tspan":
        node.text = None
    node.tail = None


def _rounded(number: re.Match[str]) -> str:
    value = f"{float(number[0]):.{_DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if value == "-0" else value


def _flatten(node: ElementTree.Element) -> None:
    """Replaces groups that say nothing by their content."""
    children: list[ElementTree.Element] = []
    for child in node:
        _flatten(child)
        plain = child.tag in ("g", "defs") and not child.attrib
        if child.tag == "defs":
            plain = not len(child)
        children += list(child) if plain else [child]
    node[:] = children


def end_labels(places: Sequence[float], apart: float) -> list[float]:
    """Returns places for labels: near those given, in the same order, and `apart` at least.

    Args:
        places: where the labels would best be.
        apart: the least distance of two.
    """
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    # Labels that are pushed together form a block around the mean of their best places.
    blocks: list[tuple[float, int]] = []  # sum of best places, each less its steps; and their count
    for step, index in enumerate(order):
        total, count = places[index] - step * apart, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, size = blocks.pop()
            total, count = before + total, size + count
        blocks.append((total, count))
    firsts = [total / count for total, count in blocks for _ in range(count)]
    moved = [0.0] * len(places)
    for step, index in enumerate(order):
        moved[index] = firsts[step] + step * apart
    return moved


def put(figure: Canvas, left: float, top: float, words: str, *, size: float, colour: str) -> None:
    """Writes words on a figure; left and top are their left end and their middle, in points."""
    with matplotlib.rc_context(_SETTINGS):
        height = figure.get_figheight() * 72
        figure.text(left / WIDTH, 1 - top / height, words, fontsize=size, color=colour, va="center")
