"""Boxes of words below each other, with arrows between them: drawn by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from securefl.ui.report.figures.drawing import (
    ACCENT,
    FONT_SIZE,
    INK,
    LINE,
    PAPER,
    SMALL,
    SOFT,
    WARN,
    WIDTH,
    element,
)

MARGIN = 1
INNER = 12  # from the edge of a box to its text
STEP = 15  # from line to line
ARROW = 22  # from box to box


@dataclass(frozen=True)
class Words:
    """A line of a box: its words, its mark, and whether it is heavy."""

    text: str
    mark: str = ""
    colour: str = INK
    heavy: bool = False


_LEGEND = {
    "one": "readable, from one other client alone",
    "several": "readable: its own, or of several clients together",
    "sealed": "not readable by itself: keys, shares, ciphertexts",
}


def drawn(boxes: Sequence[Sequence[Words]], name: str, alt: str) -> str:
    """Returns boxes below each other as the text of one <svg> element, with a key to the marks."""
    root = Element("svg")
    top = float(MARGIN)
    for place, lines in enumerate(boxes):
        if place:
            _arrow(root, top)
            top += ARROW
        top = _box(root, top, lines)
    top += STEP
    marks = {line.mark for lines in boxes for line in lines}
    for mark, words in _LEGEND.items():
        if mark not in marks:
            continue
        top += STEP
        _mark_at(root, INNER, top, mark)
        _text(root, INNER + 14, top, words, SMALL, INK)
    return element(root, name=name, alt=alt, height=top + 6)


def _box(root: Element, top: float, lines: Sequence[Words]) -> float:
    height = STEP * len(lines) + 12
    style = f"fill: {SOFT}; stroke: {LINE}"
    _add(root, "rect", style, x=MARGIN, y=top, width=WIDTH - 2 * MARGIN, height=height, rx=6)
    for place, line in enumerate(lines):
        baseline = top + STEP * (place + 1) + 2
        left = float(INNER)
        if line.mark:
            left += 14
            _mark_at(root, INNER, baseline, line.mark)
        _text(
            root,
            left,
            baseline,
            line.text,
            FONT_SIZE if line.heavy else SMALL,
            line.colour,
            heavy=line.heavy,
        )
    return top + height


def _arrow(root: Element, top: float) -> None:
    middle = WIDTH / 2
    path = f"M {middle} {top + 3} V {top + ARROW - 4} m -4 -5 l 4 5 l 4 -5"
    _add(root, "path", f"fill: none; stroke: {INK}; stroke-width: 1.2", d=path)


def _mark_at(root: Element, left: float, baseline: float, mark: str) -> None:
    styles: Mapping[str, str] = {
        "one": f"fill: {WARN}",
        "several": f"fill: {ACCENT}",
        "sealed": f"fill: {PAPER}; stroke: {INK}",
    }
    if mark in styles:
        _add(root, "circle", styles[mark], cx=left + 4, cy=baseline - 3.5, r=3.4)
    if mark == "one":
        _add(root, "path", f"fill: none; stroke: {WARN}", d=f"M {left - 1.5} {baseline - 3.5} h 11")
    if mark == "noise":
        wave = f"M {left - 1} {baseline - 3} q 2.5 -5 5 0 t 5 0"
        _add(root, "path", f"fill: none; stroke: {ACCENT}; stroke-width: 1.4", d=wave)


def _text(
    root: Element, x: float, y: float, words: str, size: float, colour: str, *, heavy: bool = False
) -> None:
    weight = "; font-weight: 600" if heavy else ""
    node = _add(root, "text", f"font-size: {size}px; fill: {colour}{weight}", x=x, y=y)
    node.text = words


def _add(root: Element, tag: str, style: str, **places: object) -> Element:
    return SubElement(
        root, tag, {**{key: f"{value}" for key, value in places.items()}, "style": style}
    )
