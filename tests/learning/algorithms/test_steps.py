"""Algorithms for unlike clients: the authors' updates by hand, and what they cost under DP."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import securefl
from securefl import vector
from securefl.learning import options
from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.algorithms.steps import changed, fedavg, feddyn, fedprox, scaffold
from securefl.learning.descent import Steps
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


START = torch.tensor([0.3, -0.2, 0.1, 0.5])


def noisy_path(how: StepOptions) -> list[Tensor]:
    """Returns the weights after each step without records, which is its noise."""
    plan = DpPlan(records=40, batch=10, epochs=1, clip=1e-3, noise_multiplier=3.0)
    machine = DpSgd(logistic(BINARY, generator=seeded()), BINARY, lr=LR, options=how)
    seen: list[Tensor] = []
    machine.run(
        START,
        some_examples(BINARY, 0),
        plan,
        sampling=seeded_keystream(1, "sampling"),
        noise=seeded_keystream(1, "noise"),
        on_step=lambda step, steps: seen.append(vector.to_vector(machine.module).clone()),
    )
    return seen


def test_under_dp_the_pull_comes_after_clip_and_noise() -> None:
    """A pull of any strength is added in full."""
    without = [START, *noisy_path(USUAL)]
    noise = [after - before for before, after in pairwise(without)]
    w = START
    # A pull that was clipped could not move the weights by more than lr x clip.
    for after, drawn in zip(noisy_path(with_pull(8.0)), noise, strict=True):
        w = w + drawn - LR * 8.0 * (w - START)
        torch.testing.assert_close(after, w, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("algorithm", "pull"), [(scaffold, 0.0), (feddyn, 2.0)])
def test_under_dp_a_correction_comes_after_clip_and_noise(
    algorithm: Callable[..., Steps], pull: float
) -> None:
    """Corrections a thousand times the clip are added in full, and noise stays what it is."""
    corrections = Corrections((7,), 4)
    corrections.rows[7].copy_(torch.tensor([1.0, -2.0, 0.5, 4.0]))
    keys = {"alpha": pull} if pull else {}
    change = partial(algorithm, corrections=corrections, **keys)
    with corrections.of(7):
        path = noisy_path(StepOptions(optimizer=changed(options.sgd, change)))
    without = [START, *noisy_path(USUAL)]
    w = START
    for after, (before, end) in zip(path, pairwise(without), strict=True):
        w = w + (end - before) - LR * (corrections.rows[7] + pull * (w - START))
        torch.testing.assert_close(after, w, rtol=1e-4, atol=1e-7)


def test_corrections_outside_a_clients_training_are_refused() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="no client trains"):
        scaffold(options.sgd([weight], 0.5), corrections=Corrections((0,), 1))


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
