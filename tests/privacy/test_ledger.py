"""A client's privacy ledger: its refusals, the edits that it detects, the failures it survives."""

import json
import math
import os
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.errors import BudgetExceeded, LedgerError
from securefl.privacy import ledger as ledger_module
from securefl.privacy.accounting import allowance
from securefl.privacy.accounting import epsilon as accounting_epsilon
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import GENESIS, chain
from securefl.privacy.events import (
    DiscreteGaussianSum,
    PrivacyEvent,
    ReleaseId,
    SampledGaussian,
)
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import past_of
from securefl.privacy.terms import LOCAL, Place, Terms

DELTA = 1e-5
TERMS = Terms("example", "add_remove", DELTA, 8.0)
FREE = TERMS._replace(budget=math.inf)
# Without sampling the cost has a closed form, so these tests take no time.
EVENT = SampledGaussian(1.0, 20.0, 10)
OTHER = SampledGaussian(1.0, 9.0, 3)
# Six shares count, of 20 steps of the grid each.
SHARES = DiscreteGaussianSum.of(20.0, 6, sensitivity=2.0, granularity=0.25, dimension=7)


def rid(round: int, *, client: int = 3) -> ReleaseId:
    return ReleaseId("run", client, round, 0)


def filled(path: Path, *, terms: Terms = FREE, rounds: int = 3) -> Ledger:
    """Returns a ledger of `rounds` reservations of two events, every second one settled."""
    ledger = Ledger(path, terms)
    for round in range(rounds):
        ledger.reserve(OTHER if round % 3 == 1 else EVENT, release_id=rid(round))
        if round % 2 == 0:
            ledger.settle(rid(round))
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "3.jsonl"


# Reserving and settling


def test_a_new_ledger_is_empty_and_writes_nothing(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    assert ledger.count(EVENT) == 0
    assert ledger.epsilon() == 0.0
    assert ledger.head == "0" * 64
    assert ledger.settled == frozenset()
    assert rid(0) not in ledger
    assert not path.parent.exists()


def test_a_reservation_is_on_disk_counted_and_costs(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    ledger.reserve(EVENT, release_id=rid(0))
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == {
        "kind": "reserve",
        "release": ["run", 3, 0, 0],
        "event": {"sample_rate": 1.0, "noise_multiplier": 20.0, "steps": 10},
        "terms": {
            "unit": "example",
            "neighbours": "add_remove",
            "delta": 1e-5,
            "budget": 8.0,
            "noise": "system",
        },
        "hash": ledger.head,
    }
    assert (rid(0) in ledger, rid(1) in ledger, ledger.count(EVENT)) == (True, False, 1)
    assert ledger.epsilon() == epsilon({EVENT: 1}, delta=DELTA) > 0


def test_the_same_release_is_charged_once(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    ledger.reserve(EVENT, release_id=rid(0))
    before = path.read_bytes()
    ledger.reserve(EVENT, release_id=rid(0))
    assert path.read_bytes() == before
    assert ledger.count(EVENT) == 1
    ledger.reserve(EVENT, release_id=rid(1))
    ledger.reserve(EVENT, release_id=rid(0)._replace(attempt=1))
    ledger.reserve(EVENT, release_id=rid(0)._replace(run="other"))
    assert ledger.count(EVENT) == 4


def test_the_same_release_with_another_event_is_refused(path: Path) -> None:
    ledger = filled(path)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="round 0 of client 3 is booked with another event"):
        ledger.reserve(OTHER, release_id=rid(0))
    assert (path.read_bytes(), ledger.count(OTHER)) == (before, 1)


def test_a_repeated_release_passes_even_when_the_budget_is_spent(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=epsilon({EVENT: 1}, delta=DELTA)))
    ledger.reserve(EVENT, release_id=rid(0))
    ledger.reserve(EVENT, release_id=rid(0))
    with pytest.raises(BudgetExceeded, match="release 2 would exceed"):
        ledger.reserve(EVENT, release_id=rid(1))


def test_settling_keeps_the_amount_and_is_written_once(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    ledger.reserve(EVENT, release_id=rid(0))
    cost = ledger.epsilon()
    ledger.settle(rid(0))
    before = path.read_bytes()
    ledger.settle(rid(0))
    assert path.read_bytes() == before
    assert before.count(b"\n") == 2
    assert ledger.settled == {rid(0)}
    assert (ledger.count(EVENT), ledger.epsilon()) == (1, cost)
    # A settled release is still the same release.
    ledger.reserve(EVENT, release_id=rid(0))
    assert ledger.count(EVENT) == 1


def test_settling_a_release_that_was_never_reserved_is_refused(path: Path) -> None:
    ledger = filled(path)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="round 9 of client 3 was never reserved"):
        ledger.settle(rid(9))
    assert (path.read_bytes(), rid(9) in ledger.settled) == (before, False)


def test_a_client_present_in_5_of_20_rounds_pays_for_5(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    for round in range(20):
        if round % 4 == 1:
            ledger.reserve(EVENT, release_id=rid(round))
            ledger.settle(rid(round))
    assert ledger.count(EVENT) == 5
    assert ledger.epsilon() == epsilon({EVENT: 5}, delta=DELTA) < epsilon({EVENT: 6}, delta=DELTA)


# The budget


def test_a_release_that_would_exceed_the_budget_is_refused_and_changes_nothing(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=epsilon({EVENT: 2}, delta=DELTA)))
    for round in range(2):
        ledger.reserve(EVENT, release_id=rid(round))
    before = path.read_bytes()
    head = ledger.head
    message = r"client 3: release 3 would exceed epsilon [\d.]+ \(example\)"
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match=message):
            ledger.reserve(EVENT, release_id=rid(2))
    assert path.read_bytes() == before
    assert ledger.head == head
    assert ledger.count(EVENT) == 2
    assert rid(2) not in ledger


