"""What an attack did: counted by hand from hand-made records."""

from dataclasses import replace

import pytest

from securefl.federation.record import RoundRecord
from securefl.runs.aftermath import aftermath


def record(
    accuracy: float | None,
    *,
    push: float | None = None,
    screened: tuple[int, ...] = (),
    survivors: tuple[int, ...] = (0, 1, 2),
    distrusted: tuple[int, ...] | None = None,
    evaluated: bool = True,
) -> RoundRecord:
    return RoundRecord(
        round=0,
        abandoned=False,
        reason="",
        cohort=(0, 1, 2),
        survivors=survivors,
        absent={},
        screened=screened,
        rejected=0,
        bytes_up=0,
        bytes_down=0,
        accuracy=accuracy,
        ledger_heads={},
        seconds=0.0,
        push=push,
        distrusted=distrusted,
        evaluated=evaluated,
    )


def test_pushes_and_detections_are_counted_as_by_hand() -> None:
    # Screened: clients 0, 2, 0, of whom 0 is corrupt. Corrupt updates arrived at rounds 0 (both),
    # 1 (client 0) and 3 (both), two of these five were screened. Rounds without a push do not
    # count as a push of 0.
    rounds = [
        record(0.9, push=2.0, screened=(0, 2)),
        record(0.5, push=4.0, screened=(0,), survivors=(0, 2)),
        record(0.6, survivors=(2,), distrusted=(2,)),
        record(0.4, screened=(), survivors=(1, 2, 0), distrusted=(1, 2)),
    ]
    counted = aftermath(rounds, {0, 1}, majority=0.5, records=10_000)
    assert counted["push"] == 3.0
    assert counted["screened_precision"] == pytest.approx(2 / 3)
    assert counted["screened_recall"] == pytest.approx(2 / 5)
    assert counted["distrusted_precision"] == pytest.approx(1 / 3)
    assert counted["distrusted_recall"] == pytest.approx(1 / 2)
    assert counted["collapsed"] == 3


def test_clients_that_a_channel_did_not_choose_are_the_distrusted_ones() -> None:
    # Left out: clients 0, 2, 1, of whom 0 and 1 are corrupt. Corrupt updates arrived at round 0
    # (0), at round 1 (1, and 0 in the sum) and at round 2 (both, nobody left out).
    rounds = [
        replace(record(0.9, survivors=(3,)), left_out=(0, 2)),
        replace(record(0.9, survivors=(0, 3)), left_out=(1,)),
        record(0.9, survivors=(0, 1, 3)),
        # No sum opened: nobody was chosen, and nobody left out.
        replace(record(0.9, survivors=()), left_out=(3,), abandoned=True),
    ]
    counted = aftermath(rounds, {0, 1}, majority=0.5, records=10_000, chosen=True)
    assert counted["distrusted_precision"] == pytest.approx(2 / 3)
    assert counted["distrusted_recall"] == pytest.approx(2 / 5)
    assert aftermath(rounds, {0, 1}, majority=0.5, records=9)["distrusted_recall"] is None


@pytest.mark.parametrize(
    ("accuracies", "majority", "collapsed"),
    [
        ([0.9, 0.1, 0.9], 0.5, None),
        ([0.9, 0.1, 0.5], 0.5, 1),
        ([0.1, 0.1], 0.5, 0),
        ([0.9, 0.1], None, None),
        ([0.9, None], 0.5, 1),
        # Two standard errors of 10,000 records are 0.01.
        ([0.9, 0.509, 0.505], 0.5, 1),
        ([0.9, 0.1, 0.511], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_a_model_has_collapsed_once_it_never_recovers(
    accuracies: list[float | None], majority: float | None, collapsed: int | None
) -> None:
    rounds = [record(accuracy) for accuracy in accuracies]
    counted = aftermath(rounds, {0}, majority=majority, records=10_000)
    assert counted["collapsed"] == collapsed


@pytest.mark.parametrize(
    ("accuracies", "collapsed"),
    [
        # By hand; "-" is a round that nobody evaluated.
        (["-", 0.9, "-", 0.1, "-", 0.1], 3),
        (["-", 0.1, "-", 0.9], None),
        (["-", 0.1, "-", 0.1], 1),
        (["-", 0.9, "-"], None),
        (["-", 0.9, "-", None], 3),
        (["-", "-"], None),
    ],
)
def test_rounds_that_nobody_evaluated_say_nothing_about_a_collapse(
    accuracies: list[float | str | None], collapsed: int | None
) -> None:
    rounds = [
        record(None, evaluated=False) if isinstance(value, str) else record(value)
        for value in accuracies
    ]
    counted = aftermath(rounds, {0}, majority=0.5, records=10_000)
    assert counted["collapsed"] == collapsed


def test_a_share_of_nothing_is_not_measured() -> None:
    counted = aftermath([record(0.9, survivors=(2,))], {0}, majority=0.5, records=100)
    assert set(counted.values()) == {None}
