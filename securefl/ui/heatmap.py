"""Draws the heat map of a wide study as SVG: one panel a section, one field a mean.

The text is written by hand, without matplotlib: the same numbers give the same bytes on every
machine, so a test can compare a committed figure with its numbers.
"""

from collections.abc import Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape

from securefl.runs.table import mean_and_error
from securefl.studies.expand import rows
from securefl.studies.scores import Scores
from securefl.studies.study import Study
from securefl.studies.tables import lines, sections

# In pixels.
LABEL_WIDTH = 150
FIELD_WIDTH = 72
FIELD_HEIGHT = 24
HEAD_HEIGHT = 58
GAP = 26

PANELS_IN_A_LINE = 2
DARKEST_VALUE_FOR_BLACK_INK = 0.6
# From viridis: dark for 0, light for 1, and readable without colour vision.
SCALE = (
    (0x44, 0x01, 0x54),
    (0x31, 0x68, 0x8E),
    (0x35, 0xB7, 0x79),
    (0xFD, 0xE7, 0x25),
)


class Panel(NamedTuple):
    """A section: its heading, the titles of its columns, and for each row a label and its means.

    A mean is None where there is no number.
    """

    heading: str
    titles: list[str]
    rows: list[tuple[str, list[float | None]]]


def heat_map(study: Study, scores: Scores) -> str:
    """Returns the figure of a study's first metric; a field without a number stays empty."""
    panels = list(_panels(study, scores))
    most_columns = max(len(panel.titles) for panel in panels)
    most_rows = max(len(panel.rows) for panel in panels)
    width = LABEL_WIDTH + FIELD_WIDTH * most_columns + GAP
    height = HEAD_HEIGHT + FIELD_HEIGHT * most_rows + GAP
    across = min(PANELS_IN_A_LINE, len(panels))
    down = -(-len(panels) // PANELS_IN_A_LINE)  # rounded up
    metric = study.metrics[0].replace("_", " ")
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {width * across} {height * down}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(study.title or study.name)}: {metric}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, panel in enumerate(panels):
        line, column = divmod(place, PANELS_IN_A_LINE)
        left = column * width
        top = line * height
        parts.append(f'<g transform="translate({left} {top})">')
        parts += _drawn(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panels(study: Study, scores: Scores) -> Iterator[Panel]:
    for heading, members in sections(study, list(rows(study))):
        table, titles = lines(study, members)
        # A section of baselines only has no table.
        if not table:
            continue
        prefix = f"{study.table.columns} "
        short_titles = [title.removeprefix(prefix) for title in titles]
        fields = []
        for line in table:
            means = [_mean(study, scores, row) for row in line.rows]
            fields.append((line.label, means))
        yield Panel(heading, short_titles, fields)


def _mean(study: Study, scores: Scores, row: str | None) -> float | None:
    by_seed = scores.of(row or "", study.metrics[0])
    values = [value for value in by_seed.values() if value is not None]
    return mean_and_error(values)[0] if values else None


def _drawn(panel: Panel) -> Iterator[str]:
    yield _text(8, 18, panel.heading, extra=' font-weight="bold"')
    for column, title in enumerate(panel.titles):
        middle = LABEL_WIDTH + FIELD_WIDTH * (column + 0.5)
        yield _text(middle, HEAD_HEIGHT - 8, title, anchor="middle")
    for row, (label, values) in enumerate(panel.rows):
        top = HEAD_HEIGHT + FIELD_HEIGHT * row
        yield _text(LABEL_WIDTH - 8, top + 16, label, anchor="end")
        for column, value in enumerate(values):
            if value is not None:
                yield from _field(LABEL_WIDTH + FIELD_WIDTH * column, top, value)


def _field(left: int, top: int, value: float) -> Iterator[str]:
    yield (
        f'<rect x="{left}" y="{top}" width="{FIELD_WIDTH - 2}" height="{FIELD_HEIGHT - 2}" '
        f'fill="{colour(value)}"/>'
    )
    ink = "white" if value < DARKEST_VALUE_FOR_BLACK_INK else "black"
    middle = left + FIELD_WIDTH / 2 - 1
    yield _text(middle, top + 16, f"{value:.2f}", anchor="middle", extra=f' fill="{ink}"')


def _text(x: float, y: float, words: str, *, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def colour(share: float) -> str:
    """Returns the colour of a share, dark for 0 and light for 1; values beyond count as 0 or 1."""
    position = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    below = min(int(position), len(SCALE) - 2)
    share_above = position - below
    mixed = []
    for start, end in zip(SCALE[below], SCALE[below + 1], strict=True):
        channel = start + (end - start) * share_above
        mixed.append(round(channel))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
