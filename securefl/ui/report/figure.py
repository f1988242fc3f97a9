"""A figure of a page: a drawing, how to read it, and its numbers."""

from typing import NamedTuple

from securefl.ui.report.table import Table


class Figure(NamedTuple):
    """A figure of a page.

    Attributes:
        name: unique on its page, of a-z, 0-9 and "-"; ids in the drawing begin with it.
        title: above the drawing.
        caption: how to read it, in one sentence or two.
        alt: what it shows, for readers who do not see it.
        svg: one <svg> element; the same numbers give the same bytes.
        table: the numbers that are drawn.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    table: Table
