"""How well records give away the site that they come from.

A classifier of sites near an AUC of .5 finds no difference between sites, near 1 it finds the site
of every record, for example by its scanner:

    effect = site_effect(data)
    effect.site["intensity"]  # held-out AUC of a site classifier on intensity quantiles

The classifier is linear in few features. A high AUC proves a site effect, and a low one says only
that these features, seen linearly, show none. Sites whose patients differ are told apart, too.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from securefl.data.coins import content_hashes
from securefl.data.task import Examples, FederatedData, Task
from securefl.learning.evaluate import measure

FOLDS = 5
MAX_RECORDS_PER_SITE = 2000
QUANTILES = 11  # of an image: its deciles, with the least and the largest value
BLOCK_VALUES = 2**20  # of images that are looked at together
# Of weights on standardised features, for a loss that is a mean over records.
WEIGHT_DECAY = 1e-3
MAX_ITERATIONS = 500
LEAST_SCALE = 1e-9
LEAST_SHARPNESS = 1e-12  # the logarithm of a constant image's would be infinite


@dataclass(frozen=True)
class SiteEffect:
    """Held-out AUCs of linear classifiers, by the kind of features that they see.

    Args:
        site: kind -> AUC of the record's site, the mean over sites of one against the rest; None
            where a site has no record.
        label: kind -> AUC of the record's class; None where records do not have one class each, or
            a class does not occur.
    """

    site: Mapping[str, float | None]
    label: Mapping[str, float | None]


def site_effect(data: FederatedData, groups: Sequence[Sequence[bytes]] | None = None) -> SiteEffect:
    """Measures how well training records give away their site, and their class.

    Five folds, each judged by a classifier of the other four. Only every k-th record is looked at
    where a site has more than 2,000.

    Args:
        data: two sites or more.
        groups: of each site's training records. Records of one group are in one fold. By default
            copies of one record are.

    Raises:
        ValueError: there is one site only.
    """
    if len(data.sites) < 2:
        raise ValueError(f"a site effect needs two sites or more, got {len(data.sites)}")
    features, labels, sites, folds = [], [], [], []
    for index, site in enumerate(data.sites):
        chosen = slice(None, None, max(1, -(-len(site.train) // MAX_RECORDS_PER_SITE)))
        examples = Examples(site.train.features[chosen], site.train.labels[chosen])
        names = content_hashes(examples) if groups is None else groups[index][chosen]
        features.append(examples.features)
        labels.append(examples.labels)
        sites.append(torch.full((len(examples),), index))
        folds += [_fold(name) for name in names]
    where = torch.cat(sites)
    classes = None if data.task.multilabel or data.task.regression else torch.cat(labels)
    site_aucs: dict[str, float | None] = {}
    label_aucs: dict[str, float | None] = {}
    for kind, measured in _kinds(data.task).items():
        values = torch.cat([measured(part) for part in features])
        site_aucs[kind] = held_out_auc(values, where, torch.tensor(folds), len(data.sites))
        label_aucs[kind] = None
        if classes is not None:
            label_aucs[kind] = held_out_auc(values, classes, torch.tensor(folds), data.task.classes)
    return SiteEffect(site_aucs, label_aucs)


def intensity_features(images: Tensor) -> Tensor:
    """Returns the deciles of each image's values, (n, 11) float64."""
    ranks = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)

    def deciles(block: Tensor) -> Tensor:
        ascending = block.flatten(1).sort(dim=1).values
        places = ranks * (ascending.shape[1] - 1)
        low, high = ascending[:, places.floor().long()], ascending[:, places.ceil().long()]
        return low + (places - places.floor()) * (high - low)

    return _by_blocks(images, deciles)


