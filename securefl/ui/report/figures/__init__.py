"""Figures of a page: what a run folder or an audit shows, drawn from disk alone.

Every figure has its numbers as a table. A figure that has nothing to show is left out.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from securefl.runs.folder import RunFolder
from securefl.ui.report.figure import Figure
from securefl.ui.report.sharing import shareable
from securefl.ui.report.table import Table

if TYPE_CHECKING:
    from securefl.audit.findings import Findings
    from securefl.privacy.accounting.profile import Profile
    from securefl.ui.report.figures.settings import Setting

# What people read of a drawing: texts between elements, and what is said instead of it.
_TEXTS = re.compile(r"(?<=>)[^<>]+(?=<)|(?<=aria-label=\")[^\"]+")
Draw = Callable[[Sequence["Setting"]], Figure | None]


def figures_of(folder: RunFolder) -> list[Figure]:
    """Returns the figures of a run folder, in the order of a page.

    Raises:
        RunFolderError: the folder's own files are damaged. A damaged cell is left out instead.
    """
    # matplotlib takes half a second, which a mere import of the page need not wait for.
    from securefl.ui.report.figures.settings import settings_in

    settings = settings_in(folder)
    remark = ""
    if settings.damaged:
        cells = "1 cell is" if settings.damaged == 1 else f"{settings.damaged} cells are"
        remark = f" {cells} damaged and left out."
    return [
        _to_be_shared(figure._replace(caption=figure.caption + remark))
        for figure in _figures(settings.all)
    ]


def figures_of_audit(
    findings: "Findings", profile: "Profile | None" = None, *, name: str = "roc"
) -> list[Figure]:
    """Returns the figures of an audit.

    Args:
        findings: as an audit made them, or as they were read from a file.
        profile: of the claim, where the findings do not carry it. Without one, the bound is drawn
            at the rates that the findings kept.
        name: of the first figure; a page of several audits gives each another one.
    """
    from securefl.ui.report.figures.roc import roc

    figure = roc(findings, profile, name=name)
    return [] if figure is None else [figure]


def _to_be_shared(figure: Figure) -> Figure:
    """Returns a figure without folders of a machine: labels and scenarios may quote paths."""
    svg = _TEXTS.sub(lambda text: shareable(text[0]), figure.svg)
    rows = [
        [shareable(cell) if isinstance(cell, str) else cell for cell in row]
        for row in figure.table.rows
    ]
    head = [shareable(name) for name in figure.table.head]
    return Figure(
        figure.name,
        shareable(figure.title),
        shareable(figure.caption),
        shareable(figure.alt),
        svg,
        Table(head, rows),
    )


def _figures(settings: Sequence["Setting"]) -> Iterator[Figure]:
    from securefl.ui.report.figures.cost import cost
    from securefl.ui.report.figures.grid import grid
    from securefl.ui.report.figures.lane import lanes
    from securefl.ui.report.figures.ledger import ledger
    from securefl.ui.report.figures.progress import progress
    from securefl.ui.report.figures.records import records
    from securefl.ui.report.figures.sites import sites
    from securefl.ui.report.figures.tradeoff import tradeoff

    yield from lanes(settings)
    draws: tuple[Draw, ...] = (progress, tradeoff, grid, sites, records, ledger, cost)
    for draw in draws:
        figure = draw(settings)
        if figure is not None:
            yield figure
