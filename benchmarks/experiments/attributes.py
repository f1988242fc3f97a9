"""What a federation's updates tell of labels, of a property of a client's records, and of whose a record is.

Needs pneumoniamnist.npz and retinamnist.npz (downloaded, or under SECUREFL_DATA). Every figure is a mean over seeds
with its standard error, beside what is right by chance and what is left when the coordinates of every gradient or
update are shuffled anew. An order leaves their sum, which tells of labels where all push one logit: so also with signs
drawn anew.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks import (
    counts_from_bias,
    label_counts,
    property_inference,
    source_inference,
)
from securefl import vector
from securefl.audit.exposure.labels import last_layer_gradients
from securefl.data.partition import Skew
from securefl.data.task import Examples, Task, concatenate
from securefl.learning.models import images, linear
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream
from securefl.scenario import catalog

Row = tuple[str, str, str, bool]  # what, the goal, what was measured, whether the goal is met
How = tuple[int, int, float]  # batch, epochs, lr


class Setting(NamedTuple):
    """A data set, its model, and how that is trained on records of neither the attacker nor the client."""

    data: str
    model: str
    trained_on: int
    epochs: int
    lr: float


LABELS = (
    Setting("digits", "mlp", 500, 20, 0.3),
    Setting("medmnist:pneumoniamnist", "cnn", 1500, 4, 0.1),
    Setting("medmnist:retinamnist", "cnn", 500, 8, 0.1),
)
PROPERTY = Setting("medmnist:pneumoniamnist", "cnn", 800, 4, 0.1)
SOURCE = Setting("digits", "mlp", 0, 10, 0.3)
_SEEDS = tuple(range(100, 105))
_KNOWN, _BATCH, _BATCHES = (
    400,
    32,
    6,
)  # the attacker's records, a batch, and how many batches a seed
_RECORDS, _LOCAL_EPOCHS, _LOCAL_LR = 160, 2, 0.05  # of a client whose update is seen
_LINE = (0.0, 0.25, 0.5, 0.75, 1.0)  # between the global model and global + update
_PROPERTY_SEEDS, _SHADOWS, _TRIALS, _OTHERS = _SEEDS[:3], 40, 50, 9
_CLIENTS, _ROUNDS, _HELD = 10, 10, 1200


class Federation(NamedTuple):
    """A model to work with, its task, the global weights, and who has which records."""

    model: nn.Sequential
    task: Task
    weights: Tensor
    known: Examples  # the attacker's, or those attacked
    others: Examples  # the clients'
    accuracy: float


def rows() -> Iterator[Row]:
    """What was inferred, the goal, the measured figures in words, and whether the goal is met."""
    for local, setting, trained in product((False, True), LABELS, (False, True)):
        yield _labels_row(setting, trained=trained, local=local)
    yield from _property_rows(trained=False)
    yield from _property_rows(trained=True)
    yield _source_row(None)
    yield _source_row(1.0)


def _federation(setting: Setting, *, known: int, trained: bool, seed: int) -> Federation:
    """Records dealt at random to whoever trains the first model, to the attacker and to the clients."""
    options = {} if setting.data == "digits" else {"size": 28, "test_on": "test"}
    data = catalog.DATA[setting.data].load(partition="pooled", split_seed=0, **options)
    pool, draws = (
        concatenate([data.sites[0].train, data.test]),
        seeded_keystream(seed, "initial weights").torch_generator(),
    )
    order = torch.from_numpy(seeded_keystream(seed, "deal").permutation(len(pool)))
    first, mine, theirs = (
        _part(pool, places)
        for places in order.tensor_split([setting.trained_on, setting.trained_on + known])
    )
    if setting.model == "cnn":
        model = images.cnn(data.task, channels=(8, 16), generator=draws)
    else:
        model = nn.Sequential(*linear.mlp(data.task, generator=draws).children())
    weights = vector.to_vector(model)
    if trained:
        weights = weights + _update(
            model, data.task, first, weights, (32, setting.epochs, setting.lr), seed, 0
        )
    return Federation(
        model, data.task, weights, mine, theirs, _accuracy(model, data.task, theirs, weights)
    )


def _labels_row(setting: Setting, *, trained: bool, local: bool) -> Row:
    """One data set: the shares of labels right, of batches or of updates."""
    by_seed, accuracies = [], []
    for seed in _SEEDS:
        federation = _federation(setting, known=_KNOWN, trained=trained, seed=seed)
        accuracies.append(federation.accuracy)
        draws = seeded_keystream(seed, "batches").torch_generator()
        found = [
            _labels_found(federation, draws, local=local, seed=seed, at=at)
            for at in range(_BATCHES)
        ]
        by_seed.append(torch.tensor(found).mean(dim=0).tolist())
    full, bias, even, shuffled, turned = (_mean(column) for column in zip(*by_seed, strict=True))
    least = 0.8 if trained or local else 1.0
    steps = (
        f"update of {_LOCAL_EPOCHS * _RECORDS // _BATCH} steps" if local else f"batch of {_BATCH}"
    )
    what = f"label counts, {setting.data} {setting.model}, {'trained' if trained else 'untrained'}, {steps}"
    measured = f"{full}; from the bias alone {bias}; chance (equal counts) {even}; shuffled: {shuffled}, signs too: "
    measured += f"{turned}; accuracy {statistics.mean(accuracies):.0%}"
    return (
        what,
        f">= {least:.0%} right",
        measured,
        statistics.mean(of[0] for of in by_seed) >= least,
    )


def _labels_found(
    federation: Federation, draws: torch.Generator, *, local: bool, seed: int, at: int
) -> list[float]:
    """Shares right in one batch or update: in full, by the bias, by equal counts, shuffled, and with signs drawn."""
    model, task, weights, _, others, _ = federation
    n, classes = _RECORDS if local else _BATCH, task.classes
    shares = -torch.rand(
        classes, generator=draws, dtype=torch.float64
    ).log()  # evenly among all shares
    labels = torch.multinomial(shares, n, replacement=True, generator=draws)
    batch = _with_labels(others, labels, draws)
    seen = _gradients(model, task, batch, weights)[0].mean(dim=0)
    if local:
        seen = _update(model, task, batch, weights, (_BATCH, _LOCAL_EPOCHS, _LOCAL_LR), seed, at)
    full, bias = _guesses(federation, seen, n=n, local=local)
    even = counts_from_bias(torch.zeros(classes), torch.full((classes,), 1 / classes), n=n)
    mixed = _shuffled(seen, draws)
    shuffled, turned = (
        _guesses(federation, one, n=n, local=local)[0] for one in (mixed, _signed(mixed, draws))
    )
    truth = torch.bincount(labels, minlength=classes)
    return [
        int(torch.minimum(guess, truth).sum()) / n for guess in (full, bias, even, shuffled, turned)
    ]


def _guesses(federation: Federation, seen: Tensor, *, n: int, local: bool) -> tuple[Tensor, Tensor]:
    """Counts by label_counts and counts_from_bias, of a last layer's gradient or of an update of all layers."""
    model, task, weights, known, _, _ = federation
    line = [weights + share * seen for share in _LINE] if local else [weights]
    gradient = (
        _last_layer(model, seen) / (-_LOCAL_LR * _LOCAL_EPOCHS * n / _BATCH) if local else seen
    )
    found = [_gradients(model, task, known, point) for point in line]
    mine, p = (torch.stack(part).mean(dim=0) for part in zip(*found, strict=True))
    full = label_counts(gradient, mine, known.labels, classes=task.classes, n=n)
    return full, counts_from_bias(gradient.view(task.outputs, -1)[:, -1], p.mean(dim=0), n=n)


