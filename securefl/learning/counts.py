"""Evaluation by counts: integers that add up over sites, and give the metrics of all their records.

    layout = CountsLayout.of(task)
    total = layout.counts(probabilities, labels) + layout.counts(others, their_labels)
    layout.figures(total).metrics        # accuracy as if all records had been in one place

A site's counts are a table of answers and, for each column of scores, two histograms. Accuracy,
balanced accuracy and majority are those of `securefl.learning.evaluate.measure`, bit for bit. The
AUC takes the scores of one bin for equal; `Figures.auc_error` bounds what that changes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError
from securefl.learning.protocol import Metrics

Counts = NDArray[np.int64]  # (length,)

BINS = 1024
# Under noise each bin costs precision; the few left are wide, and the noise is wider.
NOISY_BINS = 64

# Logits of the smallest positive float64, and of the largest one below 1.
_LOWEST_LOGIT = 745.0
_HIGHEST_LOGIT = 37.0


class Figures(NamedTuple):
    """What a sum of counts says about a model.

    Attributes:
        metrics: of all records in the sum.
        auc_error: the AUC is at most this far from that of the scores themselves. None where no
            AUC is measured, and under noise, which nobody can bound.
    """

    metrics: Metrics
    auc_error: float | None


@dataclass(frozen=True)
class CountsLayout:
    """The places of a task's counts in a vector; they follow from public constants.

    Args:
        classes: of the task.
        several: whether a record may have several of them.
        bins: of each histogram.
    """

    classes: int
    several: bool
    bins: int = BINS

    @classmethod
    def of(cls, task: Task, *, bins: int = BINS) -> "CountsLayout":
        """Returns the layout for a task. Raises ScenarioError: it has real targets."""
        if task.regression:
            raise ScenarioError("counts judge classifiers; this task has real targets")
        return cls(task.classes, task.multilabel, bins)

    @property
    def columns(self) -> int:
        """Columns of scores that have histograms; of two classes one has the other's AUC."""
        is_binary = self.classes == 2 and not self.several
        return 1 if is_binary else self.classes

    @property
    def length(self) -> int:
        """Integers of a vector."""
        return math.prod(self._answers_shape) + math.prod(self._bins_shape)

    @property
    def sensitivity(self) -> float:
        """How far one record more or less moves the vector, in the Euclidean norm.

        A record adds 1 to one cell of each table of answers, and to one bin of each column.
        """
        tables = self.classes if self.several else 1
        return math.sqrt(tables + self.columns)

    @property
    def _answers_shape(self) -> tuple[int, ...]:
        """True class, answer; the last answer is none. Of several labels, a table each."""
        if self.several:
            return (self.classes, 2, 3)
        return (self.classes, self.classes + 1)

    @property
    def _bins_shape(self) -> tuple[int, ...]:
        """Column, whether the records have its class, bin."""
        return (self.columns, 2, self.bins)

    def check(self, labels: Tensor) -> None:
        """Raises DataError unless labels have the form that the task gives them."""
        shape = (len(labels), self.classes) if self.several else (len(labels),)
        if tuple(labels.shape) != shape or labels.is_floating_point():
            raise DataError("the records to evaluate on have no labels of the task's form")

    def counts(self, probabilities: Tensor, labels: Tensor) -> Counts:
        """Returns the counts (length,) of some records, perhaps none.

        A record with a probability that is not finite has no answer and no score. One with a label
        that is none of the task's counts nowhere: to refuse it would tell others about it.

        Args:
            probabilities: (n, classes).
            labels: (n,) classes, or (n, classes) of 0 and 1.

        Raises:
            DataError: see `check`.
        """
        self.check(labels)
        is_known = (labels >= 0) & (labels <= (1 if self.several else self.classes - 1))
        if self.several:
            is_known = is_known.all(dim=1)
        truth = labels[is_known].numpy()
        scores = probabilities[is_known].numpy()
        is_finite = np.isfinite(scores).all(axis=1)
        answers = np.zeros(self._answers_shape, dtype=np.int64)
        if self.several:
            given = np.where(is_finite[:, None], scores > 0.5, 2)
            np.add.at(answers, (np.arange(self.classes), truth, given), 1)
        else:
            given = np.where(is_finite, scores.argmax(axis=1), self.classes)
            np.add.at(answers, (truth, given), 1)
        bins = self._binned(scores[is_finite], truth[is_finite])
        return np.concatenate([answers.ravel(), bins.ravel()])

    def _binned(self, scores: NDArray[np.float64], truth: NDArray[np.int64]) -> Counts:
        """Returns the histograms of finite scores (n, classes)."""
        bins = np.zeros(self._bins_shape, dtype=np.int64)
        edges = _edges(1 if self.several else self.classes - 1, self.bins)
        first = self.classes - self.columns  # of two classes, the second one's scores count
        for column in range(self.columns):
            label = first + column
            has_it = truth[:, label] if self.several else (truth == label).astype(np.int64)
            places = np.searchsorted(edges, scores[:, label], side="right")
            np.add.at(bins[column], (has_it, places), 1)
        return bins

    def figures(self, total: Counts, *, noisy: bool = False) -> Figures:
        """Returns the metrics of all records in a sum of counts.

        Args:
            total: (length,).
            noisy: whether sites added noise. Shares are then held to [0, 1], and a model counts as
                diverged if it has no answer for most records, not for any.

        Raises:
            ValueError: the sum has another length.
        """
        if total.shape != (self.length,):
            raise ValueError(f"counts have {self.length} integers, got shape {total.shape}")
        cut = math.prod(self._answers_shape)
        answers = total[:cut].reshape(-1, *self._answers_shape[-2:])  # (tables, truth, answer)
        records = int(answers[0].sum())
        if records <= 0:
            return Figures(Metrics(0, None, None, None, None), None)
        counts = answers.sum(axis=2)  # (tables, truth)
        majority = float(np.clip(counts.max(axis=1) / records, 0, 1).mean())
        unanswered = int(answers[0, :, -1].sum())
        if unanswered > (records / 2 if noisy else 0):
            return Figures(Metrics(records, None, None, None, majority), None)
        right = answers.diagonal(axis1=1, axis2=2)  # (tables, truth)
        accuracy = float(np.clip(right.sum() / (records * len(answers)), 0, 1))
        if not (counts > 0).all():
            return Figures(Metrics(records, accuracy, None, None, majority), None)
        # The mean of each table first, as `measure` rounds it.
        recalls = [np.mean(row) for row in np.clip(right / counts, 0, 1)]
        balanced = float(np.mean(recalls))
        members = counts[:, 1] if self.several else counts[0, -self.columns :]
        others = counts[:, 0] if self.several else records - members
        # As floats: a product of two counts that a site made up need not fit an integer.
        pairs = members * others.astype(np.float64)
        auc, error = _areas(total[cut:].reshape(self._bins_shape), pairs)
        auc = min(max(auc, 0.0), 1.0)
        metrics = Metrics(records, accuracy, balanced, auc, majority)
        return Figures(metrics, None if noisy else error)