def test_a_refused_first_release_makes_no_file(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=0.01))
    with pytest.raises(BudgetExceeded, match=r"release 1 would exceed epsilon 0\.01"):
        ledger.reserve(EVENT, release_id=rid(0))
    assert not path.exists()


def test_a_smaller_event_may_still_fit_where_a_larger_one_does_not(path: Path) -> None:
    small = SampledGaussian(1.0, 500.0, 1)
    ledger = Ledger(path, TERMS._replace(budget=epsilon({EVENT: 2, small: 1}, delta=DELTA)))
    for round in range(2):
        ledger.reserve(EVENT, release_id=rid(round))
    with pytest.raises(BudgetExceeded, match="release 3"):
        ledger.reserve(EVENT, release_id=rid(2))
    ledger.reserve(small, release_id=rid(2))
    with pytest.raises(BudgetExceeded, match="release 4"):
        ledger.reserve(small, release_id=rid(3))
    assert ledger.epsilon() <= ledger.terms.budget


def brute_force(event: SampledGaussian, others: Counter[SampledGaussian], budget: float) -> int:
    count = 0
    while epsilon(others + Counter({event: count + 1}), delta=DELTA) <= budget:
        count += 1
    return count


@pytest.mark.parametrize("budget", [0.2, 0.5, 0.7, 1.0, 1.9, 3.0, 4.5, 8.0])
@pytest.mark.parametrize("already", [0, 1, 2])
def test_the_allowance_equals_counting_one_by_one(
    tmp_path: Path, budget: float, already: int
) -> None:
    ledger = Ledger(tmp_path / "0.jsonl", TERMS._replace(budget=budget))
    others: Counter[SampledGaussian] = Counter()
    for round in range(already):
        if ledger.count(OTHER) < ledger.allowed(OTHER):
            ledger.reserve(OTHER, release_id=rid(round))
            others[OTHER] += 1
    assert ledger.allowed(EVENT) == brute_force(EVENT, others, budget)
    # Its own reservations change nothing: the allowance is a total.
    for round in range(10, 13):
        if ledger.count(EVENT) < ledger.allowed(EVENT):
            ledger.reserve(EVENT, release_id=rid(round))
    assert ledger.allowed(EVENT) == brute_force(EVENT, others, budget)


def test_each_event_has_an_allowance_of_its_own(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    for event in (EVENT, OTHER, EVENT):
        assert ledger.allowed(event) == brute_force(event, Counter(), 8.0)
    assert ledger.allowed(EVENT) != ledger.allowed(OTHER)


def test_the_allowance_shrinks_when_another_event_is_booked(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=1.5))
    before = ledger.allowed(EVENT)
    for round in range(3):
        ledger.reserve(OTHER, release_id=rid(round))
        after = ledger.allowed(EVENT)
        assert 0 < after == brute_force(EVENT, Counter({OTHER: round + 1}), 1.5) < before
        before = after


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 9, 100])
def test_a_budget_that_is_met_exactly_is_enough(tmp_path: Path, count: int) -> None:
    exact = epsilon({EVENT: count}, delta=DELTA)
    enough = TERMS._replace(budget=exact)
    too_little = TERMS._replace(budget=exact * (1 - 1e-9))
    assert Ledger(tmp_path / "0.jsonl", enough).allowed(EVENT) == count
    assert Ledger(tmp_path / "0.jsonl", too_little).allowed(EVENT) == count - 1


def test_the_allowance_of_subsampled_releases_fits_and_one_more_does_not(tmp_path: Path) -> None:
    event = SampledGaussian(0.064, 1.1, 16)
    allowed = Ledger(tmp_path / "0.jsonl", TERMS._replace(budget=3.0)).allowed(event)
    assert epsilon({event: allowed}, delta=DELTA) <= 3.0
    assert epsilon({event: allowed + 1}, delta=DELTA) > 3.0


choices = st.lists(
    st.sampled_from([EVENT, OTHER, SampledGaussian(1.0, 5.0, 1)]), min_size=10, max_size=40
)


