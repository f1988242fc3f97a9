"""How many records of each class are behind a batch's gradient or a client's update."""

import statistics
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from attacks import counts_from_bias, label_counts
from benchmarks.experiments.table import Row, percent
from benchmarks.experiments.training import (
    Federation,
    Setting,
    Sgd,
    federation_of,
    gradients_of,
    last_layer,
    mean_of,
    shuffled,
    signed,
    update_of,
    with_labels,
)
from securefl.rng import seeded_keystream

SETTINGS = (
    Setting("digits", "mlp", 500, 20, 0.3),
    Setting("medmnist:pneumoniamnist", "cnn", 1500, 4, 0.1),
    Setting("medmnist:retinamnist", "cnn", 500, 8, 0.1),
)
SEEDS = tuple(range(100, 105))
LOCAL_RECORDS = 160  # of a client whose update is attacked
LOCAL = Sgd(batch=32, epochs=2, lr=0.05)
_KNOWN_RECORDS = 400
_BATCH = 32
_BATCHES_PER_SEED = 6

# Label counts of an update use gradients at these points between global and global + update.
_POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Counts(NamedTuple):
    """Records of each class (classes,), by two attacks."""

    full: Tensor  # from the whole last layer
    bias: Tensor  # from its bias alone


class Shares(NamedTuple):
    """Shares of the labels of one batch or update that are right."""

    full: float
    bias: float
    even: float  # guessing equal counts
    shuffled: float  # by the full attack on shuffled coordinates
    signed: float  # likewise, with random signs, too


def rows() -> Iterator[Row]:
    """Yields all data sets, of batches and of updates, before and after training."""
    for local, setting, trained in product((False, True), SETTINGS, (False, True)):
        yield _row(setting, trained=trained, local=local)


def _row(setting: Setting, *, trained: bool, local: bool) -> Row:
    by_seed = []
    accuracies = []
    for seed in SEEDS:
        federation = federation_of(setting, known=_KNOWN_RECORDS, trained=trained, seed=seed)
        accuracies.append(federation.accuracy)
        generator = seeded_keystream(seed, "batches").torch_generator()
        batches = [
            _attacked(federation, generator, local=local, seed=seed, client=client)
            for client in range(_BATCHES_PER_SEED)
        ]
        by_seed.append(Shares(*torch.tensor(batches).mean(dim=0).tolist()))
    full, bias, even, mixed, turned = map(percent, zip(*by_seed, strict=True))
    goal = 0.8 if trained or local else 1.0
    stage = "trained" if trained else "untrained"
    steps = LOCAL.epochs * LOCAL_RECORDS // LOCAL.batch
    target = f"update of {steps} steps" if local else f"batch of {_BATCH}"
    measured = (
        f"{full}; from the bias alone {bias}; chance (equal counts) {even}; "
        f"shuffled: {mixed}, signs too: {turned}; accuracy {statistics.mean(accuracies):.0%}"
    )
    return Row(
        f"label counts, {setting.data} {setting.model}, {stage}, {target}",
        f">= {goal:.0%} right",
        measured,
        statistics.mean(shares.full for shares in by_seed) >= goal,
    )


def _attacked(
    federation: Federation,
    generator: torch.Generator,
    *,
    local: bool,
    seed: int,
    client: int,
) -> Shares:
    """Draws one batch or client, and attacks its gradient or update."""
    model, task, weights, _, pool, _ = federation
    classes = task.classes
    n = LOCAL_RECORDS if local else _BATCH
    # Normalised exponentials are uniform over all shares of classes.
    shares = -torch.rand(classes, generator=generator, dtype=torch.float64).log()
    labels = torch.multinomial(shares, n, replacement=True, generator=generator)
    records = with_labels(pool, labels, generator)
    if local:
        observed = update_of(model, task, records, weights, LOCAL, seed, client)
    else:
        observed = gradients_of(model, task, records, weights).rows.mean(dim=0)
    # The controls: equal counts, and the same attack on coordinates in random order.
    counts = _counts(federation, observed, n=n, local=local)
    even = counts_from_bias(torch.zeros(classes), torch.full((classes,), 1 / classes), n=n)
    mixed = shuffled(observed, generator)
    turned = signed(mixed, generator)
    truth = torch.bincount(labels, minlength=classes)

    def right(guess: Tensor) -> float:
        return int(torch.minimum(guess, truth).sum()) / n

    return Shares(
        right(counts.full),
        right(counts.bias),
        right(even),
        right(_counts(federation, mixed, n=n, local=local).full),
        right(_counts(federation, turned, n=n, local=local).full),
    )


def _counts(federation: Federation, observed: Tensor, *, n: int, local: bool) -> Counts:
    """Infers counts from the last layer's gradient, or from an update of all layers."""
    model, task, weights, known, _, _ = federation
    # An update over minus the learning rate and the steps is about a mean gradient.
    if local:
        steps = LOCAL.epochs * n / LOCAL.batch
        gradient = last_layer(model, observed) / (-LOCAL.lr * steps)
        points = [weights + share * observed for share in _POINTS]
    else:
        gradient = observed
        points = [weights]
    references = [gradients_of(model, task, known, point) for point in points]
    rows = mean_of([reference.rows for reference in references])
    probabilities = mean_of([reference.probabilities for reference in references])
    bias = gradient.view(task.outputs, -1)[:, -1]
    return Counts(
        label_counts(gradient, rows, known.labels, classes=task.classes, n=n),
        counts_from_bias(bias, probabilities.mean(dim=0), n=n),
    )