def _property_rows(*, trained: bool) -> Iterator[Row]:
    """Whether 30 % of a client's records are of the rarer class, or 10 %; alone, and in a sum with nine others."""
    by_seed, has = [], torch.arange(_TRIALS) % 2 == 0
    for seed in _PROPERTY_SEEDS:
        federation = _federation(PROPERTY, known=2000, trained=trained, seed=seed)
        draws = seeded_keystream(seed, "clients").torch_generator()
        updates = partial(_client_updates, federation, draws=draws, seed=seed)
        shadows, usual = (
            updates(federation.known, has[:_SHADOWS]),
            updates(federation.known, None).mean(dim=0),
        )
        theirs, rest = updates(federation.others, has), updates(federation.others, None)
        nine = [rest[torch.randperm(len(rest), generator=draws)[:_OTHERS]].sum(dim=0) for _ in has]
        columns = []
        for seen, guess in (
            (theirs, 0 * usual),
            (theirs + torch.stack(nine), _OTHERS * usual),
        ):  # less the others
            mixed = torch.stack([_shuffled(update, draws) for update in seen])
            for of in (seen, mixed, torch.stack([_signed(update, draws) for update in mixed])):
                scores = torch.tensor(
                    [property_inference(one, shadows, has[:_SHADOWS]) for one in of - guess]
                )
                columns.append(float(((scores > 0) == has).double().mean()))
        by_seed.append(columns)
    stage, count = "trained" if trained else "untrained", _TRIALS * len(_PROPERTY_SEEDS)
    what = (
        f"a class is 30 % or 10 % of {_RECORDS} records, {PROPERTY.data} {PROPERTY.model}, {stage}"
    )
    alone, summed = list(zip(*by_seed, strict=True))[:3], list(zip(*by_seed, strict=True))[3:]
    least = 0.5 + 1 / math.sqrt(count)  # two standard errors of fair coins
    both = (
        ("update alone", alone, 0.95),
        (f"in a sum of {_OTHERS + 1} (what is left)", summed, least),
    )
    for how, (right, *controls), wanted in both:
        shuffled, turned = map(_mean, controls)
        measured = (
            f"{_mean(right)}; chance 50 %, {count} trials, {_SHADOWS} shadows; shuffled: {shuffled}"
        )
        measured += f", signs too: {turned}"
        yield f"{what}, {how}", f">= {wanted:.0%} right", measured, statistics.mean(right) >= wanted


