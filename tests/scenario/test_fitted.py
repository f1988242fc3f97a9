"""Fitted steps of data.harmonise in scenarios: keys, refusals and what a summary says."""

import math
from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import SampledGaussian
from securefl.privacy.past import NO_PAST
from securefl.runs.deployed.deployable import check_deployable
from securefl.scenario.assemble.trainers import plan_for
from securefl.scenario.budget import require_lasting
from securefl.scenario.harmonise_table import Combat, Standardise
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.commands import call, scenario_file
from tests.scenario.texts import refusal
from tests.values import present

SGD = """
training = {{ kind = "sgd" }}
data = {{ name = "heart", harmonise = [{}] }}
"""
DP = """
rounds = 5
training = {{ kind = "dp_sgd" }}
privacy = {{ epsilon = 4.0 }}
data = {{ name = "heart", harmonise = [{}] }}
"""
COMBAT = '{ name = "combat", features = [0, 1, 3], covariates = [5] }'
NOISED = '{ name = "combat", features = [0, 1, 3], noise_multiplier = 4.0 }'


def sgd(step: str, more: str = "") -> str:
    return SGD.format(step) + more


def dp(step: str, more: str = "") -> str:
    return DP.format(step) + more


def test_a_step_says_which_columns_it_changes() -> None:
    step = present(parse_scenario(sgd(COMBAT)).data.fit)
    assert isinstance(step, Combat)
    assert step.columns_of(15) == (0, 1, 3)
    assert step.regressors == (5,)
    assert step.shrinks
    assert step.cost is None
    rest = Combat(name="combat", covariates=(1,))
    assert rest.columns_of(4) == (0, 2, 3)
    assert Standardise(name="standardise").columns_of(3) == (0, 1, 2)
    assert Standardise(name="standardise", columns=(2,)).columns_of(3) == (2,)
    assert not Combat(name="combat", empirical_bayes=False).shrinks


def test_a_bare_name_is_a_step() -> None:
    assert isinstance(parse_scenario(sgd('"standardise"')).data.fit, Standardise)


def test_a_scenario_without_steps_has_no_fit() -> None:
    assert parse_scenario("").data.fit is None


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ('"combat", "standardise"', "one fitted step: leave combat or standardise out"),
        ('{ name = "combat", features = [0, 15] }', "no column 15: the records have the columns 0"),
        ('{ name = "combat", covariates = [20] }', "no column 20"),
        ('{ name = "standardise", columns = [2, 2] }', "a column twice in columns"),
        ('{ name = "combat", features = [1, 2], covariates = [2] }', "column 2 among its features"),
        ('{ name = "combat", features = [1] }', "priors across features, of which there is one"),
        (f'{{ name = "combat", covariates = {list(range(15))} }}', "no features left"),
        ('{ name = "combat", covariates = ["label"] }', "the class is never one of them"),
        ('{ name = "combat", features = [] }', "features"),
        ('{ name = "combat", noise_multiplier = 1.0 }', "noise_multiplier, which has no effect"),
        ('{ name = "standardise", bound = 2.0 }', "bound, which has no effect without a DP claim"),
        ('{ name = "combat", new_sites = "fit" }', "no effect without data.held_out"),
        ('{ name = "combat", colour = 1 }', "colour"),
    ],
)
def test_a_step_that_does_not_fit_the_records_is_refused(step: str, reason: str) -> None:
    assert reason in refusal(sgd(step))


def test_one_feature_is_enough_without_priors() -> None:
    parse_scenario(sgd('{ name = "combat", features = [1], empirical_bayes = false }'))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (COMBAT, "needs noise_multiplier under a DP claim"),
        ('"standardise"', "needs noise_multiplier under a DP claim"),
        (
            '{ name = "combat", noise_multiplier = 1.0 }',
            "alone spends epsilon 4.38 of 4 with noise_multiplier = 1; raise noise_multiplier",
        ),
        ('{ name = "combat", noise_multiplier = 0.01 }', "noise_multiplier"),
    ],
)
def test_a_claim_wants_noise_that_it_can_pay(step: str, reason: str) -> None:
    assert reason in refusal(dp(step))


