"""Labels, a property of a client's records, and the source of a record, from updates.

Needs pneumoniamnist.npz and retinamnist.npz (downloaded, or under SECUREFL_DATA). Every figure is a
mean over seeds with its standard error. Next to it is the share that is right by chance, and the
share that is right after the coordinates of every gradient or update were shuffled. No order hides
their sum, which says something of labels where all of them push one logit. So another control also
draws signs at random.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from attacks import property_inference, source_inference
from benchmarks.experiments import labels
from benchmarks.experiments.labels import LOCAL, LOCAL_RECORDS, SEEDS
from benchmarks.experiments.table import Row, percent, show
from benchmarks.experiments.training import (
    Federation,
    Setting,
    Sgd,
    accuracy_of,
    federation_of,
    losses_of,
    part,
    shuffled,
    signed,
    update_of,
    with_labels,
)
from securefl.data.partition import Skew
from securefl.data.task import Examples
from securefl.rng import seeded_keystream
from securefl.scenario import catalog

PROPERTY = Setting("medmnist:pneumoniamnist", "cnn", 800, 4, 0.1)
_PROPERTY_SEEDS = SEEDS[:3]
_PROPERTY_RECORDS = 2000  # of the attacker
_SHADOWS = 40
_TRIALS = 50  # clients a seed
_OTHER_CLIENTS = 9  # in a sum
_HIGH_SHARE = 0.3  # of records of class 0, with the property
_LOW_SHARE = 0.1  # without it
_USUAL_SHARE = 0.2  # of all other clients

SOURCE = Setting("digits", "mlp", 0, 10, 0.3)
_SOURCE_SGD = Sgd(batch=16, epochs=SOURCE.epochs, lr=SOURCE.lr)
_SOURCE_CLIENTS = 10
_SOURCE_ROUNDS = 10
_SOURCE_RECORDS = 1200  # of all clients
_SOURCE_GOAL = 0.25


class LocalLosses(NamedTuple):
    """Losses (rounds, clients, n) of local models, and the accuracy of the last global model."""

    losses: Tensor
    mixed: Tensor  # with shuffled updates
    accuracy: float


def rows() -> Iterator[Row]:
    """Yields labels, then the property, then the source."""
    yield from labels.rows()
    yield from _property_rows(trained=False)
    yield from _property_rows(trained=True)
    yield _source_row(None)
    yield _source_row(1.0)


def _property_rows(*, trained: bool) -> Iterator[Row]:
    """Yields whether 30 % or 10 % of a client's records are of class 0, alone and in a sum."""
    by_seed = [_property_shares(seed, trained=trained) for seed in _PROPERTY_SEEDS]
    columns = list(zip(*by_seed, strict=True))
    trials = _TRIALS * len(_PROPERTY_SEEDS)
    stage = "trained" if trained else "untrained"
    what = (
        f"a class is 30 % or 10 % of {LOCAL_RECORDS} records, "
        f"{PROPERTY.data} {PROPERTY.model}, {stage}"
    )
    two_errors = 1 / math.sqrt(trials)  # standard errors of fair coins
    targets = (
        ("update alone", columns[:3], 0.95),
        (f"in a sum of {_OTHER_CLIENTS + 1} (what is left)", columns[3:], 0.5 + two_errors),
    )
    for target, (right, mixed, turned), goal in targets:
        measured = (
            f"{percent(right)}; chance 50 %, {trials} trials, {_SHADOWS} shadows; "
            f"shuffled: {percent(mixed)}, signs too: {percent(turned)}"
        )
        met = statistics.mean(right) >= goal
        yield Row(f"{what}, {target}", f">= {goal:.0%} right", measured, met)


def _property_shares(seed: int, *, trained: bool) -> list[float]:
    """Returns shares of trials that are right: of updates alone, then of sums.

    Each with its two controls, shuffled and with random signs.
    """
    has = torch.arange(_TRIALS) % 2 == 0
    federation = federation_of(PROPERTY, known=_PROPERTY_RECORDS, trained=trained, seed=seed)
    generator = seeded_keystream(seed, "clients").torch_generator()
    updates = partial(_client_updates, federation, generator=generator, seed=seed)
    shadows = updates(federation.known, has[:_SHADOWS])
    usual = updates(federation.known, None).mean(dim=0)
    targets = updates(federation.clients, has)
    rest = updates(federation.clients, None)
    others = [
        rest[torch.randperm(len(rest), generator=generator)[:_OTHER_CLIENTS]].sum(dim=0)
        for _ in has
    ]
    # Masks show the server sums only: the same targets, each with nine other clients.
    sums = targets + torch.stack(others)
    shares = []
    # From a sum the attacker subtracts its guess at the other clients' updates.
    for observed, guess in ((targets, 0 * usual), (sums, _OTHER_CLIENTS * usual)):
        mixed = torch.stack([shuffled(update, generator) for update in observed])
        turned = torch.stack([signed(update, generator) for update in mixed])
        for variant in (observed, mixed, turned):
            scores = [
                property_inference(update, shadows, has[:_SHADOWS]) for update in variant - guess
            ]
            right = (torch.tensor(scores) > 0) == has
            shares.append(float(right.double().mean()))
    return shares