def _client_updates(
    federation: Federation, pool: Examples, has: Tensor | None, *, draws: torch.Generator, seed: int
) -> Tensor:
    """(k, d) updates of clients with 30 % of class 0 where has says so, else 10 %; without has, of 20 %."""
    updates, how = [], (_BATCH, _LOCAL_EPOCHS, _LOCAL_LR)
    for share in [0.2] * _SHADOWS if has is None else [0.3 if yes else 0.1 for yes in has.tolist()]:
        records = _with_labels(
            pool, (torch.arange(_RECORDS) >= round(share * _RECORDS)).long(), draws
        )
        at = int(torch.randint(2**31, (), generator=draws))
        updates.append(
            _update(federation.model, federation.task, records, federation.weights, how, seed, at)
        )
    return torch.stack(updates)


def _source_row(alpha: float | None) -> Row:
    """Whose a training record is among ten clients, alike (None) or with classes dealt by Dirichlet(alpha)."""
    right, largest, shuffled, accuracies = [], [], [], []
    for seed in _SEEDS:
        federation = _federation(SOURCE, known=_HELD, trained=False, seed=seed)
        deal, stream = (
            catalog.DEALS["iid" if alpha is None else "dirichlet"].deal,
            seeded_keystream(seed, "sites"),
        )
        parts = deal(federation.known.labels, _CLIENTS, Skew(alpha or 1.0, 1, 20), stream)
        owner = torch.cat([torch.full_like(part, at) for at, part in enumerate(parts)])[
            torch.cat(parts).argsort()
        ]
        losses, mixed, accuracy = _local_losses(federation, parts, seed)
        right.append(float((source_inference(losses) == owner).double().mean()))
        shuffled.append(float((source_inference(mixed) == owner).double().mean()))
        largest.append(max(map(len, parts)) / _HELD)
        accuracies.append(accuracy)
    dealt = "sites alike" if alpha is None else f"Dirichlet({alpha:g})"
    rounds = f"{_ROUNDS} rounds of {SOURCE.epochs} epochs"
    what = f"whose a record is, {_CLIENTS} clients, {SOURCE.data} {SOURCE.model}, {dealt}, {rounds}"
    measured = f"{_mean(right)}; chance 10 %, the largest client {_mean(largest)}; shuffled: {_mean(shuffled)}"
    measured += f"; accuracy {statistics.mean(accuracies):.0%}"
    return what, ">= 25 % right", measured, statistics.mean(right) >= 0.25


