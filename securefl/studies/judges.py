"""The test records behind a row of a study: how many they are, and whether the seeds draw them.

Public numbers only.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from securefl.studies.statistics import Noise, means_error, shares_error

Table = Mapping[str, Any]  # the data table of a scenario

# The standard error of an error of real targets is this part of it, over the root of the number of
# records, where a model's errors follow a normal law. Then E|e| = sqrt(2 / pi) s, and e^2 has the
# variance 2 s^4. Two models' standard errors are added: no correlation makes the sum larger.
RELATIVE_ERRORS = {"mae": math.sqrt(math.pi / 2 - 1), "rmse": math.sqrt(1 / 2)}
RELATIVE_SQUARED_ERROR = math.sqrt(2)
QUARTER = 0.25  # of the training records, which judge where a user has no validation records
MANY_CLASSES = 10  # assumed where nobody declares how many: fewer records of each make more noise


class Judges(NamedTuple):
    """The records behind one number of a row.

    Args:
        records: how many judge in each seed.
        train: how many of the same pool train in each seed.
        idle: how many of that pool do not train in a seed, judging ones included.
        redrawn: whether every seed draws again which records of the pool train.
        same: whether all seeds are judged on the same records.
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
        """Records that do not train over records that train; 0 unless seeds draw both again."""
        return self.idle / self.train if self.redrawn else 0.0


def judges_of(parts: Sequence[Table], *, new_splits: bool, counted: Sequence[float] = ()) -> Judges:
    """Returns the records that judge a row.

    Args:
        parts: the data table of each of its cells with the first seed; several where the row is a
            mean over parts.
        new_splits: whether the seeds differ in data.split_seed.
        counted: test records in the results of the row's cells. A user's own records have no
            published numbers, so that these are all that is known of them.
    """
    # Torch takes a second to import, which commands without tables need not wait for.
    from securefl.scenario.catalog import DATA

    first = parts[0]
    name = first.get("name", "heart")
    if name not in DATA:
        return _own_judges(first, new_splits=new_splits, counted=counted)
    entry = DATA[name]
    held_out = first.get("held_out")
    test_on = first.get("test_on")
    partition = first.get("partition") or entry.usual
    own = partition if partition in entry.partitions else next(iter(entry.partitions))
    training = entry.training(test_on)
    judging = entry.judging(test_on)
    pool = sum(entry.partitions[own]) + sum(entry.tests[own])
    train = sum(training[own])
    records = sum(judging[own])
    if held_out is not None:
        # A site that is held out neither trains nor lies idle: all of it judges, unless the
        # validation records of the others do.
        training_outside = entry.partitions[entry.usual][held_out]
        test_outside = entry.tests[entry.usual][held_out]
        outside = training_outside + test_outside
        pool -= outside
        train -= training[entry.usual][held_out]
        records -= judging[entry.usual][held_out]
        if test_on != "validation":
            records = outside
    elif first.get("only") is not None and partition in entry.partitions and len(judging[own]) > 1:
        # Every part trains on one site and is judged on the records of that site.
        records = sum(judging[own][part["only"]] for part in parts)
    redrawn = new_splits and entry.tuning is not None
    same = not redrawn or (held_out is not None and test_on != "validation")
    classes = entry.task(*entry.sizes[:1]).classes
    return Judges(
        records=records,
        train=train,
        idle=pool - train,
        redrawn=redrawn,
        same=same,
        classes=classes,
    )


def _own_judges(table: Table, *, new_splits: bool, counted: Sequence[float]) -> Judges:
    """Returns the records of a user's own that judge a row.

    Where something is not known, the answer is the one under which fewer differences are marked.
    """
    records = max(1, int(min(counted, default=1)))
    test_share = table.get("test_share") or 0.0
    training = 1 - test_share  # a share of all records, as the next one
    judging = test_share
    if table.get("test_on") == "validation":
        judging = QUARTER * training
        training -= judging
    redrawn = new_splits and judging > 0
    train = round(records * training / judging) if judging else records
    names = table.get("class_names") or ()
    return Judges(
        records=records,
        train=max(1, train),
        idle=round(records * (1 - training) / judging) if judging else 0,
        redrawn=redrawn,
        same=not redrawn,
        classes=table.get("num_classes") or len(names) or MANY_CLASSES,
    )


def noise_of(
    metric: str, one: float, other: float, judges: Judges, *, majority: float | None
) -> Noise:
    """Returns the noise of a mean difference that the spread over seeds does not show.

    Args:
        metric: of the scores.
        one: mean over seeds.
        other: the mean that it is compared with.
        judges: the records behind both.
        majority: share of the largest class among them; one half where it was not measured.
    """
    share = 0.5 if majority is None else majority
    outside_majority = judges.records * (1 - share)
    if metric in ("accuracy", "worst"):
        error = shares_error(one, other, judges.records)
    elif metric == "attack_success":  # a share of the records that are not of the target's class
        error = shares_error(one, other, outside_majority)
    elif metric in ("balanced_accuracy", "auc", "auc_within_sites"):
        # All classes except the largest share these records; a class' mean rests on its part.
        other_classes = max(1, judges.classes - 1)
        records_of_class = outside_majority / other_classes
        error = means_error(one, other, records_of_class)
    elif metric in RELATIVE_ERRORS:
        error = RELATIVE_ERRORS[metric] * (one + other) / math.sqrt(judges.records)
    elif metric == "r2":  # 1 - R2 is a mean squared error in units of the target's variance
        error = RELATIVE_SQUARED_ERROR * (2 - one - other) / math.sqrt(judges.records)
    else:  # costs and claims, which no test record decides
        return Noise(judges.overlap, 0.0)
    return Noise(judges.overlap, error, judges.same)
