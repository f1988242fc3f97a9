"""The noise of DP-SGD, seen from inside: its size in every round and tensor, and whether it is fresh."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor

from securefl.audit.checks import (
    Check,
    Checked,
    Numbers,
    cosine_chances,
    drift,
    normal_chances,
    shape,
    square_chances,
    worst,
)
from securefl.audit.evidence import Evidence

NEARLY = 0.9  # of the booked noise: anything below has to be excluded before noise holds
MOST_VECTORS = 6000  # steps of all clients that are compared with each other
_FEWEST_COORDINATES = 64  # that are compared; fewer would not show a correlation of a half
_BINS = 32
_BLOCK = 500  # vectors that are compared at once


def size_checks(evidence: Evidence, *, scale: float, confidence: float) -> Checked:
    """Returns the checks of the size and shape of the noise.

    Args:
        evidence: of the steps of one client.
        scale: booked standard deviation of the noise in a clipped sum.
        confidence: that every interval behind the figure covers.
    """
    rounds, tensors = evidence.rounds, len(evidence.sizes)
    steps = np.array([one.steps for one in rounds])
    squares = torch.stack([one.squares for one in rounds]).numpy() / scale**2  # (rounds, tensors)
    degrees = np.outer(steps, np.array(evidence.sizes))
    total, all_steps = squares.sum(axis=0), int(steps.sum())
    freedom = degrees.sum(axis=0)
    by_coordinate = evidence.squares.numpy() / scale**2
    means = evidence.sums.numpy() / scale / math.sqrt(max(1, all_steps))
    vectors = (
        torch.cat([torch.stack(one.vectors) for one in rounds if one.vectors]) / scale
    )  # (steps, c)
    checks = [
        worst(
            "the variance of the noise",
            square_chances(squares, degrees).reshape(-1),
            label=lambda at: f" in round {at // tensors + 1}, tensor {at % tensors + 1}",
        ),
        worst(
            "the variance of the noise",
            square_chances(total, freedom),
            label=lambda at: f" in tensor {at + 1}",
        ),
        worst(
            "the variance of the noise of a coordinate",
            square_chances(by_coordinate, float(all_steps)),
            label=lambda at: f" ({at})",
        ),
        worst(
            "the mean of the noise of a coordinate",
            normal_chances(means),
            label=lambda at: f" ({at})",
        ),
        worst("the variance of the noise in a step", _by_step(evidence, vectors)),
        shape("the shape of the noise", vectors.reshape(-1), bins=_BINS),
    ]
    places = tensors + len(rounds)
    least, most = _interval(total, freedom, 1 - (1 - confidence) / places)
    low, _ = _interval(squares.sum(axis=1), degrees.sum(axis=1), 1 - (1 - confidence) / places)
    figure = (
        f"noise over clip is {least.min():.3f} to {most.max():.3f} of what was booked, by tensor"
    )
    left = []
    if min(float(least.min()), float(low.min())) <= NEARLY:
        left.append(f"{figure}: it holds from {NEARLY:g} on; more rounds narrow it")
    return Checked(checks, left, figure)


def _by_step(evidence: Evidence, vectors: Tensor) -> Numbers:
    """The chances of the sum of squares of every tensor's sketch in every step, flat."""
    parts = torch.split(vectors.double(), list(evidence.kept), dim=1)
    squares = torch.stack([part.square().sum(dim=1) for part in parts], dim=1).numpy()
    return square_chances(squares, np.array(evidence.kept)).reshape(-1)


def _interval(squares: Numbers, degrees: Numbers, confidence: float) -> tuple[Numbers, Numbers]:
    """Lower and upper ends for the standard deviation over the booked one."""
    half = (1 - confidence) / 2
    return np.sqrt(squares / chi2.isf(half, degrees)), np.sqrt(squares / chi2.ppf(half, degrees))