def test_without_a_finite_epsilon_noise_has_no_effect() -> None:
    assert "which has no effect" in refusal(dp(NOISED).replace("4.0 }\ndata", "inf }\ndata"))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ('channel = { kind = "ckks" }', "sums over 'plain' or 'masked', not over 'ckks'"),
        (
            'topology = { kind = "cyclic" }\nweights = "equal"',
            "needs one server, which topology = 'cyclic' does not have",
        ),
        ('init_from = "somewhere"', "fitted again by a run with init_from"),
        ("rehearsal = { client = 0, seed = 1 }", "not fitted in rehearsals"),
        (
            'channel = { kind = "masked" }\nsimulate = { missing = [1] }',
            "needs all sites, and simulate.missing takes one away",
        ),
    ],
)
def test_a_federation_without_a_fit_is_refused(more: str, reason: str) -> None:
    assert reason in refusal(sgd(COMBAT, more))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.partition=pooled", "needs two sites or more"),
        ("data.only=1", "needs two sites or more"),
        ("data.partition=iid", "test records of each site's own, which partition 'iid' of heart"),
        ("data.held_out=2", "knows nothing of a site that is held out"),
    ],
)
def test_combat_is_refused_where_sites_have_no_map_of_their_own(override: str, reason: str) -> None:
    assert reason in refusal(sgd(COMBAT), override)
    # A standardisation is the same for every site.
    parse_scenario(sgd('"standardise"'), overrides=(override,))


def test_a_new_site_is_left_as_it_is_or_fitted_without_a_claim() -> None:
    step = COMBAT.replace("}", ', new_sites = "{}" }}')
    for choice in ("unchanged", "fit"):
        parse_scenario(
            sgd(step.replace("{}", choice).replace("}}", "}")), overrides=("data.held_out=2",)
        )
    paid = NOISED.replace("}", ', new_sites = "fit" }')
    assert "nobody pays under a DP claim" in refusal(dp(paid), "data.held_out=2")


def test_images_have_no_columns() -> None:
    text = """
    training = { kind = "sgd" }
    model = { name = "cnn" }
    data = { name = "medmnist:pneumoniamnist", harmonise = ["standardise"] }
    """
    assert "takes columns of numbers, and these records are images" in refusal(text)


def test_sites_apart_are_refused() -> None:
    with pytest.raises(ScenarioError, match="which does not run between sites yet"):
        check_deployable(parse_scenario(sgd(COMBAT)))


def scenario(**privacy: float) -> Scenario:
    keys = ", ".join(f"{key} = {value!r}" for key, value in privacy.items())
    return parse_scenario(dp(NOISED).replace("epsilon = 4.0", keys))


def test_the_noise_of_training_makes_up_for_the_fit() -> None:
    plan = plan_for(scenario(epsilon=4.0), 0)
    fit = SampledGaussian(1.0, 4.0, 1)
    together = epsilon({fit: 1, plan.cost: 5}, delta=1e-5)
    assert 0.98 * 4 <= together <= 4
    alone = plan_for(
        parse_scenario(
            dp('"standardise"').replace('"standardise"', "").replace(", harmonise = []", "")
        ),
        0,
    )
    assert plan.noise_multiplier > alone.noise_multiplier


def test_a_past_and_one_release_more() -> None:
    event = SampledGaussian(1.0, 4.0, 1)
    assert NO_PAST.and_once(None) is NO_PAST
    once = NO_PAST.and_once(event)
    assert once.events == ((event, 1),)
    assert once.and_once(event).events == ((event, 2),)
    assert once.heads == NO_PAST.heads


def test_the_outlook_of_a_given_noise_counts_the_fit() -> None:
    # With this noise the budget lasts for the five rounds exactly, and with the fit it does not.
    noise = (
        math.ceil(
            100
            * plan_for(
                parse_scenario(dp('"x"').replace(', harmonise = ["x"]', "")), 2
            ).noise_multiplier
        )
        / 100
    )
    without = parse_scenario(
        dp('"x"')
        .replace(', harmonise = ["x"]', "")
        .replace("4.0 }", f"4.0, noise_multiplier = {noise} }}")
    )
    assert require_lasting(without).leaves == {}
    fitted = scenario(epsilon=4.0, noise_multiplier=noise)
    assert require_lasting(fitted).leaves.keys() >= {2}


def test_a_summary_states_the_fit_and_who_sees_its_sums() -> None:
    text = summary(scenario(epsilon=4.0))
    assert "noise of multiplier 4, once, for epsilon 0.926 by itself" in text
    assert "the server sees the noised statistics of each site" in text
    masked = summary(parse_scenario(sgd(COMBAT, 'channel = { kind = "masked" }')))
    assert "the server sees sums of statistics over all sites" in masked
    assert "data.harmonise" not in summary(parse_scenario(""))


def test_a_site_that_is_nearly_a_class_is_warned_of(tmp_path: Path) -> None:
    done = call("data", "check", scenario_file(tmp_path, sgd(COMBAT)), cwd=tmp_path)
    assert done.returncode == 0
    assert "97% of the training records of switzerland are of class 1, 52% of all" in done.stdout
    plain = call("data", "check", scenario_file(tmp_path, sgd('"standardise"')), cwd=tmp_path)
    assert "signal" not in plain.stdout