@settings(derandomize=True, max_examples=30, deadline=None, database=None)
@given(choices, st.floats(0.3, 3.0))
def test_the_budget_holds_and_nothing_that_fits_is_refused(
    events: list[SampledGaussian], budget: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "0.jsonl", TERMS._replace(budget=budget))
        booked: Counter[SampledGaussian] = Counter()
        for round, event in enumerate(events):
            fits = epsilon(booked + Counter({event: 1}), delta=DELTA) <= budget
            try:
                ledger.reserve(event, release_id=rid(round))
            except BudgetExceeded:
                assert not fits
            else:
                assert fits
                booked[event] += 1
        assert ledger.epsilon() == epsilon(booked, delta=DELTA) <= budget


def test_an_infinite_budget_allows_everything_even_without_noise(path: Path) -> None:
    ledger, bare = Ledger(path, FREE), SampledGaussian(1.0, 0.0, 1)
    for round in range(3):
        ledger.reserve(bare, release_id=rid(round))
    assert (ledger.epsilon(), ledger.count(bare)) == (math.inf, 3)
    assert Ledger(path, FREE).count(bare) == 3


def test_a_release_without_noise_fits_no_finite_budget(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=1e300))
    with pytest.raises(BudgetExceeded, match="release 1"):
        ledger.reserve(SampledGaussian(0.1, 0.0, 1), release_id=rid(0))


def test_a_budget_that_is_not_a_number_allows_nothing(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=math.nan))
    with pytest.raises(BudgetExceeded, match="epsilon nan"):
        ledger.reserve(EVENT, release_id=rid(0))


def forbid_composing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every question to the accountant an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the accountant was asked")

    monkeypatch.setattr(ledger_module, "epsilon", refuse)
    monkeypatch.setattr(allowance, "fits", refuse)


def test_400_reservations_take_under_a_second_because_the_allowance_is_computed_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = SampledGaussian(0.064, 1.3, 1)
    ledger = Ledger(path, TERMS)
    ledger.reserve(event, release_id=rid(0))
    forbid_composing(monkeypatch)
    started = time.process_time()
    for round in range(400):
        ledger.reserve(event, release_id=rid(round))
    assert time.process_time() - started < 1.0
    assert ledger.count(event) == 400


