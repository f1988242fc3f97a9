"""The adaptive adversary: it is as harmful as the fixed attacks, within its evaluations."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import defenses
from attacks import (
    a_little_is_enough,
    adaptive,
    adaptive_weight,
    harm,
    inner_product,
    min_max,
    min_sum,
    most_harmful,
    most_weight,
)
from securefl.errors import ScenarioError
from securefl.scenario.scenario import parse_scenario

Rule = Callable[[Tensor], Tensor]
RULES: dict[str, Rule] = {
    "mean": defenses.mean,
    "median": defenses.median,
    "trimmed_mean": partial(defenses.trimmed_mean, f=4),
    "krum": partial(defenses.krum, f=4),
    "geometric_median": defenses.geometric_median,
    "centered_clipping": partial(defenses.centered_clipping, radius=5.0),
    "dnc": partial(defenses.dnc, f=4),
    "nnm + trimmed_mean": lambda rows: defenses.trimmed_mean(
        defenses.nearest_neighbor_mixing(rows, f=4), f=4
    ),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def some_rows(seed: int, h: int = 16, d: int = 60) -> Tensor:
    return 0.3 + torch.randn(
        h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def suffered(rule: Rule, rows: Tensor, sent: Tensor) -> float:
    return harm(rule(torch.cat([rows, sent])), rows.mean(dim=0))


def test_harm_known_answers() -> None:
    mean = torch.tensor([3.0, 4.0])
    assert harm(torch.tensor([3.0, 4.0]), mean) == 0
    assert harm(torch.tensor([0.0, 0.0]), mean) == pytest.approx(5.0)
    assert harm(torch.tensor([-3.0, -4.0]), mean) == pytest.approx(10.0)
    assert harm(torch.tensor([6.0, 8.0]), mean) == pytest.approx(0.0, abs=1e-6)  # ahead of it
    assert harm(torch.tensor([7.0, 1.0]), mean) == pytest.approx(5.0)  # (4, -3) is across it
    assert harm(torch.tensor([10.0, 5.0]), mean) == pytest.approx(5.0)  # across, and ahead by 5
    assert harm(torch.tensor([0.0, 2.0]), torch.zeros(2)) == pytest.approx(2.0)


class Counting:
    """A rule that counts how often it is asked."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.calls = rule, 0

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls += 1
        return self.rule(rows)


@each_rule
@pytest.mark.parametrize("seed", range(3))
def test_no_strength_that_it_tries_hurts_more_and_hardly_any_other_does(
    rule: Rule, seed: int
) -> None:
    rows, f = some_rows(seed), 4
    mean, along = rows.mean(dim=0), rows.std(dim=0)
    best = most_harmful(rows, f, rule=rule, along=along, evaluations=40)
    assert best.harm == pytest.approx(suffered(rule, rows, best.row.repeat(f, 1)), rel=1e-9)
    assert torch.allclose(best.row, mean + best.strength * along)
    for strength in (0.125, 0.5, 1.0, 2.0, 8.0, 64.0):
        for sign in (-1, 1):
            assert best.harm >= suffered(rule, rows, (mean + sign * strength * along).repeat(f, 1))
    harms = [
        suffered(rule, rows, (mean + s * along).repeat(f, 1))
        for s in torch.linspace(-64, 64, 201).tolist()
    ]
    assert best.harm >= 0.9 * max(harms)


@each_rule
@pytest.mark.parametrize("seed", range(3))
def test_it_is_at_least_as_harmful_as_the_fixed_attacks_along_its_directions(
    rule: Rule, seed: int
) -> None:
    rows, f = some_rows(seed), 4
    reached = suffered(rule, rows, adaptive(rows, f, rule=rule))
    fixed = [
        a_little_is_enough(rows, f, 20),
        min_max(rows, f),
        min_sum(rows, f),
        *(inner_product(rows, f, scale=scale) for scale in (0.1, 1.0, 10.0)),
    ]
    assert reached >= 0.95 * max(suffered(rule, rows, sent) for sent in fixed)


def test_it_calls_the_rule_as_often_as_it_may_and_no_more() -> None:
    rows = some_rows(1)
    for evaluations in (12, 13, 20, 31):
        rule = Counting(defenses.median)
        most_harmful(rows, 2, rule=rule, along=rows.std(dim=0), evaluations=evaluations)
        assert rule.calls == evaluations
    rule = Counting(defenses.median)
    adaptive(rows, 2, rule=rule, evaluations=60)
    assert rule.calls == 60


def test_it_reaches_the_edge_of_a_rule_that_sets_distant_rows_aside() -> None:
    rows = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    for sign in (-1.0, 1.0):

        def fenced(sent: Tensor, sign: float = sign) -> Tensor:
            push = sign * float(sent[-1])
            return sent[-1] if 0 <= push < 11.9 else torch.zeros(1, dtype=torch.float64)

        push_of_best = most_harmful(rows, 1, rule=fenced, along=torch.ones(1), evaluations=40)
        assert 11 < sign * push_of_best.strength < 11.9
        assert push_of_best.harm == pytest.approx(abs(push_of_best.strength))


