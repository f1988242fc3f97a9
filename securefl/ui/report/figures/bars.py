"""Rows of bars or dots with their labels above them, so that long names fit a narrow page."""

from collections.abc import Sequence

from securefl.ui.report.figures.drawing import (
    INK,
    LINE,
    SMALL,
    Canvas,
    Panel,
    panel,
    shown,
    write,
)

ROW = 33  # points of a row: a label and its bar
HEAD = 24  # points above the rows
FOOT = 34  # points below the rows: numbers and the name of the axis
BAR = 0.27  # of a row
ABOVE = 0.24  # of a row, from its bar to the middle of its label
MOST_ROWS = 12
LABEL_CHARACTERS = 52


def rows_panel(
    figure: Canvas, rows: int, *, top: float = 0, left: float = 8, right: float = 12
) -> Panel:
    """Returns axes for some rows: row 0 is on top, at 0; row 1 below it, at -1."""
    axes = panel(figure, top=top + HEAD, height=ROW * rows, left=left, right=right)
    axes.set_ylim(-rows + 0.5, 0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    return axes


def height_of(rows: int) -> float:
    """Returns the height of a panel of some rows, with its title and its axis, in points."""
    return HEAD + ROW * rows + FOOT


def label_rows(axes: Panel, labels: Sequence[str]) -> None:
    """Writes the label of each row above it, from the left edge."""
    for row, label in enumerate(labels):
        words = shown(label, LABEL_CHARACTERS)
        axes.annotate(
            words,
            (0, ABOVE - row),
            xycoords=("axes fraction", "data"),
            fontsize=SMALL,
            color=INK,
            va="center",
            parse_math=False,
            annotation_clip=False,
        )


def value_at(axes: Panel, x: float, row: int, words: str) -> None:
    """Writes a number behind the bar of a row."""
    # A plain space at the start of a text would not be drawn.
    write(axes, x, -row - 0.14, f"\u00a0{words}", va="center_baseline")
