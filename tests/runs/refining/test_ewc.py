"""A refinement that holds on to an earlier version: what it measures, keeps and pays for."""

import pytest
import torch

from securefl import vector
from securefl.errors import BudgetExceeded, RunFolderError, ScenarioError
from securefl.learning.algorithms.ewc import fisher_sum
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import SampledGaussian
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.refining.plan import Asked
from securefl.runs.refining.refine import refine
from securefl.runs.refining.series import Series
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.fisher import fisher_of
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import make_scenario, parse_scenario
from tests.runs.refining.conftest import Copied, play
from tests.runs.refining.test_refine import MORE, booked
from tests.values import present

EWC = ("training.algorithm=ewc", "training.strength=1.0")
PAID = (*EWC, "training.fisher_noise=3.0", "privacy.epsilon=5.0")


def scenario_of(series: Series, version: int) -> torch.Tensor:
    """What client 0 holds on to in a version."""
    return present(fisher_of(make_scenario(dict(series.cell(version).scenario)), 0))


def test_each_client_holds_on_to_its_own_fisher_information_of_the_earlier_records(
    copied: Copied,
) -> None:
    series = copied("plain")
    refine(series, Asked(MORE, EWC), play)
    earlier = make_scenario(dict(series.cell(1).scenario))
    data = load_data(earlier)
    model = build_model(earlier, data.task)
    vector.load_vector(model, load_checkpoint(series.cell(1).cell.checkpoint).state.weights)
    site = data.sites[0].train
    expected = (fisher_sum(model, data.task, site) / len(site)).float()
    assert torch.equal(scenario_of(series, 2), expected)
    assert float(expected.max()) > 0.01
    # A third version adds what the second held on to.
    refine(series, Asked({"share": 0.8}, EWC), play)
    third = scenario_of(series, 3)
    assert bool((third >= expected).all())
    assert not torch.equal(third, expected)


def test_a_pull_of_no_strength_is_fedavg_to_the_last_bit_and_a_strong_one_stays_closer(
    copied: Copied,
) -> None:
    moves = []
    for name, keys in (
        ("none", ()),
        ("zero", ("training.algorithm=ewc", "training.strength=0.0")),
        ("some", EWC),
    ):
        made = copied("plain")
        moved = made.path.rename(made.path.with_name(name))
        series = Series(moved)
        refine(series, Asked(MORE, keys), play)
        start, end = (
            load_checkpoint(series.cell(version).cell.checkpoint).state.weights
            for version in (1, 2)
        )
        moves.append(end - start)
    assert torch.equal(moves[0], moves[1])
    assert moves[2].norm() < moves[0].norm()


def test_under_a_claim_the_fisher_information_is_noisy_and_paid_for_before_training(
    copied: Copied,
) -> None:
    series = copied("claim")
    refine(series, Asked(MORE, PAID), play)
    event = SampledGaussian(1.0, 3.0, 1)
    for client in range(4):
        prepaid = booked(series.folder(2) / "prepaid", client)
        assert prepaid == {event: 1}
        whole = prepaid.copy()
        for version in (1, 2):
            whole.update(booked(series.cell(version).cell.ledgers, client))
        reported = present(series.cell(2).cell.metrics())["epsilons"][str(client)]
        assert reported == epsilon(whole, delta=1e-5)
    fisher = scenario_of(series, 2)
    assert float(fisher.min()) >= 0.0


def test_under_a_claim_the_clip_bounds_what_is_measured(copied: Copied) -> None:
    # Each record adds clip^2 = 1e-4 at most; without the clip the largest mean is above .01.
    series = copied("claim")
    refine(series, Asked(MORE, (*PAID, "training.clip=0.01")), play)
    assert float(scenario_of(series, 2).max()) < 1e-3


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("claim", (*EWC, "privacy.epsilon=5.0"), "the Fisher information is a release; set its"),
        ("plain", (*EWC, "training.fisher_noise=1.0"), "fisher_noise has no effect without a DP"),
        ("plain", EWC[:1], "training.algorithm = 'ewc' needs training.strength"),
        ("plain", ("training.strength=1.0",), "strength has no effect"),
    ],
)
def test_what_ewc_needs_is_said(
    copied: Copied, name: str, overrides: tuple[str, ...], sentence: str
) -> None:
    series = copied(name)
    with pytest.raises(ScenarioError, match=sentence):
        refine(series, Asked(MORE, overrides), play)
    assert series.versions == [1]


def test_fisher_information_that_cannot_be_paid_is_refused(copied: Copied) -> None:
    series = copied("claim")
    cheap = (*EWC, "training.fisher_noise=0.2", "privacy.epsilon=5.0")
    with pytest.raises(BudgetExceeded, match="client 0 cannot pay for its Fisher information"):
        refine(series, Asked(MORE, cheap), play)
    assert series.versions == [1]


def test_ewc_is_for_a_later_version_only() -> None:
    with pytest.raises(ScenarioError, match="holds on to an earlier version of the model: use"):
        parse_scenario('training = { kind = "sgd", algorithm = "ewc", strength = 1.0 }')


def test_a_client_without_its_fisher_information_does_not_train(copied: Copied) -> None:
    series = copied("plain")
    refine(series, Asked(MORE, EWC), play)
    scenario = make_scenario(dict(series.cell(2).scenario))
    (series.folder(2) / "fisher" / "1.safetensors").unlink()
    with pytest.raises(RunFolderError, match="has nothing of client 1"):
        fisher_of(scenario, 1)
