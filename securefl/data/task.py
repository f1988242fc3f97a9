"""The prediction task, and the records of a federation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from securefl.data.unlike_labels import check_groups, coarse_loss, partial_loss

# Labels of a regression lie in [-1, 1]: errors beyond a tenth of a declared range count linearly.
HUBER_DELTA = 0.2


class Examples(NamedTuple):
    """Records.

    Attributes:
        features: (n, features) float32, or images (n, channels, side, ...) uint8.
        labels: (n,) int64, or (n, classes) of 0 and 1 where a record may have several classes, or
            (n, targets) float32 in [-1, 1] where targets are real numbers, see `Task.labels`. A
            label of classes + g is coarse: one of the classes of the task's group g. A label of -1
            among several is one that nobody looked for.
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Returns the number of records, where a NamedTuple would count its fields."""
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A classification task, or a regression where targets are declared.

    A classifier has one logit for two classes, one a class otherwise. A regression has one output a
    target, in the unit of its labels:

        task = Task(features=15, targets=((0.0, 120.0), (30.0, 45.0)))  # an age and a temperature
        labels = task.labels(values)  # (n, 2), as the records hold them and the model predicts them

    Args:
        features: numbers of a record.
        classes: number of classes; 0 for a regression.
        image: (channels, side, side[, side]) where records are images; the product is `features`.
        multilabel: a record has any number of the classes, each with a logit of its own.
        targets: the lowest and the highest value of each real target; empty for classes. They are
            declared constants, so that scaling by them releases nothing about the records.
        huber: the loss of a regression is Huber's, which outliers move less, not the squared error.
        groups: classes that a coarse label stands for, each in order; see `Examples.labels`.
        partial: sites may not have looked for some of several labels; see `Examples.labels`.

    Raises:
        ValueError: there are neither classes nor targets, or both, or a range is empty or not
            finite.
    """

    features: int
    classes: int = 0
    image: tuple[int, ...] = ()
    multilabel: bool = False
    targets: tuple[tuple[float, float], ...] = ()
    huber: bool = False
    groups: tuple[tuple[int, ...], ...] = ()
    partial: bool = False

    def __post_init__(self) -> None:
        if bool(self.classes) is bool(self.targets):
            raise ValueError(
                "a task has classes or real targets, "
                f"got {self.classes} classes and {len(self.targets)} targets"
            )
        if self.regression and self.multilabel:
            raise ValueError("a task with real targets has no labels to choose several from")
        if self.huber and not self.regression:
            raise ValueError("Huber's loss needs real targets")
        if self.partial and not self.multilabel:
            raise ValueError("only several labels may be partly observed")
        if self.groups:
            check_groups(self)
        for low, high in self.targets:
            # The width of a huge range overflows; a range of NaN is not above anything.
            if not (low < high and math.isfinite(high - low)):
                raise ValueError(
                    f"a target needs a finite range with low < high, got [{low}, {high}]"
                )

    @property
    def regression(self) -> bool:
        """Whether records have real targets instead of classes."""
        return bool(self.targets)

    @property
    def outputs(self) -> int:
        """Width of the model's last layer."""
        if self.regression:
            return len(self.targets)
        is_binary = self.classes == 2 and not self.multilabel
        return 1 if is_binary else self.classes

    def inputs(self, features: Tensor) -> Tensor:
        """Returns the input of a model: image bytes scaled to [-1, 1] float32, others as they are.

        The scale is a constant, so that scaling releases nothing about the records.
        """
        if features.dtype == torch.uint8:
            # In place: the same bits, without two more copies of the batch.
            return features.float().div_(127.5).sub_(1)
        return features

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean cross-entropy of logits (n, outputs) against labels.

        With several labels a record, the mean is over all labels of (n, classes), or, record by
        record, over those that somebody looked for. A coarse label has the cross-entropy of the sum
        of its classes' probabilities. A regression has the mean squared error or Huber's loss, over
        all targets of (n, targets).
        """
        if self.groups:
            return coarse_loss(logits, labels, self.groups)
        if self.partial:
            return partial_loss(logits, labels)
        if self.huber:
            return functional.huber_loss(logits, labels.to(logits.dtype), delta=HUBER_DELTA)
        if self.regression:
            return functional.mse_loss(logits, labels.to(logits.dtype))
        if self.multilabel:
            return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        if self.classes == 2:
            logit = logits.squeeze(1)
            return functional.binary_cross_entropy_with_logits(logit, labels.to(logit.dtype))
        return functional.cross_entropy(logits, labels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns (n, classes) probabilities; rows sum to one unless labels are several."""
        if self.multilabel:
            return torch.sigmoid(logits.double())
        if self.classes == 2:
            positive = torch.sigmoid(logits.double())
            return torch.cat([1 - positive, positive], dim=1)
        return functional.softmax(logits.double(), dim=1)

    def labels(self, values: Tensor) -> Tensor:
        """Returns targets as labels: scaled to [-1, 1] by their ranges, float32.

        Args:
            values: (n, targets) in their own units. Values outside a range count as its end, and
                NaN stays NaN: the source of the records decides about missing ones.
        """
        low, high = self._ranges()
        inside = values.double().clamp(low, high)
        return ((inside - low) / (high - low) * 2 - 1).float()

    def values(self, outputs: Tensor) -> Tensor:
        """Returns labels or a model's outputs (n, targets) in the targets' own units, float64."""
        low, high = self._ranges()
        return (outputs.double() + 1) / 2 * (high - low) + low

    def _ranges(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest values, each (targets,)."""
        low, high = torch.tensor(self.targets, dtype=torch.float64).T
        return low, high


@dataclass(frozen=True)
class Site:
    """One client's records; `test` is None where test records belong to no client."""

    name: str
    train: Examples
    test: Examples | None


@dataclass(frozen=True)
class FederatedData:
    """The sites of a federation, their task, and all test records."""

    task: Task
    sites: tuple[Site, ...]
    test: Examples

    def pooled(self) -> "FederatedData":
        """Returns the same records as one site, for a comparison with centralised training."""
        train = concatenate([site.train for site in self.sites])
        return FederatedData(self.task, (Site("pooled", train, None),), self.test)

    def dealt(self, parts: Sequence[Tensor]) -> "FederatedData":
        """Returns the same training records as new sites; test records stay common.

        Args:
            parts: for each site, the indices of its records.
        """
        train = self.pooled().sites[0].train
        sites = []
        for index, part in enumerate(parts):
            examples = Examples(train.features[part], train.labels[part])
            sites.append(Site(f"client-{index}", examples, None))
        return FederatedData(self.task, tuple(sites), self.test)

    def alone(self, index: int) -> "FederatedData":
        """Returns one site by itself, tested on its own test records, or on all if it has none."""
        site = self.sites[index]
        test = self.test if site.test is None else site.test
        return FederatedData(self.task, (site,), test)

    def without(self, index: int, *, unseen: bool = False) -> "FederatedData":
        """Returns the other sites, to be tested on all records of the site left out.

        Its training records judge, too: nobody else trains on them.

        Args:
            index: of the site that is left out.
            unseen: not one of its records is used; the other sites' own test records judge.
        """
        remaining = [*self.sites[:index], *self.sites[index + 1 :]]
        if unseen:
            tests = [site.test for site in remaining if site.test is not None]
            return FederatedData(self.task, tuple(remaining), concatenate(tests))
        left_out = self.sites[index]
        test = left_out.train
        if left_out.test is not None:
            test = concatenate([left_out.train, left_out.test])
        # The others' own test records judge nothing here.
        trained = tuple(Site(site.name, site.train, None) for site in remaining)
        return FederatedData(self.task, trained, test)


def concatenate(parts: list[Examples]) -> Examples:
    """Returns all records of the parts, in order."""
    features = torch.cat([part.features for part in parts])
    labels = torch.cat([part.labels for part in parts])
    return Examples(features, labels)
