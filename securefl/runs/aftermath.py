"""What an attack did to a run, from the records of its rounds."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def aftermath(
    rounds: Sequence[Mapping[str, Any]],
    corrupt: Collection[int],
    *,
    majority: float | None,
    records: int,
) -> dict[str, float | None]:
    """How far the corrupt rows were pushed, whom the screen set aside, and when the model collapsed.

    Args:
        rounds: the records, as rounds.jsonl holds them.
        corrupt: ids of the corrupt clients.
        majority: the share of the largest class among the test records; None where they bear several labels.
        records: test records.

    Returns:
        push: mean of the rounds' pushes. screened_precision: share of corrupt ones among the updates set aside by the
        screen. screened_recall: share set aside of the corrupt updates that arrived. distrusted_precision,
        distrusted_recall: the same of rows that the rule gave next to no weight, where it weighs rows. collapsed: the
        first round from which on accuracy was never more than two standard errors above majority, or not a number.
        None where there is nothing to count, or it never happened.
    """
    pushes = [record["push"] for record in rounds if record["push"] is not None]
    return {
        "push": _mean(pushes),
        **_found("screened", rounds, corrupt),
        **_found(
            "distrusted", [record for record in rounds if record["distrusted"] is not None], corrupt
        ),
        "collapsed": _collapsed([record["accuracy"] for record in rounds], majority, records),
    }


def _found(
    what: str, rounds: Sequence[Mapping[str, Any]], corrupt: Collection[int]
) -> dict[str, float | None]:
    """Precision and recall of a list of clients in every record, as one that should hold the corrupt ones."""
    listed = [client in corrupt for record in rounds for client in record[what]]
    arrived = [
        client in record[what]
        for record in rounds
        for client in record["survivors"]
        if client in corrupt
    ]
    return {f"{what}_precision": _mean(listed), f"{what}_recall": _mean(arrived)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _collapsed(
    accuracies: Sequence[float | None], majority: float | None, records: int
) -> float | None:
    """The place from which on no accuracy is above what a constant answer may score by chance."""
    if majority is None or records == 0 or not accuracies:
        return None
    chance = majority + 2 * math.sqrt(majority * (1 - majority) / records)
    above = [
        place
        for place, accuracy in enumerate(accuracies)
        if accuracy is not None and accuracy > chance
    ]
    first = above[-1] + 1 if above else 0
    return float(first) if first < len(accuracies) else None