def _client_updates(
    federation: Federation,
    pool: Examples,
    has: Tensor | None,
    *,
    generator: torch.Generator,
    seed: int,
) -> Tensor:
    """Returns updates (k, d) of clients with or without the property; usual clients for None."""
    shares = [_USUAL_SHARE] * _SHADOWS
    if has is not None:
        shares = [_HIGH_SHARE if value else _LOW_SHARE for value in has.tolist()]
    model, task, weights, *_ = federation
    updates = []
    for share in shares:
        classes = (torch.arange(LOCAL_RECORDS) >= round(share * LOCAL_RECORDS)).long()
        records = with_labels(pool, classes, generator)
        client = int(torch.randint(2**31, (), generator=generator))
        updates.append(update_of(model, task, records, weights, LOCAL, seed, client))
    return torch.stack(updates)


def _source_row(alpha: float | None) -> Row:
    """Returns the share of records whose client is inferred.

    Clients are alike (None), or their classes are dealt by Dirichlet(alpha).
    """
    right = []
    mixed_right = []
    largest = []
    accuracies = []
    for seed in SEEDS:
        federation = federation_of(SOURCE, known=_SOURCE_RECORDS, trained=False, seed=seed)
        deal = catalog.DEALS["iid" if alpha is None else "dirichlet"].deal
        skew = Skew(alpha or 1.0, 1, 20)
        stream = seeded_keystream(seed, "sites")
        parts = deal(federation.known.labels, _SOURCE_CLIENTS, skew, stream)
        clients = [torch.full_like(places, client) for client, places in enumerate(parts)]
        # Parts hold places of records; sorting them back gives each record's client.
        owner = torch.cat(clients)[torch.cat(parts).argsort()]
        local = _local_losses(federation, parts, seed)
        right.append(float((source_inference(local.losses) == owner).double().mean()))
        mixed_right.append(float((source_inference(local.mixed) == owner).double().mean()))
        largest.append(max(map(len, parts)) / _SOURCE_RECORDS)
        accuracies.append(local.accuracy)
    dealt = "sites alike" if alpha is None else f"Dirichlet({alpha:g})"
    rounds = f"{_SOURCE_ROUNDS} rounds of {SOURCE.epochs} epochs"
    what = (
        f"whose a record is, {_SOURCE_CLIENTS} clients, {SOURCE.data} {SOURCE.model}, "
        f"{dealt}, {rounds}"
    )
    measured = (
        f"{percent(right)}; chance 10 %, the largest client {percent(largest)}; "
        f"shuffled: {percent(mixed_right)}; accuracy {statistics.mean(accuracies):.0%}"
    )
    met = statistics.mean(right) >= _SOURCE_GOAL
    return Row(what, f">= {100 * _SOURCE_GOAL:g} % right", measured, met)


def _local_losses(federation: Federation, parts: Sequence[Tensor], seed: int) -> LocalLosses:
    """Trains all rounds, and evaluates every local model on every known record."""
    model, task, weights, known, clients, _ = federation
    generator = seeded_keystream(seed, "shuffled").torch_generator()
    losses = []
    mixed = []
    for round in range(_SOURCE_ROUNDS):
        updates = []
        for client, places in enumerate(parts):
            records = part(known, places)
            updates.append(
                update_of(model, task, records, weights, _SOURCE_SGD, seed, client, round)
            )
        # The control replaces updates by their coordinates in random order.
        shuffles = [shuffled(update, generator) for update in updates]
        losses.append(torch.stack([losses_of(federation, weights + move) for move in updates]))
        mixed.append(torch.stack([losses_of(federation, weights + move) for move in shuffles]))
        weights = weights + torch.stack(updates).mean(dim=0)
    accuracy = accuracy_of(model, task, clients, weights)
    return LocalLosses(torch.stack(losses), torch.stack(mixed), accuracy)


if __name__ == "__main__":
    show(rows())
