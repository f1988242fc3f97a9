"""What squared distances between sketches say of the clients' class mixes.

Two servers: one that knows the mixes of all clients but one, and one that knows none, and with
which four clients collude. These submit the usual gradient of a class, scaled up, and the server
reads from the distances how far each client's update went that way.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.experiments.sketch_choices import LOCAL, RECORDS, ROUNDS, SEEDS
from benchmarks.experiments.sketch_questions import answer
from benchmarks.experiments.sketch_rounds import (
    CLIENTS,
    DEALS,
    SIZES,
    Moment,
    Sites,
    apart,
    groups,
    matrix,
    mean,
    moments,
    sites,
)
from benchmarks.experiments.table import NO_GOAL, Row, plus_minus, show
from securefl.audit.membership import gradients
from securefl.rng import Keystream, seeded_keystream

WHOLE, GROUPS = "whole updates", "sums of 4"
# What a server sees -> the size of sketches, if it sees distances between these.
VIEWS: Mapping[str, int | None] = {f"sketch {size}": size for size in SIZES} | {
    WHOLE: None,
    GROUPS: None,
}
_RIDGE = 0.1  # of the mean squared length
_COLLUDERS = 4  # questions a round
_RIDGE_OF_ANSWERS = 0.03


class Mix(NamedTuple):
    """R2 of the clients' class mixes.

    Attributes:
        single: from the distances of one round, each client from the mixes of all others.
        several: likewise, from all rounds.
        asked: from the answers to colluders' questions in all rounds; no mix is known.
    """

    single: float
    several: float
    asked: float


class Answers(NamedTuple):
    """What a server knows of one question.

    Attributes:
        measured: (clients,) scalar products of the updates with the question.
        usual: (classes,) those of the usual gradient steps of each class.
    """

    measured: NDArray[np.float64]
    usual: NDArray[np.float64]


def rows() -> Iterator[Row]:
    """Yields R2 for each deal of records, by sketches and by whole updates."""
    for deal, alpha in DEALS.items():
        by_seed = [mixes(alpha, seed) for seed in SEEDS]
        for what in VIEWS:
            single, several, asked = (
                plus_minus(list(values), digits=2)
                for values in zip(*(found[what] for found in by_seed), strict=True)
            )
            measured = (
                f"R2 {single} and {several}, 1 and {ROUNDS} rounds, the other {CLIENTS - 1} mixes "
                f"known; {asked}, {ROUNDS} rounds, {_COLLUDERS} colluders, no mix known"
            )
            yield Row(f"{deal}, {what}", NO_GOAL, measured, True)


def mixes(alpha: float | None, seed: int) -> dict[str, Mix]:
    """Returns what the server sees, a key of `VIEWS` -> R2."""
    dealt = sites(seed, records=RECORDS, alpha=alpha)
    stream = seeded_keystream(seed, "matrices")
    tables: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    answers: dict[str, list[Answers]] = defaultdict(list)
    for moment in moments(dealt, LOCAL, rounds=ROUNDS, seed=seed, estimate=mean):
        for name, size in VIEWS.items():
            shown = groups(moment.rows) if name == GROUPS else moment.rows
            if size is not None:
                shown = shown @ matrix(size, shown.shape[1], stream).T
            tables[name].append(apart(shown))
            answers[name] += _answers(dealt, moment, name, stream)
    truth = dealt.mixes
    return {
        name: Mix(
            r2(from_others(tables[name][:1], truth), truth),
            r2(from_others(tables[name], truth), truth),
            r2(_from_answers(answers[name]), truth),
        )
        for name in VIEWS
    }


def from_others(
    tables: Sequence[NDArray[np.float64]], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns each client's mix, estimated from those of all others and from distances."""
    everyone = list(range(len(truth)))
    singly = [
        predicted(tables, truth, known=[*everyone[:own], *everyone[own + 1 :]])[own]
        for own in everyone
    ]
    return np.stack(singly)


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
    return _as_shares(estimate)


def _cosines(squared: NDArray[np.float64], *, known: list[int]) -> NDArray[np.float64]:
    """Returns cosines (n, n) between updates, seen from the mean of the known ones."""
    to_mean = squared[:, known].mean(axis=1)
    gram = -0.5 * (squared - to_mean[:, None] - to_mean + to_mean[known].mean())
    lengths = np.sqrt(gram.diagonal())
    cosines: NDArray[np.float64] = gram / lengths[:, None] / lengths
    return cosines


def _answers(dealt: Sites, moment: Moment, view: str, stream: Keystream) -> Iterator[Answers]:
    """Yields the answers of one round, in which each colluder asks for another class.

    Who sees updates, or means of them, asks without colluders, and as often. The server's own
    records are those of no client.
    """
    size = VIEWS[view]
    seen = groups(moment.rows) if view == GROUPS else moment.rows
    steps = -gradients(dealt.model, dealt.task, dealt.others, moment.weights)
    classes = dealt.task.classes
    usual = torch.stack(
        [steps[dealt.others.labels == label].mean(dim=0) for label in range(classes)]
    )
    for turn in range(_COLLUDERS):
        question = usual[(_COLLUDERS * moment.round + turn) % classes]
        question = question / question.norm()
        if size is None:
            measured = (seen @ question).double()
        else:
            measured = answer(moment.rows, question, size, stream)
        yield Answers(measured.numpy(), (usual @ question).double().numpy())


def _from_answers(answers: Sequence[Answers]) -> NDArray[np.float64]:
    """Returns mixes by a ridge regression of answers on the usual steps of the classes."""
    usual = np.stack([answer.usual for answer in answers])  # (questions, classes)
    measured = np.stack([answer.measured for answer in answers])  # (questions, clients)
    # Only differences between clients: all of them go some way together.
    apart_from_mean = measured - measured.mean(axis=1, keepdims=True)
    squares = usual.T @ usual
    classes = len(squares)
    ridge = _RIDGE_OF_ANSWERS * np.trace(squares) / classes * np.eye(classes)
    moved = np.linalg.solve(squares + ridge, usual.T @ apart_from_mean).T
    steps = RECORDS / CLIENTS / LOCAL.batch * LOCAL.epochs
    return _as_shares(1 / classes + moved / (LOCAL.lr * steps))


def _as_shares(estimate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns rows without negative numbers, each of sum 1."""
    shares = np.maximum(estimate, 0)
    result: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return result


def r2(estimate: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Returns the share of the mixes' variance that an estimate explains."""
    errors = ((estimate - truth) ** 2).sum()
    return float(1 - errors / ((truth - truth.mean(axis=0)) ** 2).sum())


if __name__ == "__main__":
    show(rows())
