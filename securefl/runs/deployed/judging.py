"""Evaluation at the sites, as the coordinator meets it: a lane of counts, and the figures of sums.

A round of counts judges the model that the round of the same number trains on. The round after the
last one judges the last model, and trains nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from securefl.channels.protocol import Observer
from securefl.federation.record import RoundRecord
from securefl.federation.values import State
from securefl.files import append_line, read_lines
from securefl.learning.counts import Figures
from securefl.runs.best import SCORE, BestModel
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import COUNTS_LANE, Kind, Part
from securefl.runs.deployed.exchange import Exchange
from securefl.runs.deployed.sessions import Session
from securefl.runs.metrics import RunMetrics, checked_metrics
from securefl.scenario.assemble.evaluation import (
    counts_cost,
    counts_layout,
    judged_models,
    summed,
)
from securefl.scenario.scenario import Scenario

FIGURES = "figures.jsonl"


@dataclass(frozen=True)
class Judged:
    """The figures of one model, a line of figures.jsonl.

    Attributes:
        model: its number, rounds that led to it; 0 is the first one.
        judging: the records that judged it, validation or test.
        sites: whose records are in the sum.
        figures: of all these records together.
        noise_std: of the noise on each count of the sum; None without noise.
    """

    model: int
    judging: str
    sites: tuple[int, ...]
    figures: Figures
    noise_std: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns the line; of several metrics, those that classes have."""
        quality = asdict(self.figures.metrics)
        for key in ("mae", "rmse", "r2"):
            del quality[key]
        return {
            "model": self.model,
            "judging": self.judging,
            "sites": list(self.sites),
            **quality,
            "auc_error": self.figures.auc_error,
            "noise_std": self.noise_std,
        }


class Judging:
    """Begins rounds of counts, and keeps the figures of their sums.

    A site that does not answer, or has no budget, is absent from the sum, and from nothing else.

    Args:
        scenario: says which models are judged.
        session: of the counts; all its sites count in each round.
        folder: gets figures.jsonl.
        best: gets every model with its figures; None where the run ends with the last one.
    """

    def __init__(
        self,
        scenario: Scenario,
        session: Session,
        folder: Path,
        best: BestModel | None = None,
    ) -> None:
        self._scenario = scenario
        self._session = session
        self._path = folder / FIGURES
        self._best = best
        self._judged = frozenset(judged_models(scenario))
        self._layout = counts_layout(scenario)
        self._cost = counts_cost(scenario)

    def begun(self, round: int, observer: Observer) -> Exchange | None:
        """Returns the exchange that judges a round's model; None where nobody judges it."""
        if round not in self._judged:
            return None
        session = self._session
        return Exchange(round, session.sites, session.server(), observer, lane=COUNTS_LANE)

    def keep(self, exchange: Exchange, desk: Desk, state: State) -> None:
        """Keeps the figures of an exchange that has ended with a sum, and settles its payments.

        Args:
            exchange: that has ended.
            desk: takes the confirmations.
            state: whose model was judged.
        """
        view = exchange.view
        if view is None:
            return
        is_noisy = self._cost is not None
        figures = self._layout.figures(summed(view), noisy=is_noisy)
        std = None
        if self._cost is not None:
            std = self._cost.noise_multiplier * self._layout.sensitivity
            std *= math.sqrt(len(view.clients))
        judged = Judged(state.round, self._scenario.judging, view.clients, figures, std)
        line = judged.to_json()
        if self._best is not None:
            # Before the line: a crash in between must not lose the model.
            self._best.offer(state.round, state.weights, figures.metrics.accuracy, facts=line)
        append_line(self._path, line)
        for site in view.clients:
            desk.enclose(site, Part(Kind.CONFIRM, exchange.round, lane=COUNTS_LANE))


def metrics_of(
    folder: Path, rounds: Sequence[RoundRecord], best: BestModel | None = None
) -> RunMetrics | None:
    """Returns what the coordinator knows of a run; None where nobody judged the model it ends with.

    The figures may have come before a crash, which the file has outlived.

    Args:
        folder: with figures.jsonl.
        rounds: the records of all rounds.
        best: what the run ends with; None where that is the last model.
    """
    lines = [line for line in read_lines(folder / FIGURES) if line["model"] == len(rounds)]
    kept = None if best is None else best.kept()
    if kept is not None:
        lines = [{key: value for key, value in kept.record.items() if key != SCORE}]
    if not lines:
        return None
    metrics = {
        **lines[-1],
        **({} if best is None else best.facts()),
        "rounds": len(rounds),
        "abandoned": sum(record.abandoned for record in rounds),
        "bytes_up": sum(record.bytes_up for record in rounds),
        "bytes_down": sum(record.bytes_down for record in rounds),
        "seconds": sum(record.seconds for record in rounds),
    }
    # In metrics.json, sites are a table of figures, which no site's figures are part of.
    del metrics["model"], metrics["sites"]
    return checked_metrics(metrics)
