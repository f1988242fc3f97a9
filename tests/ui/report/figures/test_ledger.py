"""Spending over rounds: epsilons that a ledger itself would give."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import ReleaseId, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.terms import Terms
from securefl.runs.folder import RunFolder
from securefl.ui.report.figures.ledger import ledger, spending_in
from securefl.ui.report.figures.settings import settings_in
from tests.ui.report.figures.folders import SGD, Made, folder_of, metrics_of

CLAIM = "rounds = 4\nprivacy = { epsilon = 8.0 }\n"
FULL = SampledGaussian(1.0, 5.0, 1)
LESS = SampledGaussian(1.0, 9.0, 1)
TERMS = Terms("example", "add_remove", 1e-5, 8.0)


def books(folder: RunFolder, client: int, event: SampledGaussian, rounds: int = 4) -> Ledger:
    cell = folder.cells()[0].cell
    kept = Ledger(cell.ledgers / f"{client}.jsonl", TERMS)
    for number in range(rounds):
        kept.reserve(event, release_id=ReleaseId("run", client, number, 0))
    return kept


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("ledger") / "run"
    final = epsilon(Counter({FULL: 4}), delta=1e-5)
    lower = epsilon(Counter({LESS: 4}), delta=1e-5)
    metrics = metrics_of(0.8, epsilon=final, epsilons={"0": final, "1": final, "2": lower})
    folder = folder_of(path, [Made("run", CLAIM, metrics=metrics)])
    for client, event in ((0, FULL), (1, FULL), (2, LESS)):
        books(folder, client, event)
    return folder


def test_every_point_is_the_epsilon_of_the_releases_so_far(spent: RunFolder) -> None:
    figure = ledger(settings_in(spent).all)
    assert figure is not None
    rows = [tuple(row[1:]) for row in figure.table.rows]
    expected = []
    for words, event in (("clients 0 to 1", FULL), ("client 2", LESS)):
        for number in range(1, 5):
            value = epsilon(Counter({event: number}), delta=1e-5)
            expected.append((words, number, value, 8.0, 8.0 - value))
    assert rows == expected
    assert ">budget 8</text>" in figure.svg
    assert ">clients 0 to 1</text>" in figure.svg
    # Nobody has to be told which run this is: there is one.
    assert "largest epsilon" not in figure.caption


def test_a_ledger_reads_as_the_ledger_does(spent: RunFolder) -> None:
    file = spent.cells()[0].cell.ledgers / "2.jsonl"
    spending = spending_in(file)
    assert spending is not None
    assert (spending.client, spending.delta, spending.budget) == (2, 1e-5, 8.0)
    assert spending.after(3) == Counter({LESS: 4})
    assert spending.after(1) == Counter({LESS: 2})
    assert not spending.is_sampled
    assert epsilon(spending.after(3), delta=1e-5) == Ledger(file, TERMS).epsilon()


def test_a_damaged_ledger_is_left_out(spent: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(spent.path, copy)
    folder = RunFolder(copy)
    ledgers = folder.cells()[0].cell.ledgers
    (ledgers / "2.jsonl").write_text("nonsense\n")
    figure = ledger(settings_in(folder).all)
    assert figure is not None
    assert {row[1] for row in figure.table.rows} == {"clients 0 to 1"}
    for file in ledgers.iterdir():
        file.write_text("")
    assert ledger(settings_in(folder).all) is None


def test_a_run_that_has_not_ended_shows_what_it_spent_so_far(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", [Made("run", CLAIM)])
    books(folder, 0, FULL, rounds=2)
    figure = ledger(settings_in(folder).all)
    assert figure is not None
    assert [row[2:4] for row in figure.table.rows] == [
        (number, epsilon(Counter({FULL: number}), delta=1e-5)) for number in (1, 2)
    ]


def test_without_a_claim_there_is_nothing_to_spend(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", [Made("run", SGD, metrics=metrics_of(0.8))])
    assert ledger(settings_in(folder).all) is None
    assert spending_in(tmp_path / "missing.jsonl") is None
