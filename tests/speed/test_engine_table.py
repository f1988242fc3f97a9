"""The table of the engine next to its peers: ratios, what is behind, and the committed page."""

import re
from pathlib import Path

import pytest

from benchmarks.experiments.table import csv_text
from benchmarks.speed.engine_table import Ratio, Row, page, ratios, rows_of, slower
from tests.paths import ROOT

OURS = Row("A", "ours", "torch", 1, 5, 3, 2.0, 4.0, 10.0, 20.0, 300.0)
OURS_WITH_TWO = Row("A", "ours", "torch", 2, 5, 3, 2.5, 2.0, 12.0, 15.0, 500.0)
PEER = Row("A", "fluke", "fluke_fl 0.8.1", 1, 5, 3, 3.0, 3.0, 20.0, 60.0, 150.0)
PEER_WITH_TWO = Row("A", "flower", "flwr 1.42.0", 2, 5, 3, 5.0, 4.0, 60.0, 75.0, 1500.0)
ROWS = [OURS, OURS_WITH_TWO, PEER, PEER_WITH_TWO]


def test_a_ratio_is_the_peer_over_ours_with_as_many_processes() -> None:
    assert ratios(ROWS) == {
        PEER: Ratio(cpu=1.5, wall=0.75, whole_cpu=2.0, whole_wall=3.0, memory=0.5),
        PEER_WITH_TWO: Ratio(cpu=2.0, wall=2.0, whole_cpu=5.0, whole_wall=5.0, memory=3.0),
    }


def test_rows_of_another_workload_are_no_base() -> None:
    other = [row._replace(workload="B", cpu_s=1000.0) for row in (OURS, OURS_WITH_TWO)]
    assert ratios([*ROWS, *other]) == ratios([*other, *ROWS]) == ratios(ROWS)


def test_a_peer_that_takes_no_more_than_ours_is_named() -> None:
    assert slower(ROWS) == ["wall of A than fluke with 1 process (0.75x)"]
    equal = PEER_WITH_TWO._replace(cpu_s=2.5)
    assert slower([OURS_WITH_TWO, equal]) == ["CPU of A than flower with 2 processes (1.00x)"]


def test_the_page_says_what_each_side_took() -> None:
    text = page(ROWS, "a machine")
    assert "| A | flower | 2 | 5.000 s | 4.000 s | 2.00x | 2.00x |" in text
    assert "| A | ours | 1 | 2.000 s | 4.000 s |  |  |" in text
    assert "| flower | 2 | 60.0 s | 75.0 s | 1500 MB | 5.00x | 5.00x | 3.00x |" in text
    assert "turns, 3 of A. A ratio" in text
    assert "Ours takes more: wall of A than fluke with 1 process (0.75x)." in text
    assert "Ours takes more: nowhere." in page([OURS_WITH_TWO, PEER_WITH_TWO], "a machine")


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.csv"
    path.write_text(csv_text(Row._fields, ROWS, digits=6), encoding="utf-8")
    assert rows_of(path) == ROWS


def test_the_committed_page_shows_the_committed_numbers() -> None:
    results = ROOT / "docs" / "results"
    text = (results / "engine.md").read_text(encoding="utf-8")
    machine = re.search(r"`make bench-engine`; (.*), one thread a process", text)
    if machine is None:
        pytest.fail("engine.md does not say on which machine it was measured")
    assert page(rows_of(results / "engine.csv"), machine[1]) == text
