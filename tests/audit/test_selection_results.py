"""Rules that choose under one masked sum: the experiment's parts, its goals, and its page."""

from collections.abc import Mapping

import pytest

from benchmarks.experiments import selection
from benchmarks.experiments.selection import Job, jobs, play, rehearsing
from benchmarks.experiments.selection_page import (
    AUCS,
    COSTS,
    MIXES,
    PLAYED,
    REHEARSED,
    SKETCH,
    Cell,
    Shown,
    accuracies,
    goals,
    page,
    read_cells,
    read_shown,
)
from benchmarks.experiments.selections import (
    CHANNELS,
    FLIP,
    GROUPS,
    LIES,
    MEAN,
    NONE,
    ROWS,
    Way,
    scenario_of,
    ways,
)
from benchmarks.experiments.table import csv_text
from securefl.channels.masking.build import MASKED
from securefl.channels.masking.sketches.rehearsal import RehearsingServer
from securefl.scenario import catalog
from securefl.scenario.scenario import make_scenario
from tests.paths import ROOT

RESULTS = ROOT / "docs/results"
LYING = Way(SKETCH, "dnc", LIES, "IID")


def test_every_way_is_a_scenario_that_runs() -> None:
    for way in ways():
        scenario = make_scenario(scenario_of(way, seed=1))
        assert scenario.channel.kind == ("plain" if way.channel == ROWS else "masked")


def test_four_of_twenty_attack_and_two_under_groups_of_four() -> None:
    for way in ways():
        values = scenario_of(way, seed=0)
        attackers = values.get("attack", {"clients": None})["clients"]
        expected = [0, 1] if way.channel == GROUPS else [0, 1, 2, 3]
        assert attackers == (None if way.attack == NONE else expected)
        if way.rule != "mean":
            assert values["defense"]["rule"]["f"] == len(expected)


def test_a_lie_deals_the_honest_sketch_of_a_flipped_upload() -> None:
    values = scenario_of(LYING, seed=0)
    assert [lie["client"] for lie in values["simulate"]["lie"]] == values["attack"]["clients"]
    for lie in values["simulate"]["lie"]:
        assert lie["factor"] * -values["attack"]["scale"] == pytest.approx(1.0)


def test_all_sketches_are_rehearsed_and_nothing_else() -> None:
    assert len(set(jobs())) == len(jobs())
    rehearsed = {job.way for job in jobs() if job.played == REHEARSED}
    assert rehearsed == {way for way in ways() if "sketch" in CHANNELS[way.channel]}
    seeds = {(job.way, job.seed) for job in jobs()}
    assert seeds == {(way, seed) for way in ways() for seed in range(5)}


def test_a_rehearsal_lasts_no_longer_than_its_run() -> None:
    with rehearsing():
        assert catalog.CHANNELS["masked"].sides is not MASKED.sides
    assert catalog.CHANNELS["masked"] is MASKED


@pytest.mark.parametrize("played", [REHEARSED, PLAYED])
def test_liars_are_named_in_the_rounds_that_they_cost(
    played: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsals: list[int] = []
    begin = RehearsingServer.begin

    def counted(self: RehearsingServer, round: int, *args: object) -> None:
        rehearsals.append(round)
        begin(self, round, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(RehearsingServer, "begin", counted)
    monkeypatch.setattr(selection, "scenario_of", _five_rounds)
    cell = play(Job(LYING, 0, played))
    # A liar that the rule does not choose is not found out: four liars cost four rounds at most.
    assert 1 <= cell.lost <= cell.named <= 4
    assert cell.wronged == 0
    assert (cell.way, cell.seed, cell.played) == (LYING, 0, played)
    assert rehearsals == (list(range(5)) if played == REHEARSED else [])


def _five_rounds(way: Way, *, seed: int) -> dict[str, object]:
    return scenario_of(way, seed=seed, rounds=5)


def cells(changed: Mapping[Way, float], lost: int = 1, wronged: int = 0) -> list[Cell]:
    """Returns cells of which all have the accuracy .95, but for those that are changed."""
    found = []
    for job in jobs():
        accuracy = round(changed.get(job.way, 0.95) + 0.001 * (job.seed - 2), 6)
        cost = (lost, 4, wronged) if job.way.attack == LIES else (0, 0, 0)
        found.append(Cell(*job.way, job.seed, job.played, accuracy, *cost))
    return found


FLIPPED = Way(MEAN, "mean", FLIP, "IID")


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({FLIPPED: 0.1}, ()),
        ({FLIPPED: 0.12}, (2,)),
        ({FLIPPED: 0.1, Way(SKETCH, "dnc", "IPM", "IID"): 0.916}, (1,)),
        ({FLIPPED: 0.1, Way(SKETCH, "multi_krum", "IPM", "Dirichlet .3"): 0.914}, (0,)),
        ({FLIPPED: 0.1, Way(ROWS, "multi_krum", "IPM", "Dirichlet .3"): 0.914}, (0,)),
        ({FLIPPED: 0.1, Way("sketch 16", "multi_krum", "IPM", "IID"): 0.5}, ()),
        ({FLIPPED: 0.1, LYING: 0.939}, (3,)),
        ({FLIPPED: 0.1, Way(SKETCH, "multi_krum", LIES, "IID"): 0.939}, (5,)),
    ],
    ids=["met", "mean", "worst", "lower", "higher", "other size", "lies", "lies to multi_krum"],
)
def test_a_goal_is_missed_by_the_cell_that_misses_it(
    changed: Mapping[Way, float], missed: tuple[int, ...]
) -> None:
    found = goals(cells(changed))
    assert [place for place, goal in enumerate(found) if not goal.met] == list(missed)


def test_liars_that_cost_five_rounds_or_an_honest_client_miss_the_goal() -> None:
    for costs in ({"lost": 5}, {"wronged": 1}):
        assert sum(not goal.met for goal in goals(cells({FLIPPED: 0.1}, **costs))) == 3


def test_figures_of_a_page_are_those_of_its_cells() -> None:
    shown = [
        Shown(channel, figure, value)
        for channel in CHANNELS
        for figure in (*AUCS, *MIXES, *COSTS)
        for value in (0.5, 0.7)
    ]
    text = page(cells({FLIPPED: 0.1}), shown)
    assert "| masked mean | mean | 95.0 ± 0.1 | 10.0 ± 0.1 | 95.0 ± 0.1 |" in text
    assert "| masked mean, IID, sign flip | at most 11 % | 10.0 ± 0.1 % | met |" in text
    assert "0.600 ± 0.100" in text


def test_the_committed_page_is_made_from_the_committed_cells() -> None:
    found = read_cells((RESULTS / "selection.csv").read_text(encoding="utf-8"))
    shown = read_shown((RESULTS / "selection-channels.csv").read_text(encoding="utf-8"))
    assert (RESULTS / "selection.md").read_text(encoding="utf-8") == page(found, shown)
    assert [Job(cell.way, cell.seed, cell.played) for cell in found] == jobs()
    assert all(len(accuracies(found, way)) == 5 for way in ways())


def test_cells_are_read_as_they_were_written() -> None:
    made = cells({FLIPPED: 0.1})
    assert read_cells(csv_text(Cell._fields, made, digits=6)) == made
