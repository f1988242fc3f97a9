"""What clients have spent of their budgets: epsilon after each round, from their ledgers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.errors import LedgerError
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import earlier, read_entries
from securefl.privacy.events import PrivacyEvent, ReleaseId, SampledGaussian, event_from_json
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.drawing import (
    INK,
    LINE,
    SERIES,
    SMALL,
    Panel,
    canvas,
    panel,
    shown,
    svg_of,
)
from securefl.ui.report.figures.names import ROOM, Name, write_names
from securefl.ui.report.figures.settings import Run, Setting, in_steps, number_or_none
from securefl.ui.report.table import Table

NAME = "ledger"
HEIGHT = 180
MOST_LINES = 6
# An epsilon under sampling takes some fifty milliseconds.
MOST_ROUNDS, MOST_ROUNDS_SAMPLED = 12, 4
MOST_CLIENTS_SAMPLED = 2
HEAD = ("setting", "client", "round", "epsilon", "budget", "left")


@dataclass(frozen=True)
class Spending:
    """What one client spent.

    Attributes:
        client: its number.
        before: what earlier runs released on the same records.
        booked: (round, event) in the order of the ledger.
        delta: of its terms.
        budget: of its terms, an epsilon.
    """

    client: int
    before: Counter[PrivacyEvent]
    booked: Sequence[tuple[int, PrivacyEvent]]
    delta: float
    budget: float

    @property
    def is_sampled(self) -> bool:
        """Whether its epsilon takes a grid of losses, which is slow."""
        return any(
            isinstance(event, SampledGaussian) and event.sample_rate < 1
            for event in (*self.before, *(event for _, event in self.booked))
        )

    def after(self, round: int) -> Counter[PrivacyEvent]:
        """Returns all events that were booked up to a round."""
        return self.before + Counter(event for number, event in self.booked if number <= round)


Curve = Sequence[tuple[int, float]]  # rounds from 1, and the epsilon after each


def ledger(settings: Sequence[Setting]) -> Figure | None:
    """Returns the figure of spending over rounds; None where no ledger has a release.

    Of a folder of many settings it shows one run: the one that claims the largest epsilon.
    """
    run, setting = _spendthrift(settings)
    if run is None or setting is None:
        return None
    spendings = _spendings(run)
    if not spendings:
        return None
    curves = _curves(spendings, run)
    budget = spendings[0].budget
    alone = len(settings) == 1 and len(setting.runs) == 1
    alt = _alt(curves, budget)
    return Figure(
        name=NAME,
        title="What the clients have spent",
        caption=_caption(curves, spendings, "" if alone else setting.label),
        alt=alt,
        svg=_drawn(curves, budget, alt),
        table=_table(setting, curves, budget),
    )


def _spendthrift(settings: Sequence[Setting]) -> tuple[Run | None, Setting | None]:
    """Returns the run with the largest epsilon; a run that has not ended where no other has."""
    best: tuple[float, Run | None, Setting | None] = (-1.0, None, None)
    for setting in settings:
        if not setting.claims:
            continue
        for run in setting.runs:
            spent = number_or_none(run.metrics.get("epsilon")) or 0.0
            if spent > best[0]:
                best = (spent, run, setting)
    return best[1], best[2]


def _spendings(run: Run) -> list[Spending]:
    """Returns the spending of every client whose ledger can be read."""
    spendings = []
    for file in sorted(run.cell.ledgers.glob("*.jsonl")):
        spending = spending_in(file)
        if spending is not None:
            spendings.append(spending)
    return sorted(spendings, key=lambda spending: spending.client)


def spending_in(file: Path) -> Spending | None:
    """Returns the spending that a ledger records; None where it is damaged, or books nothing."""
    try:
        entries = read_entries(file)
    except LedgerError:
        return None
    terms: Mapping[str, Any] = entries[0].get("terms") or {} if entries else {}
    booked = []
    for entry in entries:
        if entry["kind"] == "reserve":
            release = ReleaseId(*entry["release"])
            booked.append((release.round, event_from_json(entry["event"])))
    if not (booked and file.stem.isdecimal() and "delta" in terms):
        return None
    budget = float(terms.get("budget", "inf"))
    return Spending(int(file.stem), earlier(entries), booked, float(terms["delta"]), budget)


def _curves(spendings: Sequence[Spending], run: Run) -> dict[str, Curve]:
    """Returns the curves to draw; clients that spent alike share one."""
    finals = {
        spending.client: number_or_none(run.metrics.get("epsilons", {}).get(str(spending.client)))
        for spending in spendings
    }
    chosen = _chosen(spendings, finals)
    last = max(number for spending in spendings for number, _ in spending.booked)
    sampled = any(spending.is_sampled for spending in spendings)
    most = MOST_ROUNDS_SAMPLED if sampled else MOST_ROUNDS
    rounds = in_steps(range(last + 1), most)
    curves: dict[str, Curve] = {}
    for words, spending in chosen.items():
        points = [(number + 1, _epsilon(spending, number)) for number in rounds[:-1]]
        final = finals[spending.client]
        # The last one stands in metrics.json, which need not be computed again.
        end = final if final is not None else _epsilon(spending, last)
        curves[words] = [point for point in [*points, (last + 1, end)] if point[1] is not None]
    return curves


def _epsilon(spending: Spending, round: int) -> float:
    return epsilon(spending.after(round), delta=spending.delta)


def _chosen(
    spendings: Sequence[Spending], finals: Mapping[int, float | None]
) -> dict[str, Spending]:
    """Returns words -> the client that stands for them, the one that spent most first."""
    groups: dict[tuple[Any, ...], list[Spending]] = {}
    for spending in spendings:
        key = (tuple(spending.booked), tuple(sorted(spending.before.items())), spending.delta)
        groups.setdefault(key, []).append(spending)
    ordered = sorted(groups.values(), key=lambda group: -(finals[group[0].client] or 0.0))
    sampled = any(group[0].is_sampled for group in ordered)
    most = MOST_CLIENTS_SAMPLED if sampled else MOST_LINES
    return {_clients(group): group[0] for group in in_steps(ordered, most)}


def _clients(group: Sequence[Spending]) -> str:
    numbers = [spending.client for spending in group]
    if len(numbers) == 1:
        return f"client {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"clients {numbers[0]} to {numbers[-1]}"
    return f"{len(numbers)} clients alike"


def _drawn(curves: Mapping[str, Curve], budget: float, alt: str) -> str:
    figure = canvas(HEIGHT + 66)
    axes = panel(figure, top=22, height=HEIGHT, right=ROOM)
    names = []
    for colour, (words, curve) in zip(SERIES, curves.items(), strict=False):
        rounds, epsilons = zip(*curve, strict=True)
        axes.plot(rounds, epsilons, "o-", color=colour, ms=4, mew=0)
        names.append(Name(epsilons[-1], words, colour))
    if number_or_none(budget) is not None:
        axes.axhline(budget, color=INK, lw=0.9, linestyle=(0, (4, 3)))
        names.append(Name(budget, f"budget {budget:g}", INK))
    _finish(axes)
    write_names(axes, names, HEIGHT)
    return svg_of(figure, name=NAME, alt=alt)


def _finish(axes: Panel) -> None:
    axes.set_ylim(0, None)
    axes.margins(x=0.02)
    axes.grid(axis="y", color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("round", fontsize=SMALL)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.set_title("epsilon reserved so far", loc="left", fontsize=SMALL)


def _caption(curves: Mapping[str, Curve], spendings: Sequence[Spending], label: str) -> str:
    words = "What is left lies between a line and the dashed budget."
    if len(curves) < len(spendings):
        words += (
            " Clients with the same releases share a line; drawn are those that spent most and"
            " least."
        )
    if label:
        words += f" This is the run with the largest epsilon: {shown(label, 80)}."
    return words + " Values between the dots were not computed."


def _alt(curves: Mapping[str, Curve], budget: float) -> str:
    parts = [f"{words} ends at {curve[-1][1]:.3f}" for words, curve in curves.items()]
    return f"Lines of epsilon over rounds, budget {budget:g}. " + "; ".join(parts) + "."


def _table(setting: Setting, curves: Mapping[str, Curve], budget: float) -> Table:
    limit = number_or_none(budget)
    rows = [
        (setting.label, words, round, value, limit, None if limit is None else limit - value)
        for words, curve in curves.items()
        for round, value in curve
    ]
    return Table(HEAD, rows)
