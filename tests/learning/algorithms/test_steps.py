"""Algorithms for unlike clients: the authors' updates by hand, and what they cost under DP."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import securefl
from securefl import vector
from securefl.learning import options
from securefl.learning.algorithms.steps import changed, fedavg, fedprox
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models.linear import logistic
from securefl.learning.options import USUAL, StepOptions
from securefl.learning.plan import DpPlan
from securefl.privacy.chain import read_entries
from securefl.rng import seeded_keystream
from securefl.scenario.assemble.trainers import step_options
from securefl.scenario.scenario import parse_scenario
from tests.learning.steps import BINARY, delta_of, seeded, some_examples
from tests.learning.test_options import slope

LR, MU = 0.1, 0.75


def with_pull(mu: float) -> StepOptions:
    return StepOptions(optimizer=changed(options.sgd, partial(fedprox, mu=mu)))


def test_fedprox_known_answer_on_two_quadratics() -> None:
    # Clients minimise (w - 4)^2 / 2 and (w + 2)^2 / 2 from w = 1, with lr .5 and mu 2.
    # Client 0: w1 = 1 + .5 x 3 = 2.5; w2 = 2.5 - .5 (-1.5 + 2 x 1.5) = 1.75.
    # Client 1: w1 = 1 - .5 x 3 = -.5; w2 = -.5 - .5 (1.5 - 2 x 1.5) = .25.
    for target, expected in ((4.0, 1.75), (-2.0, 0.25)):
        w = nn.Parameter(torch.tensor([1.0]))
        steps = fedprox(options.sgd([w], 0.5), mu=2.0)
        for _ in range(2):
            steps.zero_grad()
            (0.5 * (w - target).square()).sum().backward()  # type: ignore[no-untyped-call]
            steps.step()
        assert w.item() == expected
    assert fedavg(steps) is steps


@pytest.mark.parametrize("private", [False, True])
def test_fedprox_pulls_every_step_to_the_global_model(private: bool) -> None:
    examples = some_examples(BINARY, 6)
    start = torch.tensor([0.3, -0.2, 0.1, 0.5])
    weights = start
    for _ in range(3):
        weights = weights - LR * (slope(BINARY, weights, examples) + MU * (weights - start))
    delta = delta_of(with_pull(MU), start, examples, private=private, lr=LR)
    torch.testing.assert_close(delta, weights - start, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("private", [False, True])
def test_without_a_pull_fedprox_is_fedavg_to_the_last_bit(private: bool) -> None:
    examples = some_examples(BINARY, 6)
    start = torch.tensor([0.3, -0.2, 0.1, 0.5])
    deltas = [
        delta_of(how, start, examples, private=private, lr=LR) for how in (USUAL, with_pull(0.0))
    ]
    assert torch.equal(*deltas)


def test_under_dp_the_pull_comes_after_clip_and_noise() -> None:
    """Without records a step is its noise, and the pull of any strength is added in full."""
    plan = DpPlan(records=40, batch=10, epochs=1, clip=1e-3, noise_multiplier=3.0)
    start = torch.tensor([0.3, -0.2, 0.1, 0.5])

    def path(how: StepOptions) -> list[Tensor]:
        machine = DpSgd(logistic(BINARY, generator=seeded()), BINARY, lr=LR, options=how)
        seen: list[Tensor] = []
        machine.run(
            start,
            some_examples(BINARY, 0),
            plan,
            sampling=seeded_keystream(1, "sampling"),
            noise=seeded_keystream(1, "noise"),
            on_step=lambda step, steps: seen.append(vector.to_vector(machine.module).clone()),
        )
        return seen

    without = [start, *path(USUAL)]
    noise = [after - before for before, after in pairwise(without)]
    w = start
    # A pull that was clipped could not move the weights by more than lr x clip.
    for after, drawn in zip(path(with_pull(8.0)), noise, strict=True):
        w = w + drawn - LR * 8.0 * (w - start)
        torch.testing.assert_close(after, w, rtol=1e-4, atol=1e-9)


def test_the_pull_costs_nothing(tmp_path: Path) -> None:
    text = 'rounds = 2\nprivacy = { noise = "seeded", noise_multiplier = 2.0 }\n'
    spent = []
    for keys in ("", 'algorithm = "fedprox", mu = 0.5'):
        scenario = parse_scenario(text + f"training = {{ {keys} }}\n")
        result = securefl.run(scenario, tmp_path / (keys[:9] or "fedavg"))
        ledgers = sorted(result.folder.glob("cells/*/ledgers/*.jsonl"))
        entries = [entry for path in ledgers for entry in read_entries(path)]
        spent.append(([(e["kind"], e["event"]) for e in entries], result["epsilon"]))
        assert len(ledgers) == 4
    assert spent[0] == spent[1]


def test_the_table_of_training_makes_the_algorithm() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    scenario = parse_scenario('training = { algorithm = "fedprox", mu = 0.5 }')
    how = step_options(scenario)
    assert not how.linear
    steps = how.optimizer([weight], 0.5)
    with torch.no_grad():
        weight.add_(2.0)
    weight.grad = torch.tensor([1.0])
    steps.step()
    assert weight.item() == 3.0 - 0.5 * (1.0 + 0.5 * 2.0)
    assert step_options(parse_scenario('training = { algorithm = "fedavg" }')) == USUAL