def fresh_checks(
    evidence: Evidence, others: Mapping[int, Evidence], *, scale: float, alone: bool
) -> Checked:
    """Returns the checks that no noise was used twice.

    Args:
        evidence: of the steps of the client that is looked at.
        others: client -> evidence of its steps.
        scale: booked standard deviation of the noise.
        alone: whether the client has no others beside it.
    """
    own, labels = _vectors(evidence, "")
    stacks, names = [own], [*labels]
    for client, other in others.items():
        vectors, labels = _vectors(other, f" of client {client}")
        stacks.append(vectors)
        names += labels
    rows = torch.cat(stacks)
    left = (
        []
        if len(rows) <= MOST_VECTORS
        else [f"only the first {MOST_VECTORS} of {len(rows)} steps were compared"]
    )
    compared = rows[:MOST_VECTORS]
    checks = [
        _pairs(compared, names),
        drift("the noise of neighbouring steps", _along(own[1:], own[:-1]), scale=scale),
        drift("the noise of neighbouring rounds", _neighbours(evidence), scale=scale),
        _tensors(evidence, own, scale),
    ]
    for client, other in others.items():
        together = _together(evidence, other)
        checks.append(
            drift(f"the noise of the client and of client {client}", together, scale=scale)
        )
    if rows.shape[1] < _FEWEST_COORDINATES:
        left.append(f"{rows.shape[1]} coordinates are too few to compare noise")
    if not alone and not any(one.rounds for one in others.values()):
        left.append("no other client took part, so that its noise could not be compared")
    figure = f"the noise of {len(compared)} steps was compared pair by pair"
    return Checked(checks, left, figure)


def _vectors(evidence: Evidence, whose: str) -> tuple[Tensor, list[str]]:
    """(steps, c) of all rounds, and a name for each."""
    vectors = [vector for one in evidence.rounds for vector in one.vectors]
    names = [
        f"step {step + 1} of round {round + 1}{whose}"
        for round, one in enumerate(evidence.rounds)
        for step in range(one.steps)
    ]
    return torch.stack(vectors) if vectors else torch.zeros(0, len(evidence.places)), names


def _pairs(rows: Tensor, names: Sequence[str]) -> Check:
    """The nearest two of all vectors, by the absolute value of their cosine."""
    what = "the correlation of the noise of"
    units = torch.nn.functional.normalize(rows, dim=1)
    count, largest, first, second = len(rows) * (len(rows) - 1) // 2, 0.0, 0, 0
    for start in range(0, len(rows), _BLOCK):
        cosines = (units[start : start + _BLOCK] @ units.T).abs().triu(start + 1)
        top = float(cosines.max())
        if top > largest:
            at = int(cosines.argmax())
            largest, first, second = top, start + at // len(rows), at % len(rows)
    if not count:
        return Check(f"{what} two steps", 1.0)
    chance = float(cosine_chances(np.array([largest]), rows.shape[1])[0]) * count
    return Check(f"{what} {names[first]} and {names[second]} ({largest:.2f})", min(1.0, chance))


def _along(rows: Tensor, directions: Tensor) -> list[float]:
    """The projection of every row on the unit direction beside it."""
    units = torch.nn.functional.normalize(directions.double(), dim=1)
    return [float(value) for value in (rows.double() * units).sum(dim=1)]


def _neighbours(evidence: Evidence) -> list[float]:
    """Every step's noise along the noise of the same step of the round before."""
    return [
        value
        for before, now in zip(evidence.rounds, evidence.rounds[1:], strict=False)
        for value in _same_steps(now.vectors, before.vectors)
    ]


def _together(evidence: Evidence, other: Evidence) -> list[float]:
    """Every step's noise along the noise of the same step of another client."""
    return [
        value
        for own, others in zip(evidence.rounds, other.rounds, strict=False)
        for value in _same_steps(own.vectors, others.vectors)
    ]


def _same_steps(now: Sequence[Tensor], before: Sequence[Tensor]) -> list[float]:
    steps = min(len(now), len(before))
    return _along(torch.stack([*now[:steps]]), torch.stack([*before[:steps]])) if steps else []


def _tensors(evidence: Evidence, own: Tensor, scale: float) -> Check:
    """Whether two tensors start with the same noise; looks along one tensor's start at the other's."""
    parts = torch.split(own, list(evidence.kept), dim=1)
    chances, names = [], []
    for (at, one), (to, other) in combinations(enumerate(parts), 2):
        width = min(one.shape[1], other.shape[1])
        found = drift("", _along(other[:, :width], one[:, :width]), scale=scale)
        chances.append(found.chance)
        names.append(f" {at + 1} and {to + 1}")
    return worst("the noise of tensors", np.array(chances), label=lambda at: names[at])
