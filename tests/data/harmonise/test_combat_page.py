"""docs/results/combat.md is what its numbers say."""

import csv

from benchmarks.experiments import combat
from benchmarks.experiments.combat_page import CASES, SEEDS, Result, goals, page
from tests.paths import ROOT


def results() -> list[Result]:
    text = (ROOT / "docs/results/combat.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    figures = [name for name in Result._fields if name not in ("case", "seed")]
    return [
        Result(row["case"], int(row["seed"]), *(float(row[name]) for name in figures))
        for row in rows
    ]


def test_the_page_is_that_of_its_figures() -> None:
    about = (combat.__doc__ or "").split("\n\n", 2)[2].strip()
    shown = (ROOT / "docs/results/combat.md").read_text(encoding="utf-8")
    assert len(results()) == len(CASES) * SEEDS
    assert page(results(), about) == shown


def test_goals_that_are_not_met_say_so() -> None:
    assert [row.verdict for row in goals(results())][:2] == ["met", "met"]
    worse = [
        result._replace(site_after=0.9, label_after=result.label_before - 0.021)
        for result in results()
    ]
    assert [row.verdict for row in goals(worse)][:2] == ["NOT met", "NOT met"]
