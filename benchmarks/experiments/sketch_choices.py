"""How well rules choose by sketches: next to the same rules on rows, among liars and without."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import attacks
from benchmarks.experiments.sketch_rounds import (
    CLIENTS,
    DEALS,
    SIZES,
    Moment,
    apart,
    matrix,
    moments,
    sites,
)
from benchmarks.experiments.table import NO_GOAL, Row, percent, show
from benchmarks.experiments.training import Sgd
from defenses import dnc_choice, multi_krum_choice
from securefl.rng import seeded_keystream

SEEDS = tuple(range(800, 803))
LIARS = 4
RECORDS = 1437  # four fifths of digits
LOCAL = Sgd(batch=16, epochs=1, lr=0.3)
ROUNDS = 10
Choose = Callable[[NDArray[np.float64]], NDArray[np.float64]]
RULES: Mapping[str, Choose] = {
    "dnc": partial(dnc_choice, f=LIARS),
    "dnc at once": partial(dnc_choice, f=LIARS, at_once=True),
    "multi_krum": partial(multi_krum_choice, f=LIARS),
}
# own honest rows of the liars, honest rows of the others -> rows that the liars send
ATTACKS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda own, known: own,
    "sign flip": lambda own, known: attacks.sign_flip(own, scale=5.0),
    "ALIE": lambda own, known: attacks.a_little_is_enough(known, LIARS, CLIENTS),
    "IPM": lambda own, known: attacks.inner_product(known, LIARS, scale=0.5),
    "min-max": lambda own, known: attacks.min_max(known, LIARS),
}


class Agreement(NamedTuple):
    """Choices by sketches next to the choice by rows, over some rounds."""

    common: float  # share of the chosen rows that both choose
    liars: float  # chosen by sketches, a round
    liars_by_rows: float


def rows() -> Iterator[Row]:
    """Yields how far choices by sketches agree with choices by rows."""
    for deal, alpha in DEALS.items():
        for rule in RULES:
            for attack in ATTACKS:
                by_seed = [agreements(rule, attack, alpha, seed) for seed in SEEDS]
                common = ", ".join(
                    percent([found[size].common for found in by_seed]) for size in SIZES
                )
                liars = [statistics.mean(found[size].liars for found in by_seed) for size in SIZES]
                by_rows = statistics.mean(found[SIZES[0]].liars_by_rows for found in by_seed)
                counted = ", ".join(f"{mean:.2f}" for mean in liars)
                measured = f"{common}; liars {counted}, by rows {by_rows:.2f}"
                yield Row(f"{rule}, {deal}, {attack}", NO_GOAL, measured, True)


def agreements(rule: str, attack: str, alpha: float | None, seed: int) -> dict[int, Agreement]:
    """Returns size of sketches -> agreement, over the rounds of a run that goes by rows."""
    choose = RULES[rule]
    stream = seeded_keystream(seed, "matrices")
    shares: dict[int, list[Agreement]] = defaultdict(list)

    def estimate(moment: Moment) -> Tensor:
        sent = _sent(attack, moment.rows)
        by_rows = choose(apart(sent)) > 0
        for size in SIZES:
            sketches = sent @ matrix(size, sent.shape[1], stream).T
            by_sketches = choose(apart(sketches)) > 0
            common = float((by_rows & by_sketches).sum() / by_rows.sum())
            liars = float(by_sketches[:LIARS].sum()), float(by_rows[:LIARS].sum())
            shares[size].append(Agreement(common, *liars))
        return sent[torch.from_numpy(by_rows)].mean(dim=0)

    dealt = sites(seed, records=RECORDS, alpha=alpha)
    for _ in moments(dealt, LOCAL, rounds=ROUNDS, seed=seed, estimate=estimate):
        pass
    return {
        size: Agreement(*np.mean(np.asarray(found), axis=0).tolist())
        for size, found in shares.items()
    }


def _sent(attack: str, honest: Tensor) -> Tensor:
    lies = ATTACKS[attack](honest[:LIARS].clone(), honest[LIARS:].clone())
    return torch.cat([lies.to(honest.dtype), honest[LIARS:]])


if __name__ == "__main__":
    show(rows())