def _areas(bins: Counts, pairs: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the mean AUC of all columns, and how far it can be from that of the scores.

    Args:
        bins: (columns, 2, bins).
        pairs: (columns,) of a record with the class and one without, above 0. Under noise the table
            of answers knows them better than the bins do.
    """
    without = bins[:, 0].astype(np.float64)
    having = bins[:, 1].astype(np.float64)
    # A pair within one bin counts half, so that it is wrong by a half at most.
    ties = (having * without).sum(axis=1) / 2
    below = without.cumsum(axis=1) - without
    areas = ((having * below).sum(axis=1) + ties) / pairs
    return float(np.mean(areas)), float(np.mean(ties / pairs))


@lru_cache(maxsize=4)
def _edges(others: int, bins: int) -> NDArray[np.float64]:
    """Returns the (bins - 1,) ascending edges between bins; a score on an edge is above it.

    Scores crowd where a model is undecided, then spread, then crowd at 0 and 1. Edges are therefore
    even in asinh(bins * x), where x is the logit less that of 1 / (others + 1): even in x itself
    near 0, and in its logarithm from 1 / bins on. They are the same for every model and site.
    Scores of exactly 1 have a bin of their own.
    """
    low = -math.asinh(_LOWEST_LOGIT * bins)
    high = math.asinh(_HIGHEST_LOGIT * bins)
    steps = np.linspace(low, high, bins)[1:]
    logits = np.sinh(steps) / bins - math.log(others)
    # Either form keeps the digits of its half.
    small = np.exp(-np.abs(logits))
    edges: NDArray[np.float64] = np.where(logits < 0, small / (1 + small), 1 / (1 + small))
    edges[-1] = 1.0
    return edges