@pytest.mark.parametrize("place", range(3))
def test_every_direction_is_tried(place: int) -> None:
    rows = some_rows(5)
    mean = rows.mean(dim=0)
    directions = (rows.std(dim=0), mean, torch.sign(mean))
    direction = directions[place] / directions[place].norm()

    def only_along(sent: Tensor) -> Tensor:
        push = sent[-1] - mean
        aligned = float(push @ direction) ** 2 > 0.999 * float(push @ push)
        return sent[-1] if aligned and float(push.norm()) < 30 else mean

    sent = adaptive(rows, 1, rule=only_along)[0] - mean
    assert abs(float(sent @ direction)) == pytest.approx(float(sent.norm()), rel=1e-3)


def refusing(sent: Tensor) -> Tensor:
    raise ValueError("too few rows")


def overflowing(sent: Tensor) -> Tensor:
    # Infinite in some coordinates: a distance that is no number would hide the rest.
    return torch.where(sent[:16].mean(dim=0) > 0, -math.inf, 0.0)


@pytest.mark.parametrize("answer", [refusing, overflowing])
def test_rows_that_the_rule_refuses_or_overflows_on_do_no_harm(answer: Rule) -> None:
    rows = some_rows(1)
    assert most_harmful(rows, 2, rule=answer, along=rows.std(dim=0)).harm == 0


def test_too_few_evaluations_are_refused() -> None:
    with pytest.raises(ValueError, match="an adaptive attack needs evaluations >= 12, got 11"):
        most_harmful(some_rows(1), 2, rule=defenses.median, along=torch.ones(60), evaluations=11)
    with pytest.raises(ValueError, match="evaluations >= 36, a third for each direction, got 35"):
        adaptive(some_rows(1), 2, rule=defenses.median, evaluations=35)


# --- under the rule's own weights


WEIGHTS: dict[str, Rule] = {
    "krum": partial(defenses.krum_weights, f=4),
    "mda": partial(defenses.mda_weights, f=4),
    "dnc": partial(defenses.dnc_weights, f=4),
    "geometric_median": defenses.geometric_median_weights,
}


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("seed", range(3))
def test_no_fixed_strength_has_more_harm_times_weight(weigh: Rule, seed: int) -> None:
    rows, f = some_rows(seed), 4
    mean, along = rows.mean(dim=0), rows.std(dim=0)
    best = most_weight(rows, f, weigh=weigh, along=along, evaluations=40)

    def harm_times_weight(strength: float) -> float:
        sent = torch.cat([rows, (mean + strength * along).repeat(f, 1)])
        return harm(sent[-1], mean) * float(weigh(sent)[-f:].sum())

    assert best.harm == pytest.approx(harm_times_weight(best.strength), rel=1e-9)
    assert best.harm >= max(
        harm_times_weight(sign * s) for s in (0.125, 0.5, 1.0, 2.0, 8.0, 64.0) for sign in (-1, 1)
    )
    assert best.harm >= 0.9 * max(
        harm_times_weight(s) for s in torch.linspace(-64, 64, 201).tolist()
    )


@pytest.mark.parametrize("seed", range(10))
def test_it_does_not_push_ahead_along_the_honest_mean(seed: int) -> None:
    rows = some_rows(seed)
    sent = adaptive_weight(rows, 4, weigh=defenses.geometric_median_weights)[0]
    mean = rows.mean(dim=0)
    assert float((sent - mean) @ mean) < 0.2 * float((sent - mean).norm() * mean.norm())


def test_against_krum_it_sends_a_row_that_krum_returns() -> None:
    rows, f = some_rows(2), 4
    sent = adaptive_weight(rows, f, weigh=partial(defenses.krum_weights, f=f))
    assert torch.equal(defenses.krum(torch.cat([rows, sent]), f=f), sent[0])
    assert float((sent[0] - rows.mean(dim=0)).norm()) > float(
        a_little_is_enough(rows, f, 20).sub(rows.mean(dim=0)).norm(dim=1)[0]
    )


@pytest.mark.parametrize(
    "defense", ['rule = "median"', 'prefilters = [{ name = "clip_norms", radius = 1.0 }]']
)
def test_a_rule_without_weights_of_its_own_is_refused(defense: str) -> None:
    text = f"""
        training = {{ kind = "sgd" }}
        data = {{ name = "digits", clients = 9 }}
        defense = {{ {defense} }}
        attack = {{ name = "adaptive_weight", knows = "omniscient", clients = [0] }}
    """
    with pytest.raises(
        ScenarioError,
        match="adaptive_weight needs a rule that weighs rows, without pre-filters: krum, m",
    ):
        parse_scenario(text)
