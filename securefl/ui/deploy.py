"""What `securefl deploy rehearse` does: play a scenario between processes, show the outcome."""

from functools import partial
from pathlib import Path

from securefl.errors import BudgetExceeded, RunFailed
from securefl.files import read_text
from securefl.runs.deployed import ways
from securefl.runs.deployed.rehearsal import Rehearsed, rehearse
from securefl.scenario.scenario import load_scenario
from securefl.ui.display import Display

_EXIT_CODE_OF_A_BUDGET = BudgetExceeded.exit_code


def rehearse_scenario(
    path: Path,
    out: Path,
    overrides: tuple[str, ...],
    display: Display,
    *,
    seconds: float,
    keeps_keys: bool,
    flower: Path | None = None,
) -> None:
    """Rehearses a scenario, and shows whether the model is the simulation's.

    Messages travel over Flower if `flower` names the folder of its programs.

    Raises:
        BudgetExceeded: too few sites could still spend.
        RunFailed: the coordinator failed, or the model is not the simulation's, or that cannot be
            said although noise is seeded.
        ScenarioError: the scenario does not run between sites, or `out` exists.
    """
    scenario = load_scenario(path, overrides=overrides)
    text = read_text(path)
    way = ways.Direct if flower is None else partial(ways.OverFlower, flower)
    rehearsed = rehearse(
        scenario, text, overrides, out, seconds=seconds, keeps_keys=keeps_keys, way=way
    )
    if rehearsed.exit_code == _EXIT_CODE_OF_A_BUDGET:
        raise BudgetExceeded(rehearsed.reason)
    if rehearsed.exit_code:
        raise RunFailed(rehearsed.reason)
    verdict = _verdict(rehearsed)
    if rehearsed.absent or rehearsed.identical is False or rehearsed.figures is False:
        raise RunFailed(verdict)
    display.line(
        f"{scenario.clients} sites, {scenario.rounds} rounds, {rehearsed.trips} trips over TLS: "
        f"{verdict}; folder {out}",
        folder=str(out),
        trips=rehearsed.trips,
        identical=rehearsed.identical,
        figures=rehearsed.figures,
    )


def _verdict(rehearsed: Rehearsed) -> str:
    """Says in words how the model compares."""
    if rehearsed.absent:
        rounds = ", ".join(
            f"{round} without {' and '.join(map(str, sites))}"
            for round, sites in rehearsed.absent.items()
        )
        return f"the model is not compared, since sites were absent: round {rounds}"
    if rehearsed.identical is None:
        return "noise is fresh, so that the model is not compared with the simulation's"
    if rehearsed.identical:
        same = "the model is the simulation's, bit for bit"
        if rehearsed.figures is None:
            return same
        return (
            f"{same}, and the sites' figures are {'' if rehearsed.figures else 'NOT '}its figures"
        )
    return "the model is NOT the simulation's"
