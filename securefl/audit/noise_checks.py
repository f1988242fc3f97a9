"""Checks of the noise of DP-SGD from inside: its size in every round and tensor, and freshness."""

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

MIN_NOISE_SHARE = 0.9  # of the booked noise: less has to be excluded before noise holds
MAX_VECTORS = 6000  # steps of all clients that are compared with each other
MIN_COORDINATES = 64  # that are compared; fewer would not show a correlation of a half
SHAPE_BINS = 32
BLOCK = 500  # vectors that are compared at once, which bounds the memory


def size_checks(evidence: Evidence, *, scale: float, confidence: float) -> Checked:
    """Returns the checks of the size and shape of the noise.

    Args:
        evidence: of the steps of one client.
        scale: booked standard deviation of the noise in a clipped sum.
        confidence: that every interval behind the figure covers.
    """
    rounds = evidence.rounds
    tensors = len(evidence.sizes)
    steps = np.array([round.steps for round in rounds])  # (rounds,)
    # In units of the booked noise: right sums of squares are chi-square with these degrees.
    sums_of_squares = torch.stack([round.squares for round in rounds]).numpy()
    squares = sums_of_squares / scale**2  # (rounds, tensors)
    degrees = np.outer(steps, np.array(evidence.sizes))
    by_tensor = squares.sum(axis=0)
    degrees_by_tensor = degrees.sum(axis=0)
    all_steps = int(steps.sum())
    # A sum of n standard normals over the root of n is a standard normal.
    means = evidence.sums.numpy() / scale / math.sqrt(max(1, all_steps))  # (d,)
    by_coordinate = evidence.squares.numpy() / scale**2  # (d,)
    sketches = [torch.stack(round.vectors) for round in rounds if round.vectors]
    vectors = torch.cat(sketches) / scale  # (steps, c)
    chances = square_chances(squares, degrees)  # (rounds, tensors)
    checks = [
        worst(
            "the variance of the noise",
            chances.reshape(-1),
            label=lambda place: f" in round {place // tensors + 1}, tensor {place % tensors + 1}",
        ),
        worst(
            "the variance of the noise",
            square_chances(by_tensor, degrees_by_tensor),
            label=lambda place: f" in tensor {place + 1}",
        ),
        worst(
            "the variance of the noise of a coordinate",
            square_chances(by_coordinate, float(all_steps)),
            label=lambda place: f" ({place})",
        ),
        worst(
            "the mean of the noise of a coordinate",
            normal_chances(means),
            label=lambda place: f" ({place})",
        ),
        worst("the variance of the noise in a step", _by_step(evidence, vectors)),
        shape("the shape of the noise", vectors.reshape(-1), bins=SHAPE_BINS),
    ]
    # One interval for each tensor and each round share the doubt.
    intervals = tensors + len(rounds)
    each = 1 - (1 - confidence) / intervals
    low, high = _interval(by_tensor, degrees_by_tensor, each)
    by_round = squares.sum(axis=1)
    degrees_by_round = degrees.sum(axis=1)
    low_by_round, _ = _interval(by_round, degrees_by_round, each)
    figure = f"noise over clip is {low.min():.3f} to {high.max():.3f} of what was booked, by tensor"
    unsettled = []
    lowest = min(float(low.min()), float(low_by_round.min()))
    if lowest <= MIN_NOISE_SHARE:
        unsettled.append(f"{figure}: it holds from {MIN_NOISE_SHARE:g} on; more rounds narrow it")
    return Checked(checks, unsettled, figure)


def _by_step(evidence: Evidence, vectors: Tensor) -> Numbers:
    """The chances of the sum of squares of every tensor's sketch in every step, flat."""
    parts = torch.split(vectors.double(), list(evidence.sketched), dim=1)
    squares = [part.square().sum(dim=1) for part in parts]  # (steps,) each
    by_step = torch.stack(squares, dim=1).numpy()  # (steps, tensors)
    degrees = np.array(evidence.sketched)
    return square_chances(by_step, degrees).reshape(-1)


def _interval(squares: Numbers, degrees: Numbers, confidence: float) -> tuple[Numbers, Numbers]:
    """Lower and upper ends for the standard deviation over the booked one."""
    half = (1 - confidence) / 2
    largest = chi2.isf(half, degrees)
    smallest = chi2.ppf(half, degrees)
    return np.sqrt(squares / largest), np.sqrt(squares / smallest)


