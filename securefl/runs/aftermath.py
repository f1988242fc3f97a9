"""What an attack did to a run, from the records of its rounds."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

from securefl.federation.record import RoundRecord

STANDARD_ERRORS_ABOVE_MAJORITY = 2  # accuracy within them may be a constant answer's luck


class Aftermath(TypedDict, total=False):
    """What an attack did to a run; None where there is nothing to count.

    Keys:
        push: mean of the rounds' pushes, see `RoundRecord.push`.
        screened_precision: corrupt share of the updates that the screen set aside.
        screened_recall: share set aside of the corrupt updates that arrived.
        distrusted_precision: corrupt share of the rows that the rule gave next to no weight.
        distrusted_recall: share given next to no weight of the corrupt rows that arrived.
        collapsed: the first round after which accuracy never significantly exceeds the
            majority-class rate; NaN counts as below. None if there is no such round. Only rounds
            after which the model was evaluated count.
        attack_success: share of the attack's goal that the final model reaches.
    """

    push: float | None
    screened_precision: float | None
    screened_recall: float | None
    distrusted_precision: float | None
    distrusted_recall: float | None
    collapsed: float | None
    attack_success: float | None


# Clients that are suspected in a round, and all whose updates arrived.
Suspected = tuple[Sequence[int], Sequence[int]]


class Detection(NamedTuple):
    """How well a list of suspects matches the corrupt clients."""

    precision: float | None
    recall: float | None


def aftermath(
    rounds: Sequence[RoundRecord],
    corrupt: Collection[int],
    *,
    majority: float | None,
    records: int,
    chosen: bool = False,
) -> Aftermath:
    """Says how far rows were pushed, who was set aside, and when the model collapsed.

    Args:
        rounds: the records, from round 0.
        corrupt: ids of the corrupt clients.
        majority: the share of the largest class among the test records; None where a record has
            several labels.
        records: number of test records.
        chosen: whether the channel itself left clients out, which then are the distrusted ones.

    Returns:
        All of `Aftermath` except attack_success, which needs the final model.
    """
    pushes = [record.push for record in rounds if record.push is not None]
    screened = _detection(((record.screened, record.survivors) for record in rounds), corrupt)
    distrusted = _detection(_left_out(rounds) if chosen else _distrusted(rounds), corrupt)
    accuracies = {round: record.accuracy for round, record in enumerate(rounds) if record.evaluated}
    return {
        "push": _mean(pushes),
        "screened_precision": screened.precision,
        "screened_recall": screened.recall,
        "distrusted_precision": distrusted.precision,
        "distrusted_recall": distrusted.recall,
        "collapsed": _collapsed(accuracies, majority, records),
    }


def _distrusted(rounds: Sequence[RoundRecord]) -> Iterator[Suspected]:
    """Yields the rows that a rule gave next to no weight."""
    for record in rounds:
        if record.distrusted is not None:
            yield record.distrusted, record.survivors


def _left_out(rounds: Sequence[RoundRecord]) -> Iterator[Suspected]:
    """Yields the clients that a channel did not choose; rounds without a result chose nobody."""
    for record in rounds:
        if not record.abandoned:
            yield record.left_out, (*record.survivors, *record.left_out)


def _detection(rounds: Iterable[Suspected], corrupt: Collection[int]) -> Detection:
    """Precision and recall over rounds; each gives the suspects and the clients that arrived."""
    suspects_corrupt: list[bool] = []
    corrupt_suspected: list[bool] = []
    for suspects, arrived in rounds:
        suspects_corrupt += [client in corrupt for client in suspects]
        corrupt_suspected += [client in suspects for client in arrived if client in corrupt]
    return Detection(_mean(suspects_corrupt), _mean(corrupt_suspected))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _collapsed(
    accuracies: Mapping[int, float | None], majority: float | None, records: int
) -> float | None:
    """The first round from which no accuracy exceeds what a constant answer may reach by luck.

    accuracies are those of the evaluated rounds, in order.
    """
    if majority is None or records == 0 or not accuracies:
        return None
    error = math.sqrt(majority * (1 - majority) / records)
    luck = majority + STANDARD_ERRORS_ABOVE_MAJORITY * error
    # A model that is not finite any more has no accuracy: that is as bad as a constant answer.
    above = [
        round for round, accuracy in accuracies.items() if accuracy is not None and accuracy > luck
    ]
    last_above = max(above, default=-1)
    below = [round for round in accuracies if round > last_above]
    return float(below[0]) if below else None
