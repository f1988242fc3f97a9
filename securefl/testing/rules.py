"""The contract of an aggregation rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from securefl.rng import seeded_keystream
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import RuleEntry
from securefl.scenario.making.rule import make_rule
from securefl.scenario.plugins.find import Group
from securefl.testing.trial import chosen, contract, rows_of, same

# Of the largest coordinate: sums of float32 in another order differ by less.
TOLERANCE = 1e-4
LIES = (float("nan"), float("inf"), -float("inf"), 1e30)


def check_rule(
    rule: RuleEntry | Callable[..., Tensor],
    *,
    rows: int = 11,
    f: int = 2,
    any_order: bool = True,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Checks that a rule keeps what runs take for granted.

    Guarantees, for a rule that passes:
        - Its estimate is finite, has one number a coordinate and is no view of the rows.
        - The same rows give the same estimate, and it changes none of them.
        - The order of the rows does not matter, unless `any_order` is false.
        - f rows of NaN, infinities or huge numbers neither stop it nor win.
        - The rows that its entry's `minimum_rows` names are enough.
        - Its entry's `choose` takes the rows whose mean is the estimate, from their distances.

    Args:
        rule: the entry, or a bare function with the safe defaults: one row is enough.
        rows: how many it is tried with.
        f: corrupt rows, for a rule that has this parameter.
        any_order: whether the order of the rows must not matter.
        parameters: its other hyper-parameters.

    Raises:
        AssertionError: one sentence that says what it does not keep.
    """
    trial = _Trial(chosen(Group.RULES, "defense.rule", rule, f, parameters))
    _check_minimum(trial, rows, f)
    for dtype in (torch.float32, torch.float64):
        sample = rows_of(rows, dtype=dtype)
        estimate = trial.estimate(sample)
        if not same(estimate, trial.estimate(sample)):
            raise AssertionError(f"{trial.name} gives another estimate for the same rows")
        if any_order:
            _check_order(trial, sample, estimate)
        _check_choice(trial, sample, estimate)
    _check_lies(trial, rows, f)


@dataclass(frozen=True)
class _Trial:
    """A rule as a run calls it."""

    choice: Chosen[RuleEntry]

    @property
    def name(self) -> str:
        """The name of the rule's function."""
        return self.choice.name

    def with_f(self, f: int) -> "_Trial":
        """Returns the rule with another f, if it has one."""
        if "f" not in self.choice.parameters:
            return self
        return _Trial(replace(self.choice, parameters={**self.choice.parameters, "f": f}))

    def estimate(self, rows: Tensor, weights: Tensor | None = None) -> Tensor:
        """Returns the estimate. Raises AssertionError where a run would stop."""
        if weights is None:
            weights = _weights(len(rows))
        rule = make_rule(self.choice)
        with contract():
            return rule(rows, weights)


def _weights(count: int) -> Tensor:
    return torch.arange(1.0, count + 1)


def _check_minimum(trial: _Trial, rows: int, f: int) -> None:
    """Checks that the rows that the entry names are enough, for every f up to the given one."""
    needs = trial.choice.entry.minimum_rows
    for corrupt in range(f + 1 if "f" in trial.choice.parameters else 1):
        with contract():
            needed = 1 if needs is None else needs(corrupt)
        if corrupt == f and needed > rows:
            raise AssertionError(
                f"{trial.name} with f={f} needs {needed} rows: call check_rule with rows={needed}"
            )
        try:
            trial.with_f(corrupt).estimate(rows_of(needed))
        except AssertionError as reason:
            raise AssertionError(
                f"{trial.name} fails with {needed} rows and f={corrupt}, which are enough as far "
                f"as minimum_rows of its entry says: {reason}"
            ) from reason


def _check_order(trial: _Trial, sample: Tensor, estimate: Tensor) -> None:
    order = torch.from_numpy(seeded_keystream(0, "contract order").permutation(len(sample)))
    moved = trial.estimate(sample[order], _weights(len(sample))[order])
    if float((moved - estimate).abs().max()) > TOLERANCE * float(sample.abs().max()):
        raise AssertionError(
            f"{trial.name} gives another estimate for the same rows in another order; where that "
            "is meant, call check_rule with any_order=False"
        )


def _check_choice(trial: _Trial, sample: Tensor, estimate: Tensor) -> None:
    choose = trial.choice.entry.choose
    if choose is None:
        return
    squared = (sample[:, None] - sample).double().square().sum(dim=2).numpy()
    with contract():
        weights = torch.from_numpy(choose(squared, **trial.choice.parameters))
    mean = weights @ sample.double() / weights.sum()
    if float((mean - estimate).abs().max()) > TOLERANCE * float(sample.abs().max()):
        raise AssertionError(
            f"{trial.name} gives another estimate than the mean of the rows that its choose takes"
        )


def _check_lies(trial: _Trial, rows: int, f: int) -> None:
    """Checks rows that are not finite or huge, first and last among honest ones."""
    liars = f if "f" in trial.choice.parameters else 1
    honest = rows_of(rows - liars)
    for lie in LIES:
        lies = torch.full((liars, honest.shape[1]), lie)
        for sample in (torch.cat([lies, honest]), torch.cat([honest, lies])):
            estimate = trial.estimate(sample)
            if float(estimate.abs().max()) > rows * float(honest.abs().max()):
                raise AssertionError(f"{trial.name} lets {liars} rows of {lie} win")