def fresh_checks(
    evidence: Evidence, others: Mapping[int, Evidence], *, scale: float, alone: bool
) -> Checked:
    """Returns the checks that no noise was used twice.

    Args:
        evidence: of the steps of the client that is looked at.
        others: client -> evidence of its steps.
        scale: booked standard deviation of the noise.
        alone: whether the federation has no other client.
    """
    own, names = _vectors(evidence, "")
    stacks = [own]
    for client, other in others.items():
        vectors, labels = _vectors(other, f" of client {client}")
        stacks.append(vectors)
        names += labels
    rows = torch.cat(stacks)  # (steps, c)
    compared = rows[:MAX_VECTORS]
    checks = [
        _pairs(compared, names),
        drift("the noise of neighbouring steps", _along(own[1:], own[:-1]), scale=scale),
        drift("the noise of neighbouring rounds", _neighbours(evidence), scale=scale),
        _tensors(evidence, own, scale),
    ]
    for client, other in others.items():
        what = f"the noise of the client and of client {client}"
        checks.append(drift(what, _together(evidence, other), scale=scale))
    unsettled = []
    if len(rows) > MAX_VECTORS:
        unsettled.append(f"only the first {MAX_VECTORS} of {len(rows)} steps were compared")
    if rows.shape[1] < MIN_COORDINATES:
        unsettled.append(f"{rows.shape[1]} coordinates are too few to compare noise")
    if not alone and not any(other.rounds for other in others.values()):
        unsettled.append("no other client took part, so that its noise could not be compared")
    figure = f"the noise of {len(compared)} steps was compared pair by pair"
    return Checked(checks, unsettled, figure)


def _vectors(evidence: Evidence, whose: str) -> tuple[Tensor, list[str]]:
    """(steps, c) of all rounds, and a name for each."""
    vectors = [vector for round in evidence.rounds for vector in round.vectors]
    names = [
        f"step {step + 1} of round {number + 1}{whose}"
        for number, round in enumerate(evidence.rounds)
        for step in range(round.steps)
    ]
    if not vectors:
        return torch.zeros(0, len(evidence.places)), names
    return torch.stack(vectors), names


def _pairs(rows: Tensor, names: Sequence[str]) -> Check:
    """The nearest two of all vectors, by the absolute value of their cosine."""
    what = "the correlation of the noise of"
    pairs = len(rows) * (len(rows) - 1) // 2
    if not pairs:
        return Check(f"{what} two steps", 1.0)
    units = torch.nn.functional.normalize(rows, dim=1)
    largest = 0.0
    first = second = 0
    for start in range(0, len(rows), BLOCK):
        # Above the diagonal: each pair once, and no vector with itself.
        block = units[start : start + BLOCK]
        cosines = (block @ units.T).abs().triu(start + 1)
        top = float(cosines.max())
        if top > largest:
            largest = top
            row, second = divmod(int(cosines.argmax()), len(rows))
            first = start + row
    (chance_of_one,) = cosine_chances(np.array([largest]), rows.shape[1])
    chance = float(chance_of_one) * pairs
    return Check(f"{what} {names[first]} and {names[second]} ({largest:.2f})", min(1.0, chance))


def _along(rows: Tensor, directions: Tensor) -> list[float]:
    """The projection of every row on the unit vector of its own direction."""
    units = torch.nn.functional.normalize(directions.double(), dim=1)
    products = rows.double() * units  # (steps, c)
    return [float(value) for value in products.sum(dim=1)]


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
    if not steps:
        return []
    rows = torch.stack([*now[:steps]])  # (steps, c)
    directions = torch.stack([*before[:steps]])  # (steps, c)
    return _along(rows, directions)


def _tensors(evidence: Evidence, own: Tensor, scale: float) -> Check:
    """Whether two tensors start with the same noise; projects one tensor's start on the other's."""
    parts = torch.split(own, list(evidence.sketched), dim=1)
    chances: list[float] = []
    names: list[str] = []
    for (first, one), (second, other) in combinations(enumerate(parts), 2):
        width = min(one.shape[1], other.shape[1])
        along = _along(other[:, :width], one[:, :width])
        check = drift("", along, scale=scale)
        chances.append(check.chance)
        names.append(f" {first + 1} and {second + 1}")
    return worst("the noise of tensors", np.array(chances), label=lambda place: names[place])
