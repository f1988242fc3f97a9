"""The committed results of audits meet their goals, and a few of them come out again."""

import csv
import re
import statistics
from collections import Counter

import pytest

from benchmarks.experiments.adversaries import ADVERSARIES, RULES, SETTINGS
from benchmarks.experiments.audits import (
    BESIDE,
    CASES,
    CORRECT,
    FROM_INSIDE,
    HEAD,
    INSIDE_HEAD,
    TWICE,
    Inside,
    Outside,
    from_inside,
    inside_table,
    table,
    white_box,
)
from tests.paths import ROOT

RESULTS = ROOT / "docs/results"
BROKEN = ("noise halved", "noise x .1", "clip skipped")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (RESULTS / "audit.csv").open() as file:
        return list(csv.DictReader(file))


def of(rows: list[dict[str, str]], case: str) -> list[dict[str, str]]:
    runs = [row for row in rows if row["case"] == case]
    assert len({row["seed"] for row in runs}) == len(runs) == 20
    return runs


def test_every_case_was_run_twenty_times(rows: list[dict[str, str]]) -> None:
    assert tuple(rows[0]) == HEAD
    assert {row["case"] for row in rows} == set(CASES)
    assert all(of(rows, case) for case in CASES)


def test_correct_code_is_accused_in_no_run(rows: list[dict[str, str]]) -> None:
    right = of(rows, "correct")
    assert not [row for row in right if row["canaries"] == "violated"]


@pytest.mark.parametrize("case", BROKEN)
def test_planted_faults_are_found_by_canaries_in_18_of_20_runs(
    rows: list[dict[str, str]], case: str
) -> None:
    assert sum(row["canaries"] == "violated" for row in of(rows, case)) >= 18


def test_twice_the_steps_are_found_and_seven_percent_too_little_noise_is_not(
    rows: list[dict[str, str]],
) -> None:
    assert sum(row["canaries"] == "violated" for row in of(rows, TWICE)) >= 18
    assert {row["canaries"] for row in of(rows, "noise 7 % too small")} == {"cannot tell"}


def test_the_bounds_come_as_near_as_they_should_in_time(rows: list[dict[str, str]]) -> None:
    right = of(rows, "correct")
    share = {
        name: statistics.median(float(row[name]) / float(row["claimed"]) for row in right)
        for name in HEAD[3:8]
    }
    assert share["steinke"] >= 0.35
    assert share["gaussian"] >= 0.60
    assert all(float(row["gaussian"]) < float(row["claimed"]) for row in right)
    assert statistics.median(float(row["seconds"]) for row in right) < 10


@pytest.fixture(scope="module")
def watched() -> list[dict[str, str]]:
    with (RESULTS / "audit_inside.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_fault_was_watched_from_inside_four_times_and_right_code_forty(
    watched: list[dict[str, str]],
) -> None:
    assert tuple(watched[0]) == INSIDE_HEAD
    runs = Counter(row["case"] for row in watched)
    assert runs == {case: 40 if case == CORRECT else 4 for case in FROM_INSIDE}
    assert len({(row["case"], row["seed"]) for row in watched}) == len(watched)


def test_no_fault_is_said_to_hold_and_no_right_code_is_accused(
    watched: list[dict[str, str]],
) -> None:
    for row in watched:
        wrong = "violated" if row["case"] in (CORRECT, BESIDE) else "holds"
        assert row["verdict"] != wrong, row


def test_right_code_holds_in_nearly_every_run(watched: list[dict[str, str]]) -> None:
    verdicts = [row["verdict"] for row in watched if row["case"] == CORRECT]
    assert verdicts.count("holds") >= 36


def test_the_page_has_the_tables_of_these_numbers(
    rows: list[dict[str, str]], watched: list[dict[str, str]]
) -> None:
    page = (RESULTS / "audit.md").read_text(encoding="utf-8")
    outside = table([Outside.of(row) for row in rows])
    inside = inside_table([Inside.of(row) for row in watched])
    for line in (*outside, *inside):
        assert line in page


def test_lira_on_digits_with_wrong_labels_meets_its_goal() -> None:
    page = (RESULTS / "audit.md").read_text(encoding="utf-8")
    found = re.search(
        r"32 shadows: AUC (\S+), TPR at \.1 % FPR (\S+)%, "
        r"non-members alone AUC (\S+); (\d+) s of CPU with training",
        page,
    )
    assert found is not None
    area, hits, alone, seconds = map(float, found.groups())
    assert area >= 0.68
    assert hits >= 1.5
    assert abs(alone - 0.5) <= 0.02
    assert (
        seconds <= 72
    )  # the code that took 43 s on the machine of the goal (60 s) takes 72 s on this one


def test_the_readme_says_what_was_found(rows: list[dict[str, str]]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "In 20 of 20 runs each, the audit finds" in " ".join(readme.split())
    for case in (*BROKEN, TWICE):
        assert sum(row["canaries"] == "violated" for row in of(rows, case)) == 20


@pytest.mark.slow
@pytest.mark.parametrize("case", FROM_INSIDE)
def test_audits_from_inside_made_anew_say_the_same(case: str) -> None:
    wrong = "violated" if case in (CORRECT, BESIDE) else "holds"
    for seed in range(3):
        assert from_inside(case, seed).verdict != wrong


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_audits_made_anew_say_the_same(case: str) -> None:
    for seed in range(3):
        found = white_box(case, seed)
        assert found.canaries == ("violated" if case in (*BROKEN, TWICE) else "cannot tell")


def test_the_table_has_every_setting_and_every_adversary() -> None:
    page = (RESULTS / "adversaries.md").read_text(encoding="utf-8")
    first = page.split("## PneumoniaMNIST\n\n")[1].split("\n\n")[0]
    assert set(SETTINGS) == set(first.splitlines()[0].strip("| ").split(" | ")[1:])
    assert [line.split(" | ")[0].strip("| ") for line in first.splitlines()[2:]] == list(
        ADVERSARIES
    )


def test_a_client_is_at_chance_through_every_rule_where_the_server_is_not() -> None:
    """By alignment, without DP and at epsilon 8; docs/audit.md quotes the table."""
    page = (RESULTS / "adversaries.md").read_text(encoding="utf-8")
    rows = {
        row.split(" | ")[0].strip("| "): row.split(" | ")[1:]
        for row in page.splitlines()
        if row.startswith("| ")
    }
    for column in (0, 2):
        for rule in RULES:
            area, error = map(float, rows[rule][column].split(" ± "))
            assert abs(area - 0.5) < 3 * error
        area, error = map(
            float, rows["the server under plain: the update itself"][column].split(" ± ")
        )
        assert area - 0.5 > 5 * error
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    text = " ".join(text.split())
    server = [
        rows["the server under plain: the update itself"][column].split()[0].lstrip("0")
        for column in (0, 2)
    ]
    assert f"AUC of {server[0]} by alignment ({server[1]} at epsilon 8)" in text
    krum = rows["Krum, f = 2"][0].replace("0.", ".")
    assert (
        f"Under Krum, which passes on one client's update unchanged, ten sets of coins give {krum}"
        in text
    )
    masked = next(line for line in page.splitlines() if line.startswith("| server |")).split(" | ")[
        2
    ]
    assert f"RMIA does best ({masked.split(' (')[0].replace('0.', '.')})" in text
    assert masked.endswith("(RMIA)")
