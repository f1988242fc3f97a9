"""One ledger a data set: all runs on it share one ceiling, each has its own budget besides."""

import math
from collections import Counter
from pathlib import Path

import pytest

from securefl.errors import BudgetExceeded, LedgerError, PolicyRefused
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.data_set import Ceiling, DataSetLedger
from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent, ReleaseId, SampledGaussian
from securefl.privacy.terms import LOCAL, Place, Terms

EVENT = SampledGaussian(1.0, 20.0, 10)
ONE = epsilon({EVENT: 1}, delta=1e-5)
TWO = epsilon({EVENT: 2}, delta=1e-5)
THREE = epsilon({EVENT: 3}, delta=1e-5)
FREE = Ceiling(math.inf, 1e-5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "data.jsonl"


def opened(path: Path, run: str, *, budget: float = THREE, ceiling: Ceiling) -> DataSetLedger:
    terms = Terms("example", "add_remove", 1e-5, budget)
    return DataSetLedger(path, run, terms, ceiling)


def rid(run: str, round: int) -> ReleaseId:
    return ReleaseId(run, 0, round, 0)


def test_two_runs_together_do_not_exceed_the_ceiling(path: Path) -> None:
    ceiling = Ceiling((TWO + THREE) / 2, 1e-5)
    opened(path, "a", ceiling=ceiling).reserve(EVENT, release_id=rid("a", 0))
    second = opened(path, "b", ceiling=ceiling)
    second.reserve(EVENT, release_id=rid("b", 0))
    before = path.read_bytes()
    with pytest.raises(PolicyRefused, match=r"budget\.epsilon = .* all federations on this data"):
        second.reserve(EVENT, release_id=rid("b", 1))
    assert path.read_bytes() == before
    # A release that was paid stays paid, however tight the ceiling is.
    second.reserve(EVENT, release_id=rid("b", 0))
    assert path.read_bytes() == before
    with pytest.raises(PolicyRefused, match="another training"):
        opened(path, "a", ceiling=ceiling).reserve(EVENT, release_id=rid("a", 1))


def test_what_another_run_spent_is_not_charged_to_the_terms_of_this_one(path: Path) -> None:
    first = opened(path, "a", budget=THREE, ceiling=FREE)
    for round in range(3):
        first.reserve(EVENT, release_id=rid("a", round))
    second = opened(path, "b", budget=TWO, ceiling=FREE)
    assert (second.count(EVENT), second.epsilon()) == (0, 0.0)
    second.reserve(EVENT, release_id=rid("b", 0))
    second.reserve(EVENT, release_id=rid("b", 1))
    with pytest.raises(BudgetExceeded, match="would exceed"):
        second.reserve(EVENT, release_id=rid("b", 2))
    again = opened(path, "b", budget=TWO, ceiling=FREE)
    assert again.count(EVENT) == 2
    assert rid("b", 1) in again
    assert again.head == second.head == again.heads[-1]
    assert len(again.heads) == 6


def test_a_run_out_of_its_own_budget_is_refused_as_such_under_a_spent_ceiling(path: Path) -> None:
    ledger = opened(path, "a", budget=ONE, ceiling=Ceiling(ONE, 1e-5))
    ledger.reserve(EVENT, release_id=rid("a", 0))
    with pytest.raises(BudgetExceeded, match="would exceed"):
        ledger.reserve(EVENT, release_id=rid("a", 1))


def test_the_ceiling_may_change_and_everything_ever_released_counts_under_it(path: Path) -> None:
    ledger = opened(path, "a", ceiling=FREE)
    ledger.reserve(EVENT, release_id=rid("a", 0))
    tighter = opened(path, "b", ceiling=Ceiling(ONE, 1e-5))
    with pytest.raises(PolicyRefused, match="another training"):
        tighter.reserve(EVENT, release_id=rid("b", 0))
    # The same epsilon at a smaller delta allows less.
    ceiling = Ceiling(TWO, 1e-9)
    with pytest.raises(PolicyRefused, match="another training"):
        opened(path, "b", ceiling=ceiling).reserve(EVENT, release_id=rid("b", 0))
    opened(path, "b", ceiling=Ceiling(TWO, 1e-5)).reserve(EVENT, release_id=rid("b", 0))


def test_the_cost_of_a_whole_run_counts_what_was_booked_once(path: Path) -> None:
    other = opened(path, "a", ceiling=Ceiling(8.0, 1e-5))
    other.reserve(EVENT, release_id=rid("a", 0))
    ledger = opened(path, "b", ceiling=Ceiling(8.0, 1e-5))
    assert ledger.epsilon_with(EVENT, 2) == pytest.approx(THREE)
    ledger.reserve(EVENT, release_id=rid("b", 0))
    assert ledger.epsilon_with(EVENT, 2) == pytest.approx(THREE)
    assert ledger.epsilon_with(EVENT, 0) == pytest.approx(TWO)


def test_a_ledger_of_another_unit_is_refused(path: Path) -> None:
    terms = Terms("client", "add_remove", 1e-5, 8.0)
    first = DataSetLedger(path, "a", terms, FREE)
    first.reserve(EVENT, release_id=rid("a", 0))
    with pytest.raises(LedgerError, match="protects another unit"):
        opened(path, "b", ceiling=FREE)


def test_sums_with_shares_count_under_the_ceiling_next_to_gaussians(path: Path) -> None:
    shares = DiscreteGaussianSum.of(20.0, 6, sensitivity=2.0, granularity=0.25, dimension=7)
    both = epsilon(Counter[PrivacyEvent]([EVENT, shares]), delta=1e-5)
    ceiling = Ceiling(both, 1e-5)
    opened(path, "a", ceiling=ceiling).reserve(EVENT, release_id=rid("a", 0))
    second = opened(path, "b", ceiling=ceiling)
    assert second.epsilon_with(shares, 1) == both
    second.reserve(shares, release_id=rid("b", 0))
    with pytest.raises(PolicyRefused, match="another training"):
        second.reserve(shares, release_id=rid("b", 1))
    assert opened(path, "b", ceiling=ceiling).count(shares) == 1


def placed(path: Path, run: str, place: Place) -> DataSetLedger:
    terms = Terms("example", "add_remove", 1e-5, THREE, place=place)
    return DataSetLedger(path, run, terms, FREE)


def test_the_ledger_of_a_data_set_has_the_place_of_every_run(path: Path) -> None:
    shares = Place("distributed", 2)
    for run, place in (("a", LOCAL), ("b", shares), ("c", LOCAL)):
        ledger = placed(path, run, place)
        for round in range(2):
            ledger.reserve(EVENT, release_id=rid(run, round))
    assert ledger.places == placed(path, "d", LOCAL).places == (LOCAL, shares)
    # Runs that add no place write the lines that they always wrote.
    lines = read_entries(path)
    assert [number for number, line in enumerate(lines) if "terms" in line] == [0, 2]
    assert lines[2]["terms"]["place"] == ["distributed", 2]


def test_a_run_that_released_nothing_leaves_no_place(path: Path) -> None:
    placed(path, "a", LOCAL).reserve(EVENT, release_id=rid("a", 0))
    placed(path, "b", Place("distributed", 2))
    assert placed(path, "a", LOCAL).places == (LOCAL,)


def test_a_training_without_a_claim_leaves_no_budget_under_any_finite_ceiling(path: Path) -> None:
    free = opened(path, "a", budget=math.inf, ceiling=FREE)
    free.reserve_unclaimed(rid("a", 0))
    free.reserve_unclaimed(rid("a", 0))
    free.reserve_unclaimed(rid("a", 1))
    assert len(read_entries(path)) == 2
    second = opened(path, "b", ceiling=Ceiling(1e9, 1e-5))
    assert second.epsilon_with(EVENT, 0) == math.inf
    # The run's own epsilon is about its own releases.
    assert second.epsilon() == 0.0
    before = path.read_bytes()
    with pytest.raises(PolicyRefused, match="all federations on this data set would cost more"):
        second.reserve(EVENT, release_id=rid("b", 0))
    assert path.read_bytes() == before
    opened(path, "b", ceiling=FREE).reserve(EVENT, release_id=rid("b", 0))


def test_a_training_without_a_claim_is_refused_under_a_finite_ceiling(path: Path) -> None:
    ledger = opened(path, "a", budget=math.inf, ceiling=Ceiling(1e9, 1e-5))
    with pytest.raises(PolicyRefused, match="all federations on this data set would cost more"):
        ledger.reserve_unclaimed(rid("a", 0))
    assert not path.exists()