def _local_losses(
    federation: Federation, parts: Sequence[Tensor], seed: int
) -> tuple[Tensor, Tensor, float]:
    """(rounds, clients, n) losses of local models, and of those with shuffled updates; the last model's accuracy."""
    model, task, weights, held, others, _ = federation
    draws, losses, mixed = seeded_keystream(seed, "shuffled").torch_generator(), [], []
    how = (16, SOURCE.epochs, SOURCE.lr)
    for round in range(_ROUNDS):
        updates = torch.stack(
            [
                _update(model, task, _part(held, part), weights, how, seed, at, round)
                for at, part in enumerate(parts)
            ]
        )
        losses.append(torch.stack([_losses(federation, weights + update) for update in updates]))
        mixed.append(
            torch.stack(
                [_losses(federation, weights + _shuffled(update, draws)) for update in updates]
            )
        )
        weights = weights + updates.mean(dim=0)
    return torch.stack(losses), torch.stack(mixed), _accuracy(model, task, others, weights)


def _losses(federation: Federation, weights: Tensor) -> Tensor:
    """(n,) the cross-entropy of the attacked records at weights."""
    model, task, _, held, _, _ = federation
    vector.load_vector(model, weights)
    return (
        -_probabilities(model, task, held)
        .gather(1, held.labels[:, None])[:, 0]
        .clamp_min(1e-12)
        .log()
    )


def _accuracy(model: nn.Module, task: Task, records: Examples, weights: Tensor) -> float:
    vector.load_vector(model, weights)
    return float(
        (_probabilities(model, task, records).argmax(dim=1) == records.labels).double().mean()
    )


def _update(
    model: nn.Module,
    task: Task,
    records: Examples,
    weights: Tensor,
    how: How,
    seed: int,
    client: int,
    round: int = 0,
) -> Tensor:
    """(d,) what a client's SGD (batch, epochs, lr) changes."""
    batch, epochs, lr = how
    stream = partial(seeded_keystream, seed)
    trainer = SgdTrainer(
        model, task, records, client=client, batch=batch, epochs=epochs, lr=lr, stream_for=stream
    )
    return trainer.fit(weights, round=round).delta


def _gradients(
    model: nn.Sequential, task: Task, records: Examples, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """(n, outputs * (h + 1)) each record's gradient of the last layer, rows of weight and bias; (n, classes) p."""
    found = last_layer_gradients(model, task, records, weights)
    by_weight, by_bias = found[:, : -task.outputs], found[:, -task.outputs :]
    rows = torch.cat([by_weight.view(len(found), task.outputs, -1), by_bias[:, :, None]], dim=2)
    return rows.flatten(1), _probabilities(model, task, records)


def _last_layer(model: nn.Sequential, update: Tensor) -> Tensor:
    """(outputs * (h + 1),) the last layer's part of an update, each row of the weight before its bias."""
    weight, bias = (p.shape for p in model[-1].parameters())
    part = update[-(weight.numel() + bias.numel()) :].double()
    return torch.cat(
        [part[: weight.numel()].view(weight), part[weight.numel() :, None]], dim=1
    ).flatten()


def _probabilities(model: nn.Module, task: Task, records: Examples) -> Tensor:
    with torch.no_grad():
        return task.probabilities(model(task.inputs(records.features)))


def _with_labels(pool: Examples, labels: Tensor, draws: torch.Generator) -> Examples:
    """Records of these labels, drawn without replacement where the pool has as many."""
    places = torch.empty_like(labels)
    for label in range(int(labels.max()) + 1):
        of_class, wanted = (pool.labels == label).nonzero()[:, 0], labels == label
        order = torch.randperm(len(of_class), generator=draws).repeat(len(labels))
        places[wanted] = of_class[order[: int(wanted.sum())]]
    return _part(pool, places)


def _part(examples: Examples, places: Tensor) -> Examples:
    return Examples(examples.features[places], examples.labels[places])


def _shuffled(values: Tensor, draws: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=draws)]


def _signed(values: Tensor, draws: torch.Generator) -> Tensor:
    return values * (2 * torch.randint(2, values.shape, generator=draws) - 1)


def _mean(values: Sequence[float]) -> str:
    """Mean and standard error over seeds, in per cent."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * statistics.mean(values):.1f} ± {100 * error:.1f} %"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for what, goal, measured, met in rows():
        print(f"{'met' if met else 'NOT MET'}: {what}: {goal}: {measured}", flush=True)
