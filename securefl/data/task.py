"""What is predicted, and the records it is predicted from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Examples(NamedTuple):
    """Records: features (n, features) float32 or images (n, channels, side, ...) uint8, and labels (n,) int64.

    Labels are (n, classes) of 0 and 1 where a record may bear several.
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of records (a NamedTuple would count its fields)."""
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A classification task: one logit for two classes, one a class otherwise.

    Args:
        features: numbers a record has.
        classes: how many there are.
        image: (channels, side, side[, side]) where records are images; the product is `features`.
        multilabel: a record bears any number of the classes, each with a logit of its own.
    """

    features: int
    classes: int
    image: tuple[int, ...] = ()
    multilabel: bool = False

    @property
    def outputs(self) -> int:
        """Width of the model's last layer."""
        return 1 if self.classes == 2 and not self.multilabel else self.classes

    def inputs(self, features: Tensor) -> Tensor:
        """What a model reads: bytes of images scaled to [-1, 1] float32, anything else as it is."""
        return features.float() / 127.5 - 1 if features.dtype == torch.uint8 else features

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (n, outputs) against labels (n,), or of every label of (n, classes)."""
        if self.multilabel:
            return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        if self.classes == 2:
            return functional.binary_cross_entropy_with_logits(
                logits.squeeze(1), labels.to(logits.dtype)
            )
        return functional.cross_entropy(logits, labels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(n, classes) probabilities; rows sum to one unless labels are several."""
        if self.multilabel:
            return torch.sigmoid(logits.double())
        if self.classes == 2:
            positive = torch.sigmoid(logits.double())
            return torch.cat([1 - positive, positive], dim=1)
        return functional.softmax(logits.double(), dim=1)


@dataclass(frozen=True)
class Site:
    """One client's records; test is None where test records belong to nobody."""

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
        """The same records as one site: what training without borders would have."""
        train = concatenate([site.train for site in self.sites])
        return FederatedData(self.task, (Site("pooled", train, None),), self.test)

    def dealt(self, parts: Sequence[Tensor]) -> "FederatedData":
        """The same training records as new sites, each with the indices of one part; test records stay common."""
        train = self.pooled().sites[0].train
        sites = [
            Site(f"client-{index}", Examples(train.features[part], train.labels[part]), None)
            for index, part in enumerate(parts)
        ]
        return FederatedData(self.task, tuple(sites), self.test)

    def alone(self, index: int) -> "FederatedData":
        """One site by itself, tested on its own test records (all of them where it has none)."""
        site = self.sites[index]
        return FederatedData(self.task, (site,), self.test if site.test is None else site.test)

    def without(self, index: int, *, unseen: bool = False) -> "FederatedData":
        """The other sites, to be tested on all records of the one left out, training records included.

        unseen: not a record of the one left out is used; the others' own records judge.
        """
        if unseen:
            rest = tuple(site for place, site in enumerate(self.sites) if place != index)
            return FederatedData(
                self.task, rest, concatenate([s.test for s in rest if s.test is not None])
            )
        out = self.sites[index]
        test = out.train if out.test is None else concatenate([out.train, out.test])
        others = [
            Site(site.name, site.train, None)
            for place, site in enumerate(self.sites)
            if place != index
        ]
        return FederatedData(self.task, tuple(others), test)


def concatenate(parts: list[Examples]) -> Examples:
    """All records of parts, in order."""
    return Examples(torch.cat([p.features for p in parts]), torch.cat([p.labels for p in parts]))
