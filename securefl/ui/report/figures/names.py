"""Names next to what they name: at the ends of lines, and as a row of coloured words."""

from collections.abc import Sequence
from typing import NamedTuple

from securefl.ui.report.figures.drawing import (
    INK,
    SMALL,
    WIDTH,
    Canvas,
    Panel,
    end_labels,
    put,
    write,
)

ROOM = 116  # to the right of a panel, in points
CHARACTERS = 19  # of a line there
_LINE = 12.5
_CHARACTER = 5.9  # points, on average
_KEY_LINE = 15


class Name(NamedTuple):
    """The name of a line: where it would best be written, in which words and colour."""

    place: float
    words: str
    colour: str


def write_names(axes: Panel, names: Sequence[Name], height: float) -> None:
    """Writes names to the right of a panel, none over another.

    Args:
        axes: whose lines they name.
        names: with their places on the axis.
        height: of the panel, in points.
    """
    if not names:
        return
    low, high = axes.get_ylim()
    rows = max(name.words.count("\n") + 1 for name in names)
    apart = (high - low) / height * (_LINE * rows + 2)
    places = end_labels([name.place for name in names], apart)
    right = axes.get_xlim()[1]
    for name, place in zip(names, places, strict=True):
        write(axes, right, place, f"{name.words}", colour=name.colour, va="center", linespacing=1.1)
    axes.set_ylim(low, high)


def key_lines(entries: Sequence[tuple[str, str]]) -> list[list[tuple[float, str, str]]]:
    """Returns lines of (distance from the left, words, colour) that hold some entries.

    Args:
        entries: words and their colours.
    """
    lines: list[list[tuple[float, str, str]]] = [[]]
    left = 8.0
    for words, colour in entries:
        width = 12 + _CHARACTER * len(words) + 10
        if lines[-1] and left + width > WIDTH:
            lines.append([])
            left = 8.0
        lines[-1].append((left, words, colour))
        left += width
    return lines


def height_of_key(entries: Sequence[tuple[str, str]]) -> float:
    """Returns the height of a key in points."""
    return _KEY_LINE * len(key_lines(entries))


def draw_key(figure: Canvas, entries: Sequence[tuple[str, str]], *, top: float) -> None:
    """Writes a key: a dot in each colour, and the words behind it.

    Args:
        figure: on which it is written.
        entries: words and their colours.
        top: distance from the figure's top, in points.
    """
    for row, line in enumerate(key_lines(entries)):
        for left, words, colour in line:
            middle = top + _KEY_LINE * (row + 0.5)
            put(figure, left, middle, "●", colour=colour, size=SMALL)
            put(figure, left + 11, middle, words, colour=INK, size=SMALL)
