"""What an attack did: counted by hand from hand-made records.

Mutants killed: precision and recall swapped; honest survivors counted; rounds without a push counted as 0; the first
round at or below majority although a later one is above; a collapse at the last round missed; majority itself counted
as above.
"""

from typing import Any

import pytest

from securefl.runs.aftermath import aftermath


def record(
    accuracy: float | None,
    *,
    push: float | None = None,
    screened: Any = (),
    survivors: Any = (0, 1, 2),
    distrusted: Any = None,
) -> Any:
    return {
        "accuracy": accuracy,
        "push": push,
        "screened": list(screened),
        "survivors": list(survivors),
        "distrusted": distrusted,
    }


def test_known_answers() -> None:
    rounds = [
        record(0.9, push=2.0, screened=(0, 2)),
        record(0.5, push=4.0, screened=(0,), survivors=(0, 2)),
        record(0.6, survivors=(2,), distrusted=[2]),
        record(0.4, screened=(), survivors=(1, 2, 0), distrusted=[1, 2]),
    ]
    told = aftermath(rounds, {0, 1}, majority=0.5, records=10_000)
    assert told["push"] == 3.0
    assert told["screened_precision"] == pytest.approx(2 / 3)
    assert told["screened_recall"] == pytest.approx(2 / 5)
    assert told["distrusted_precision"] == pytest.approx(1 / 3)
    assert told["distrusted_recall"] == pytest.approx(1 / 2)
    assert told["collapsed"] == 3


@pytest.mark.parametrize(
    ("accuracies", "majority", "collapsed"),
    [
        ([0.9, 0.1, 0.9], 0.5, None),
        ([0.9, 0.1, 0.5], 0.5, 1),
        ([0.1, 0.1], 0.5, 0),
        ([0.9, 0.1], None, None),
        ([0.9, None], 0.5, 1),
        ([0.9, 0.509, 0.505], 0.5, 1),
        ([0.9, 0.1, 0.511], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_a_collapse_is_for_good(
    accuracies: list[float | None], majority: float | None, collapsed: int | None
) -> None:
    assert (
        aftermath([record(one) for one in accuracies], {0}, majority=majority, records=10_000)[
            "collapsed"
        ]
        == collapsed
    )


def test_what_cannot_be_counted_is_not_measured() -> None:
    told = aftermath([record(0.9, survivors=(2,))], {0}, majority=0.5, records=100)
    assert set(told.values()) == {None}