def sharpness_features(images: Tensor) -> Tensor:
    """Returns how sharp each image is, (n, 2) float64: logarithms of two energies.

    They are the variance of the Laplacian and the mean square of the gradient, by differences
    between neighbours. Steps that only change intensities leave most of this.
    """

    def energies(block: Tensor) -> Tensor:
        gradient = torch.zeros(len(block), dtype=torch.float64)
        laplacian = torch.zeros_like(block)
        # A side of one or two pixels has no second difference.
        for axis in [axis for axis in range(2, block.dim()) if block.shape[axis] > 2]:
            step = block.diff(dim=axis)
            gradient = gradient + step.square().flatten(1).mean(dim=1)
            inner = [slice(None)] * block.dim()
            inner[axis] = slice(1, -1)
            laplacian[tuple(inner)] += step.diff(dim=axis)
        centred = laplacian - laplacian.flatten(1).mean(dim=1).reshape(-1, *[1] * (block.dim() - 1))
        spread = centred.square().flatten(1).mean(dim=1)
        return torch.stack([spread, gradient], dim=1).clamp_min(LEAST_SHARPNESS).log()

    return _by_blocks(images, energies)


def held_out_auc(values: Tensor, classes: Tensor, folds: Tensor, count: int) -> float | None:
    """Returns the AUC of a linear classifier on records of folds that it was not fitted to.

    Args:
        values: (n, features).
        classes: (n,) int64.
        folds: (n,) int64, 0 to FOLDS - 1.
        count: of classes.

    Returns:
        The mean over classes of one against the rest; None where a class does not occur.
    """
    answers = torch.zeros(len(values), count, dtype=torch.float64)
    for fold in range(FOLDS):
        held_out = folds == fold
        if bool(held_out.any()) and not bool(held_out.all()):
            fitted = _fitted(values[~held_out].double(), classes[~held_out], count)
            answers[held_out] = fitted(values[held_out].double())
    return measure(answers, classes).auc


def _fitted(values: Tensor, classes: Tensor, count: int) -> Callable[[Tensor], Tensor]:
    """Returns a multinomial logistic regression: values (m, features) -> probabilities."""
    from scipy.optimize import minimize  # SciPy takes half a second to import

    centre = values.mean(dim=0)
    scale = values.std(dim=0, correction=0).clamp_min(LEAST_SCALE)
    ones = torch.ones(len(values), 1, dtype=torch.float64)
    inputs = torch.cat([(values - centre) / scale, ones], dim=1)
    truth = functional.one_hot(classes, count).double()
    shape = (inputs.shape[1], count)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.from_numpy(flat).reshape(shape)
        shares = functional.log_softmax(inputs @ weights, dim=1)
        decayed = weights.clone()
        decayed[-1] = 0  # no decay of the offset
        value = -(truth * shares).sum() / len(truth) + WEIGHT_DECAY / 2 * decayed.square().sum()
        gradient = inputs.T @ (shares.exp() - truth) / len(truth) + WEIGHT_DECAY * decayed
        return float(value), gradient.flatten().numpy()

    start = np.zeros(inputs.shape[1] * count)
    options = {"maxiter": MAX_ITERATIONS, "ftol": 1e-10, "gtol": 1e-7}
    # Not torch's own L-BFGS, whose first step imports a compiler.
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    weights = torch.from_numpy(found).reshape(shape)

    def probabilities(given: Tensor) -> Tensor:
        return functional.softmax((given - centre) / scale @ weights[:-1] + weights[-1], dim=1)

    return probabilities


def _kinds(task: Task) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """Returns the kinds of features for a task: of images, or the columns themselves."""
    if not task.image:
        return {"columns": lambda features: features.double()}
    return {"intensity": intensity_features, "sharpness": sharpness_features}


def _by_blocks(images: Tensor, measured: Callable[[Tensor], Tensor]) -> Tensor:
    size = max(1, BLOCK_VALUES // max(1, images[:1].numel()))
    return torch.cat([measured(block.double()) for block in torch.split(images, size)])


def _fold(name: bytes) -> int:
    """Returns the fold of a group: by its name, so that it is always the same."""
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "little") % FOLDS
