"""How well rules choose by sketches, and what squared distances say of the clients' class mixes."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    mean,
    moments,
    sites,
)
from benchmarks.experiments.table import NO_GOAL, Row, percent, plus_minus, show
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
_RIDGE = 0.1  # of the mean squared length
_KNOWN_TO_FEW = 4


class Agreement(NamedTuple):
    """Choices by sketches next to the choice by rows, over some rounds."""

    common: float  # share of the chosen rows that both choose
    liars: float  # chosen by sketches, a round
    liars_by_rows: float


def rows() -> Iterator[Row]:
    """Yields the agreement of choices, then what distances say of class mixes."""
    for deal, alpha in DEALS.items():
        for rule in RULES:
            for attack in ATTACKS:
                by_seed = [agreements(rule, attack, alpha, seed) for seed in SEEDS]
                for size in SIZES:
                    yield _agreement_row(deal, rule, attack, size, by_seed)
    for deal, alpha in DEALS.items():
        yield from _mix_rows(deal, alpha)


def _agreement_row(
    deal: str, rule: str, attack: str, size: int, by_seed: list[dict[int, Agreement]]
) -> Row:
    found = [agreement[size] for agreement in by_seed]
    liars = statistics.mean(agreement.liars for agreement in found)
    by_rows = statistics.mean(agreement.liars_by_rows for agreement in found)
    measured = (
        f"{percent([agreement.common for agreement in found])} of the chosen clients are those "
        f"chosen by rows; liars chosen a round: {liars:.2f}, by rows {by_rows:.2f}"
    )
    return Row(f"{rule}, {deal}, {attack}, sketch {size}", NO_GOAL, measured, True)


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


class Mix(NamedTuple):
    """R2 of the clients' class mixes, estimated from squared distances between their updates.

    Attributes:
        others_known: of each client, from the mixes of all others.
        few_known: of all clients but four, from the mixes of these four.
    """

    others_known: float
    few_known: float


def _mix_rows(deal: str, alpha: float | None) -> Iterator[Row]:
    by_seed = [mixes(alpha, seed) for seed in SEEDS]
    for size, rounds in by_seed[0]:
        what = "whole updates" if size is None else f"sketch {size}"
        others, few = (
            plus_minus(list(values), digits=2)
            for values in zip(*(found[size, rounds] for found in by_seed), strict=True)
        )
        measured = (
            f"R2 {others} where the mixes of the other {CLIENTS - 1} are known; "
            f"{few} where {_KNOWN_TO_FEW} are"
        )
        plural = "s" if rounds > 1 else ""
        title = f"class mixes from distances, {deal}, {what}, {rounds} round{plural}"
        yield Row(title, NO_GOAL, measured, True)


def mixes(alpha: float | None, seed: int) -> dict[tuple[int | None, int], Mix]:
    """Returns (size of sketches, rounds seen) -> R2; the size is None for whole updates."""
    dealt = sites(seed, records=RECORDS, alpha=alpha)
    stream = seeded_keystream(seed, "matrices")
    tables: dict[int | None, list[NDArray[np.float64]]] = defaultdict(list)
    for moment in moments(dealt, LOCAL, rounds=ROUNDS, seed=seed, estimate=mean):
        tables[None].append(apart(moment.rows))
        for size in SIZES:
            tables[size].append(apart(moment.rows @ matrix(size, moment.rows.shape[1], stream).T))
    return {
        (size, rounds): mix_of(tables[size][:rounds], dealt.mixes)
        for size in (*SIZES, None)
        for rounds in (1, ROUNDS)
    }


def mix_of(tables: Sequence[NDArray[np.float64]], truth: NDArray[np.float64]) -> Mix:
    """Returns how well squared distances (n, n) of some rounds give class mixes (n, classes)."""
    everyone = list(range(len(truth)))
    singly = [
        predicted(tables, truth, known=[*everyone[:own], *everyone[own + 1 :]])[own]
        for own in everyone
    ]
    few = everyone[:_KNOWN_TO_FEW]
    rest = predicted(tables, truth, known=few)[_KNOWN_TO_FEW:]
    return Mix(_r2(np.stack(singly), truth), _r2(rest, truth[_KNOWN_TO_FEW:]))


def predicted(
    tables: Sequence[NDArray[np.float64]], mixes: NDArray[np.float64], *, known: list[int]
) -> NDArray[np.float64]:
    """Returns all mixes by a ridge regression on the directions of updates.

    It needs the distances, and the mixes of the known clients. The updates of all rounds count as
    one long one. Negative shares of classes become 0.
    """
    products = sum(map(partial(_cosines, known=known), tables), np.zeros((len(mixes), len(mixes))))
    among = products[np.ix_(known, known)]
    ridge = _RIDGE * np.trace(among) / len(known) * np.eye(len(known))
    usual = mixes[known].mean(axis=0)
    estimate = usual + products[:, known] @ np.linalg.solve(among + ridge, mixes[known] - usual)
    shares = np.maximum(estimate, 0)
    result: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return result


def _cosines(squared: NDArray[np.float64], *, known: list[int]) -> NDArray[np.float64]:
    """Returns cosines (n, n) between updates, seen from the mean of the known ones."""
    to_mean = squared[:, known].mean(axis=1)
    gram = -0.5 * (squared - to_mean[:, None] - to_mean + to_mean[known].mean())
    lengths = np.sqrt(gram.diagonal())
    cosines: NDArray[np.float64] = gram / lengths[:, None] / lengths
    return cosines


def _r2(estimate: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    errors = ((estimate - truth) ** 2).sum()
    return float(1 - errors / ((truth - truth.mean(axis=0)) ** 2).sum())


if __name__ == "__main__":
    show(rows())