def test_under_much_noise_nobody_counts_the_millions_of_releases_that_fit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release asks whether it fits, and for that no sum of losses is longer than it must be."""
    asked: list[int] = []
    fits = accounting_epsilon.fits

    def noted(events: Counter[SampledGaussian], *, delta: float, budget: float) -> bool:
        asked.append(sum(events.values()))
        return fits(events, delta=delta, budget=budget)

    monkeypatch.setattr(allowance, "fits", noted)
    event = SampledGaussian(0.3, 400.0, 1)
    ledger = Ledger(path, TERMS)
    for round in range(1030):
        ledger.reserve(event, release_id=rid(round))
    assert asked == [1024, 2048]
    assert ledger.allowed(event, most=3000) == 3000


def test_an_infinite_budget_is_not_searched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_composing(monkeypatch)
    ledger = Ledger(path, FREE)
    ledger.reserve(EVENT, release_id=rid(0))
    ledger.reserve(OTHER, release_id=rid(1))
    assert (ledger.count(EVENT), ledger.count(OTHER)) == (1, 1)


# The chain


def test_reopening_continues_where_it_stopped(path: Path) -> None:
    ledger, budget = filled(path, rounds=4), TERMS._replace(budget=math.inf)
    again = Ledger(path, budget)
    assert (again.head, again.settled, again.epsilon()) == (
        ledger.head,
        ledger.settled,
        ledger.epsilon(),
    )
    assert (again.count(EVENT), again.count(OTHER)) == (3, 1)
    assert all(rid(round) in again for round in range(4))
    again.reserve(EVENT, release_id=rid(0))
    again.settle(rid(0))
    assert again.head == ledger.head
    again.reserve(EVENT, release_id=rid(4))
    again.settle(rid(4))
    assert Ledger(path, budget).head == again.head != ledger.head
    assert Ledger(path, budget).count(EVENT) == 4


def test_reopening_changes_no_byte(path: Path) -> None:
    filled(path)
    before = path.read_bytes()
    Ledger(path, FREE)
    assert path.read_bytes() == before


def test_two_histories_that_differ_in_anything_have_different_heads(tmp_path: Path) -> None:
    heads = set()
    for number, (event, round, run) in enumerate(
        [(EVENT, 0, "a"), (OTHER, 0, "a"), (EVENT, 1, "a"), (EVENT, 0, "b")]
    ):
        ledger = Ledger(tmp_path / f"{number}.jsonl", FREE)
        ledger.reserve(event, release_id=ReleaseId(run, 0, round, 0))
        heads.add(ledger.head)
        # The same line after another past.
        ledger.reserve(EVENT, release_id=ReleaseId("same", 0, 9, 0))
        heads.add(ledger.head)
    assert len(heads) == 8


# Lines of a ledger that `filled` writes.
LINES = 5
NOTICED = r"3\.jsonl (is damaged at line|was edited at line|was kept under other terms)"


def test_the_file_of_these_tests_has_five_lines(path: Path) -> None:
    filled(path)
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == [
        "reserve",
        "settle",
        "reserve",
        "reserve",
        "settle",
    ]


@pytest.mark.parametrize("line", range(LINES))
@pytest.mark.parametrize("change", [1, 4, 32, 128], ids=lambda change: f"xor {change}")
def test_a_change_of_any_byte_is_noticed(path: Path, line: int, change: int) -> None:
    filled(path)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    start = sum(map(len, lines[:line]))
    for at in range(start, start + len(lines[line])):
        # Without its newline, the last line is a torn line: see below.
        if at == len(data) - 1:
            continue
        path.write_bytes(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
        with pytest.raises(LedgerError, match=NOTICED):
            Ledger(path, FREE)


@pytest.mark.parametrize("line", range(LINES))
def test_a_byte_more_or_less_is_noticed(path: Path, line: int) -> None:
    filled(path)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    start = sum(map(len, lines[:line]))
    for at in range(start, start + len(lines[line]) - 1):
        for edited in (
            data[:at] + data[at + 1 :],
            data[:at] + b" " + data[at:],
            data[:at] + b"\n" + data[at:],
        ):
            path.write_bytes(edited)
            with pytest.raises(LedgerError, match=NOTICED):
                Ledger(path, FREE)


@pytest.mark.parametrize("line", range(LINES - 1))
def test_a_line_removed_before_the_last_is_noticed(path: Path, line: int) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(
        LedgerError, match=rf"was edited at line {line + 1}: its hash chain is broken"
    ):
        Ledger(path, FREE)


@pytest.mark.parametrize("line", range(LINES))
def test_a_repeated_line_is_noticed(path: Path, line: int) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: line + 1] + lines[line:]))
    with pytest.raises(
        LedgerError, match=rf"was edited at line {line + 2}: its hash chain is broken"
    ):
        Ledger(path, FREE)


@pytest.mark.parametrize(("later", "first"), [(i, j) for i in range(LINES) for j in range(i)])
def test_two_lines_swapped_are_noticed(path: Path, later: int, first: int) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[later], lines[first] = lines[first], lines[later]
    path.write_bytes(b"".join(lines))
    with pytest.raises(
        LedgerError, match=rf"was edited at line {first + 1}: its hash chain is broken"
    ):
        Ledger(path, FREE)


def test_a_line_with_another_spelling_is_noticed_though_it_means_the_same(path: Path) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    body = json.loads(lines[1])
    path.write_bytes(lines[0] + json.dumps(body).encode() + b"\n" + b"".join(lines[2:]))
    with pytest.raises(LedgerError, match="was edited at line 2"):
        Ledger(path, FREE)


@pytest.mark.parametrize(
    "line", [b"[]\n", b"7\n", b'"x"\n', b"null\n", b"\n", b"\xff\xfe\n", b'{"hash":"x"}\n']
)
def test_a_line_that_is_no_entry_is_damage(path: Path, line: bytes) -> None:
    filled(path)
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(LedgerError, match=f"is damaged at line {LINES + 1}"):
        Ledger(path, FREE)


@pytest.mark.parametrize("remaining", range(LINES + 1))
def test_a_cut_at_the_end_is_noticed_by_a_head_noted_elsewhere(path: Path, remaining: int) -> None:
    heads = []
    ledger = Ledger(path, FREE)
    for round in range(2):
        ledger.reserve(EVENT, release_id=rid(round))
        heads.append(ledger.head)
        ledger.settle(rid(round))
        heads.append(ledger.head)
    ledger.reserve(EVENT, release_id=rid(2))
    heads.append(ledger.head)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:remaining]))
    again = Ledger(path, FREE)
    for number, head in enumerate(heads):
        if number < remaining:
            again.require_head(head)
        else:
            with pytest.raises(LedgerError, match=r"3\.jsonl was cut or replaced"):
                again.require_head(head)


def test_a_head_of_another_ledger_is_not_part_of_this_one(path: Path, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other.jsonl", FREE)
    other.reserve(OTHER, release_id=rid(0))
    with pytest.raises(LedgerError, match="was cut or replaced"):
        filled(path).require_head(other.head)


def test_every_head_a_ledger_ever_had_is_part_of_it(path: Path) -> None:
    ledger = Ledger(path, FREE)
    heads = [ledger.head]
    for round in range(3):
        ledger.reserve(EVENT, release_id=rid(round))
        heads.append(ledger.head)
    assert len(set(heads)) == 4
    for head in heads:
        ledger.require_head(head)
        Ledger(path, FREE).require_head(head)


@pytest.mark.parametrize(
    "terms",
    [
        FREE._replace(unit="client"),
        FREE._replace(delta=1e-6),
        FREE._replace(budget=8.0),
        FREE._replace(neighbours="replace_one"),
    ],
)
def test_a_ledger_kept_under_other_terms_is_refused(path: Path, terms: Terms) -> None:
    filled(path)
    before = path.read_bytes()
    with pytest.raises(
        LedgerError, match=r"3\.jsonl was kept under other terms: .*'unit': 'example'"
    ):
        Ledger(path, terms)
    assert path.read_bytes() == before


# Torn lines and failing disks


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_torn_last_line_is_cut_off_and_can_be_reserved_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    # Hundreds of syncs would take seconds.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    ledger = Ledger(path, FREE)
    for round in range(rounds):
        ledger.reserve(EVENT, release_id=rid(round))
    data = path.read_bytes()
    whole = sum(map(len, data.splitlines(keepends=True)[:-1]))
    # Every prefix of the last line, from nothing to all except its newline.
    for length in range(whole, len(data)):
        path.write_bytes(data[:length])
        again = Ledger(path, FREE)
        assert again.count(EVENT) == rounds - 1
        assert rid(rounds - 1) not in again
        assert path.read_bytes() == data[:whole]
        again.reserve(EVENT, release_id=rid(rounds - 1))
        assert path.read_bytes() == data
        assert again.head == ledger.head


def test_a_torn_line_after_a_broken_chain_stays_as_evidence(path: Path) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    edited = lines[0] + lines[2] + lines[3][:20]
    path.write_bytes(edited)
    with pytest.raises(LedgerError, match="was edited at line 2"):
        Ledger(path, FREE)
    assert path.read_bytes() == edited


def kind(descriptor: int) -> str:
    return "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"


def test_a_reservation_is_synced_before_it_is_confirmed_and_a_new_file_with_its_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((kind(fd), os.fstat(fd).st_size)))
    ledger = Ledger(path, FREE)
    ledger.reserve(EVENT, release_id=rid(0))
    first = path.stat().st_size
    assert synced[0] == ("file", first)
    assert [what for what, _ in synced] == ["file", "folder"]
    ledger.settle(rid(0))
    assert synced[2:] == [("file", path.stat().st_size)]


def test_a_line_whose_sync_was_never_confirmed_is_synced_before_it_is_relied_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process that dies between write and fsync leaves a whole line that the disk may not have. A
    # seeded round is then repeated without a write, so opening is the last chance to sync.
    filled(path)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(kind(fd)))
    Ledger(path, FREE)
    assert synced == ["file", "folder"]


class FailingDisk:
    """os.fsync that calls `leave` with the file, and then fails, at the call numbered `at`."""

    def __init__(self, at: int, leave: Callable[[int], None]) -> None:
        self.calls = 0
        self._at = at
        self._leave = leave
        self._sync = os.fsync

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls - 1 == self._at:
            if kind(descriptor) == "file":
                self._leave(descriptor)
            raise OSError(28, "No space left on device")
        self._sync(descriptor)


def leave_whole(descriptor: int) -> None:
    """Leaves all bytes written, none of them known to be safe."""


def leave_half(descriptor: int) -> None:
    """Leaves a line without its end."""
    os.ftruncate(descriptor, os.fstat(descriptor).st_size - 30)


# Reserve 0, settle 0, reserve 1, reserve 2, settle 2, reserve 3.
STEPS = 6
# One a step, and the folder after the first.
SYNCS = 7


def step(ledger: Ledger, number: int) -> ReleaseId | None:
    """Takes one of the steps; returns the release that is now reserved, if any."""
    match number:
        case 1:
            ledger.settle(rid(0))
        case 4:
            ledger.settle(rid(2))
        case _:
            release_id = rid({0: 0, 2: 1, 3: 2, 5: 3}[number])
            ledger.reserve(EVENT, release_id=release_id)
            return release_id
    return None


@pytest.mark.parametrize("leave", [leave_whole, leave_half])
@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("at", range(SYNCS))
def test_a_failed_write_raises_and_neither_breaks_the_chain_nor_undercharges(
    path: Path, monkeypatch: pytest.MonkeyPatch, at: int, retry: bool, leave: Callable[[int], None]
) -> None:
    monkeypatch.setattr(os, "fsync", FailingDisk(at, leave))
    ledger = Ledger(path, FREE)
    confirmed = set[ReleaseId]()
    failures = 0
    todo = list(range(STEPS))
    while todo:
        number = todo.pop(0)
        count = ledger.count(EVENT)
        head = ledger.head
        try:
            release_id = step(ledger, number)
        # A settlement whose reservation failed.
        except LedgerError:
            assert (number, retry) in {(1, False), (4, False)}
        except OSError:
            failures += 1
            assert (ledger.count(EVENT), ledger.head) == (count, head)
            # A process that dies here would find this copy.
            copy = path.with_name("copy.jsonl")
            copy.write_bytes(path.read_bytes())
            reopened = Ledger(copy, FREE)
            assert reopened.count(EVENT) >= len(confirmed)
            assert all(release_id in reopened for release_id in confirmed)
            reopened.require_head(ledger.head)
            if retry:
                todo.insert(0, number)
        else:
            if release_id:
                confirmed.add(release_id)
    assert failures == 1
    # The remains of the failed write must not come before this line.
    ledger.reserve(EVENT, release_id=rid(50))
    confirmed.add(rid(50))
    reopened = Ledger(path, FREE)
    assert all(release_id in reopened for release_id in confirmed)
    assert reopened.count(EVENT) == ledger.count(EVENT) == len(confirmed)
    assert (reopened.head, reopened.settled) == (ledger.head, ledger.settled)
    if retry:
        assert len(confirmed) == 5
        assert reopened.settled == {rid(0), rid(2)}


@pytest.mark.parametrize("leave", [leave_whole, leave_half])
def test_a_failed_write_after_reopening_costs_nothing_that_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, leave: Callable[[int], None]
) -> None:
    filled(path)
    ledger = Ledger(path, FREE)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FailingDisk(0, leave))
        with pytest.raises(OSError, match="No space left"):
            ledger.reserve(EVENT, release_id=rid(9))
    ledger.reserve(OTHER, release_id=rid(10))
    assert path.read_bytes().startswith(before)
    again = Ledger(path, FREE)
    assert (again.head, rid(9) in again, rid(10) in again) == (ledger.head, False, True)
    assert (again.count(EVENT), again.count(OTHER)) == (2, 2)


def test_a_last_write_that_failed_is_charged_if_it_reached_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = filled(path)
    monkeypatch.setattr(os, "fsync", FailingDisk(0, leave_whole))
    with pytest.raises(OSError, match="No space left"):
        ledger.reserve(EVENT, release_id=rid(9))
    assert rid(9) not in ledger
    assert Ledger(path, FREE).count(EVENT) == ledger.count(EVENT) + 1


def test_a_file_that_cannot_be_opened_raises_and_changes_nothing(path: Path) -> None:
    # Even root cannot open a folder for writing.
    path.mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        Ledger(path, FREE)
    path.rmdir()
    ledger = Ledger(path, FREE)
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        ledger.reserve(EVENT, release_id=rid(0))
    assert (ledger.count(EVENT), ledger.head) == (0, "0" * 64)
    path.rmdir()
    ledger.reserve(EVENT, release_id=rid(0))
    assert Ledger(path, FREE).head == ledger.head


def test_a_file_that_was_taken_away_is_noticed(path: Path) -> None:
    ledger = filled(path)
    path.unlink()
    ledger.reserve(EVENT, release_id=rid(7))
    with pytest.raises(LedgerError, match="was edited at line 1"):
        Ledger(path, FREE)


# Sums with shares of noise


def test_a_sum_with_shares_is_written_with_all_its_constants_and_read_back(path: Path) -> None:
    ledger = Ledger(path, TERMS)
    ledger.reserve(SHARES, release_id=rid(0))
    ledger.reserve(EVENT, release_id=rid(1))
    ledger.settle(rid(0))
    first = json.loads(path.read_text().splitlines()[0])
    assert first["event"] == {
        "sample_rate": 1.0,
        "sigma": 0.25 * 20 * math.sqrt(6),
        "sensitivity": 2.0,
        "granularity": 0.25,
        "shares": 6,
        "dimension": 7,
        "tau": SHARES.tau,
        "steps": 1,
    }
    again = Ledger(path, TERMS)
    assert (again.count(SHARES), again.count(EVENT), again.head) == (1, 1, ledger.head)
    again.reserve(SHARES, release_id=rid(0))
    assert again.head == ledger.head
    assert again.epsilon() == epsilon(Counter[PrivacyEvent]([SHARES, EVENT]), delta=DELTA)


def test_settling_a_sum_with_shares_keeps_the_amount(path: Path) -> None:
    # Whatever a server says about survivors: the fewest shares that may count stay booked.
    ledger = Ledger(path, TERMS)
    ledger.reserve(SHARES, release_id=rid(0))
    cost = ledger.epsilon()
    ledger.settle(rid(0))
    assert ledger.epsilon() == cost == epsilon({SHARES: 1}, delta=DELTA)
    more = DiscreteGaussianSum.of(20.0, 9, sensitivity=2.0, granularity=0.25, dimension=7)
    with pytest.raises(LedgerError, match="round 0 of client 3 is booked with another event"):
        ledger.reserve(more, release_id=rid(0))


def test_a_sum_with_shares_is_not_counted_as_a_gaussian_of_its_deviation(path: Path) -> None:
    gaussian = SampledGaussian(1.0, SHARES.noise_multiplier, 1)
    budget = (epsilon({gaussian: 5}, delta=DELTA) + epsilon({SHARES: 5}, delta=DELTA)) / 2
    ledger = Ledger(path, TERMS._replace(budget=budget))
    assert ledger.allowed(gaussian) == 5
    assert ledger.allowed(SHARES) == 4
    for round in range(4):
        ledger.reserve(SHARES, release_id=rid(round))
    with pytest.raises(BudgetExceeded, match="release 5 would exceed"):
        ledger.reserve(SHARES, release_id=rid(4))


def test_a_mixed_ledger_holds_its_budget_and_refuses_nothing_that_fits(path: Path) -> None:
    ledger = Ledger(path, TERMS._replace(budget=2.0))
    booked: Counter[PrivacyEvent] = Counter()
    events: list[PrivacyEvent] = [OTHER, SHARES, EVENT] * 4
    for round, event in enumerate(events):
        fits = epsilon(booked + Counter([event]), delta=DELTA) <= 2.0
        try:
            ledger.reserve(event, release_id=rid(round))
        except BudgetExceeded:
            assert not fits
        else:
            assert fits
            booked[event] += 1
    assert 0 < booked[SHARES] < 4
    assert ledger.epsilon() == epsilon(booked, delta=DELTA) <= 2.0


@pytest.mark.parametrize(
    "edit",
    [
        {"shares": 6.0},
        {"shares": True},
        {"shares": 0},
        {"shares": 2**40},
        {"dimension": 7.5},
        {"steps": 1.5},
        {"tau": 0.0, "sigma": 0.1},
        {"tau": "0"},
        {"sigma": -1.0},
        {"sigma": None},
        {"granularity": 0.0},
        {"sensitivity": math.inf},
        {"sample_rate": 0.0},
        {"survivors": 6},
    ],
    ids=str,
)
def test_a_line_whose_event_is_none_is_damage_even_if_it_chains(
    path: Path, edit: dict[str, object]
) -> None:
    Ledger(path, TERMS).reserve(SHARES, release_id=rid(0))
    body = json.loads(path.read_text())
    del body["hash"]
    body["event"] |= edit
    line, _ = chain(GENESIS, body)
    path.write_bytes(line)
    with pytest.raises(LedgerError, match="is damaged at line 1"):
        Ledger(path, TERMS)
    with pytest.raises(LedgerError, match="is damaged at line 1"):
        past_of(path)


@pytest.mark.parametrize("leave", [leave_whole, leave_half])
@pytest.mark.parametrize("at", range(5))
def test_a_failed_write_of_a_sum_with_shares_never_undercharges(
    path: Path, monkeypatch: pytest.MonkeyPatch, at: int, leave: Callable[[int], None]
) -> None:
    monkeypatch.setattr(os, "fsync", FailingDisk(at, leave))
    ledger = Ledger(path, FREE)
    confirmed: Counter[PrivacyEvent] = Counter()
    failures = 0
    events: list[PrivacyEvent] = [SHARES, EVENT, SHARES, OTHER]
    for round, event in enumerate(events):
        try:
            ledger.reserve(event, release_id=rid(round))
        except OSError:
            failures += 1
            # A process that dies here would find this copy.
            copy = path.with_name("copy.jsonl")
            copy.write_bytes(path.read_bytes())
            reopened = Ledger(copy, FREE)
            assert all(reopened.count(event) >= count for event, count in confirmed.items())
            reopened.require_head(ledger.head)
            ledger.reserve(event, release_id=rid(round))
        confirmed[event] += 1
    assert failures == 1
    reopened = Ledger(path, FREE)
    assert {event: reopened.count(event) for event in confirmed} == confirmed
    assert reopened.epsilon() == epsilon(confirmed, delta=DELTA)


def test_a_cut_behind_a_sum_with_shares_is_noticed(path: Path) -> None:
    ledger = Ledger(path, FREE)
    ledger.reserve(SHARES, release_id=rid(0))
    ledger.reserve(SHARES, release_id=rid(1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])
    with pytest.raises(LedgerError, match="was cut or replaced"):
        Ledger(path, FREE).require_head(ledger.head)


def test_a_ledger_continues_gaussians_with_shares_and_its_first_line_names_both(
    path: Path, tmp_path: Path
) -> None:
    first = Ledger(path, TERMS)
    first.reserve(EVENT, release_id=rid(0))
    first.reserve(SHARES, release_id=rid(1))
    past = past_of(path)
    assert Counter(dict(past.events)) == Counter([EVENT, SHARES])
    second = Ledger(tmp_path / "second.jsonl", TERMS, past)
    second.reserve(SHARES, release_id=ReleaseId("second", 3, 0, 0))
    whole = Counter[PrivacyEvent]({EVENT: 1, SHARES: 2})
    assert second.epsilon() == epsilon(whole, delta=DELTA) > first.epsilon()
    again = Ledger(tmp_path / "second.jsonl", TERMS, past)
    assert again.count(SHARES) == 2
    assert Counter(dict(past_of(tmp_path / "second.jsonl").events)) == whole
    # The order in which events are written does not depend on the order in which they came.
    assert (
        past.and_once(EVENT).and_once(SHARES).events == past.and_once(SHARES).and_once(EVENT).events
    )


# Units and neighbours


def test_sampling_counts_for_a_unit_added_or_removed_alone(path: Path) -> None:
    terms = Terms("client", "replace_one", DELTA, 8.0)
    ledger = Ledger(path, terms)
    sampled = DiscreteGaussianSum.of(
        20.0, 6, sensitivity=2.0, granularity=0.25, dimension=7, sample_rate=0.5
    )
    for event in (sampled, SampledGaussian(0.5, 2.0, 1)):
        message = "event of round 0 counts on sampling, which is proven for a unit added or removed"
        with pytest.raises(LedgerError, match=message):
            ledger.reserve(event, release_id=rid(0))
    assert not path.exists()
    ledger.reserve(SHARES, release_id=rid(0))
    assert Ledger(path, terms).count(SHARES) == 1
    Ledger(path.with_name("4.jsonl"), TERMS).reserve(sampled, release_id=rid(0, client=4))


def test_a_ledger_of_another_unit_or_other_neighbours_is_not_continued(
    path: Path, tmp_path: Path
) -> None:
    Ledger(path, TERMS).reserve(SHARES, release_id=rid(0))
    past = past_of(path)
    message = (
        "protects one client replaced, and the run that it continues one example added or removed"
    )
    with pytest.raises(LedgerError, match=message):
        Ledger(tmp_path / "other.jsonl", Terms("client", "replace_one", DELTA, 8.0), past)
    # Budget and delta may differ.
    Ledger(tmp_path / "same.jsonl", Terms("example", "add_remove", 1e-6, 9.0), past)


# Places of noise


CENTRAL, ONE, TWO = Place("central"), Place("distributed", 1), Place("distributed", 2)
KEYS = Place("central", opener="key holders")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        *((CENTRAL, LOCAL), (CENTRAL, ONE), (ONE, CENTRAL), (ONE, TWO), (TWO, LOCAL)),
        *((CENTRAL, KEYS), (KEYS, CENTRAL)),
    ],
)
def test_a_ledger_does_not_go_on_from_one_that_holds_against_fewer(
    path: Path, tmp_path: Path, before: Place, now: Place
) -> None:
    Ledger(path, TERMS._replace(place=before)).reserve(SHARES, release_id=rid(0))
    past = past_of(path)
    assert past.places == (before,)
    with pytest.raises(LedgerError, match=r"other\.jsonl is for .* that it continues had"):
        Ledger(tmp_path / "other.jsonl", TERMS._replace(place=now), past)
    same = Ledger(tmp_path / "same.jsonl", TERMS._replace(place=before), past)
    same.begin()
    assert past_of(tmp_path / "same.jsonl").places == (before,)


def test_a_ledger_goes_on_from_one_that_holds_against_more(path: Path, tmp_path: Path) -> None:
    Ledger(path, TERMS).reserve(SHARES, release_id=rid(0))
    past = past_of(path)
    for number, place in enumerate((TWO, ONE)):
        file = tmp_path / f"{number}.jsonl"
        Ledger(file, TERMS._replace(place=place), past).begin()
        past = past_of(file)
        assert past.places == (place,)


def test_a_ledger_does_not_open_under_another_place(path: Path) -> None:
    Ledger(path, TERMS._replace(place=ONE)).reserve(SHARES, release_id=rid(0))
    for place in (LOCAL, TWO, CENTRAL):
        with pytest.raises(LedgerError, match="was kept under other terms"):
            Ledger(path, TERMS._replace(place=place))
    assert Ledger(path, TERMS._replace(place=ONE)).count(SHARES) == 1


@pytest.mark.parametrize("place", [CENTRAL, KEYS])
def test_a_ledger_from_before_openers_were_recorded_is_continued(path: Path, place: Place) -> None:
    path.parent.mkdir()
    body = {"kind": "begin", "release": None, "event": None}
    line, _ = chain(GENESIS, {**body, "terms": {**TERMS.to_json(), "place": ["central", 0]}})
    path.write_bytes(line)
    Ledger(path, TERMS._replace(place=place)).reserve(SHARES, release_id=rid(0))
    # The server may have opened the sums of a run before.
    assert past_of(path).places == (CENTRAL,)
    with pytest.raises(LedgerError, match="was kept under other terms"):
        Ledger(path, TERMS._replace(place=ONE))


def test_a_ledger_names_who_opens_the_sums_of_central_noise(path: Path) -> None:
    Ledger(path, TERMS._replace(place=KEYS)).reserve(SHARES, release_id=rid(0))
    assert past_of(path).places == (KEYS,)
    with pytest.raises(LedgerError, match="was kept under other terms"):
        Ledger(path, TERMS._replace(place=CENTRAL))


def test_a_first_line_that_names_no_place_there_is_counts_as_damaged(path: Path) -> None:
    path.parent.mkdir()
    body = {"kind": "begin", "release": None, "event": None}
    for place in (["moon", 0], ["central", 0, "moon"], ["distributed", True], ["distributed"], 7):
        line, _ = chain(GENESIS, {**body, "terms": {**TERMS.to_json(), "place": place}})
        path.write_bytes(line)
        with pytest.raises(LedgerError, match="is damaged at line 1"):
            past_of(path)
