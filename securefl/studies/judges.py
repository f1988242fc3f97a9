"""The records that judge a row of a study: how many, and whether the seeds draw them anew. Public numbers only."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from securefl.studies.statistics import Noise, means_error, shares_error

Table = Mapping[str, Any]  # the data table of a scenario


class Judges(NamedTuple):
    """The records behind one number of a row.

    Args:
        records: how many judge in each seed.
        train: how many of the same pool train in each seed.
        idle: how many of that pool do not train in a seed, judging ones included.
        redrawn: every seed draws anew from the pool which records train.
        same: all seeds are judged on the same records.
        classes: of the task.
    """

    records: int
    train: int
    idle: int
    redrawn: bool
    same: bool
    classes: int

    @property
    def overlap(self) -> float:
        """Records that do not train over records that train, where seeds draw both anew; else 0."""
        return self.idle / self.train if self.redrawn else 0.0


def judges_of(parts: Sequence[Table], *, new_splits: bool) -> Judges:
    """The records that judge a row.

    Args:
        parts: the data table of each of its cells with the first seed; several where the row is a mean.
        new_splits: the seeds differ in data.split_seed.
    """
    from securefl.scenario.catalog import (
        DATA,
    )  # torch: a second that commands without tables need not wait

    first = parts[0]
    name, test_on, held_out = (
        first.get("name", "heart"),
        first.get("test_on"),
        first.get("held_out"),
    )
    entry = DATA[name]
    how = first.get("partition") or entry.usual
    own = how if how in entry.partitions else next(iter(entry.partitions))
    training, judging = entry.training(test_on), entry.judging(test_on)
    pool = sum(entry.partitions[own]) + sum(entry.tests[own])
    train, records = sum(training[own]), sum(judging[own])
    if held_out is not None:
        outside = entry.partitions[entry.usual][held_out] + entry.tests[entry.usual][held_out]
        pool -= outside
        train -= training[entry.usual][held_out]
        records = records - judging[entry.usual][held_out] if test_on == "validation" else outside
    elif how in entry.partitions and len(judging[own]) > 1 and first.get("only") is not None:
        records = sum(judging[own][part["only"]] for part in parts)
    redrawn = new_splits and entry.tuning is not None
    same = not redrawn or (held_out is not None and test_on != "validation")
    return Judges(records, train, pool - train, redrawn, same, entry.task(*entry.sizes[:1]).classes)


def noise_of(
    metric: str, one: float, other: float, judges: Judges, *, majority: float | None
) -> Noise:
    """What keeps a mean difference from the truth, beside the seeds' spread.

    Args:
        metric: of the scores.
        one: mean over seeds.
        other: what it is compared with.
        judges: the records behind both.
        majority: share of the largest class among them; one half where it was not measured.
    """
    small = judges.records * (
        1 - (0.5 if majority is None else majority)
    )  # records of all classes but the largest
    if metric == "accuracy":
        error = shares_error(one, other, judges.records)
    elif metric == "attack_success":  # a share of the records that are not of the target's class
        error = shares_error(one, other, small)
    elif metric in ("balanced_accuracy", "auc"):
        error = means_error(one, other, small / max(1, judges.classes - 1))
    else:  # costs and claims, which no test record decides
        return Noise(judges.overlap, 0.0)
    return Noise(judges.overlap, error, judges.same)
