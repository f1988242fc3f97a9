"""The unit CLIENT: what it needs, what it means for a sum, and what is refused next to it."""

import re

import pytest

from securefl.audit.inquiry import Inquiry
from securefl.errors import ScenarioError
from securefl.learning.algorithms.client_level import unit_length
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import SampledGaussian
from securefl.runs.deployed.deployable import check_deployable
from securefl.scenario.assemble.client_release import client_release
from securefl.scenario.assemble.ledgers import terms_of
from securefl.scenario.budget import allowed_trainings, outlook
from securefl.scenario.protected import InSum
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.paths import ROOT
from tests.scenario.texts import refusal

TEXT = """
rounds = 10
data = { name = "digits", partition = "iid", clients = 40 }
training = { kind = "sgd", batch = 8, lr = 0.5, clip = 0.5 }
privacy = { unit = "client", epsilon = 8.0, delta = 1e-3 }
weights = "equal"
"""
POISSON = 'cohort={ size = 10, sampling = "poisson" }'
NO_CLAIM = "privacy.epsilon=inf"


def of_clients(*overrides: str) -> Scenario:
    return parse_scenario(TEXT, overrides=overrides)


def part(*overrides: str) -> InSum:
    scenario = of_clients(*overrides)
    return scenario.facts.in_sum


def test_a_client_of_a_known_cohort_moves_the_sum_by_twice_its_clip() -> None:
    assert part() == (1.0, 0.5, 1.0)
    # Who is drawn follows from the seed, so that a smaller cohort amplifies nothing.
    assert part("cohort.size=10") == (1.0, 0.5, 1.0)


def test_a_client_that_tosses_a_coin_is_there_or_not_and_counts_for_more() -> None:
    assert part(POISSON) == (2.0, 2.0, 0.25)


def test_an_adaptive_clip_divides_itself_out_and_leaves_one_vector_with_the_bit() -> None:
    longer = unit_length(adaptive=True)
    assert part("training.clip_quantile=0.5") == (2 * longer, longer, 1.0)
    assert part("training.clip_quantile=0.5", POISSON) == (4 * longer, 4 * longer, 0.25)


def test_declared_weights_leave_the_sensitivity_that_of_the_heaviest_client() -> None:
    assert part("weights=declared") == (1.0, 0.5, 1.0)


@pytest.mark.parametrize("overrides", [(), (POISSON,)], ids=["known", "coins"])
def test_noise_is_calibrated_for_all_rounds(overrides: tuple[str, ...]) -> None:
    scenario = of_clients(*overrides)
    release = client_release(scenario)
    event = release.cost
    assert isinstance(event, SampledGaussian)
    assert event.sample_rate == release.sample_rate == part(*overrides)[2]
    assert 0.98 * 8 < epsilon({event: 10}, delta=1e-3) <= 8
    assert release.std == event.noise_multiplier * part(*overrides)[0]


def test_a_given_multiplier_is_the_noise_over_the_sensitivity_and_lasts_as_long_as_it_can() -> None:
    scenario = of_clients("privacy.noise_multiplier=0.9")
    assert client_release(scenario).std == 0.9
    leaves, ends = outlook(scenario)
    assert len(leaves) == 40
    assert ends == allowed_trainings(scenario, 0) == 3


def test_without_a_claim_updates_are_clipped_and_have_no_noise() -> None:
    release = client_release(of_clients(NO_CLAIM, "data.clients=4"))
    assert (release.std, release.cost) == (0.0, SampledGaussian(1.0, 0.0, 1))


@pytest.mark.parametrize(
    ("overrides", "neighbours"), [((), "replace_one"), ((POISSON,), "add_remove")]
)
def test_the_ledgers_terms_name_unit_and_neighbours(
    overrides: tuple[str, ...], neighbours: str
) -> None:
    terms = terms_of(of_clients(*overrides))
    assert terms is not None
    assert (terms.unit, terms.neighbours) == ("client", neighbours)


def test_no_buffer_of_the_model_is_part_of_an_update() -> None:
    assert of_clients().facts.adaptation.private


def test_fresh_noise_is_not_repeated_though_training_has_none() -> None:
    assert not of_clients().repeatable
    assert of_clients("privacy.noise=seeded").repeatable


def test_the_summary_names_the_unit_and_its_neighbours() -> None:
    assert (
        "(8, 0.001)-DP for one client, with its own records or any others in their place"
        in summary(of_clients())
    )
    assert "for one client, there or absent from all rounds" in summary(of_clients(POISSON))
    words = summary(of_clients("training.clip_quantile=0.6", "training.clip_lr=0.3"))
    assert "sgd (clip at the 0.6 quantile, clip_lr 0.3)" in words


def test_the_example_of_the_page_is_valid() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    (block,) = (
        block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "client" in block
    )
    # The example invites to change the place.
    for place in ("local", "distributed", "central"):
        example = parse_scenario(block, overrides=(f"privacy.place={place}",))
        assert (example.protects_clients, example.facts.in_sum.sample_rate) == (True, 0.25)


def test_everybody_is_invited_where_clients_toss_coins_and_the_size_keeps_its_meaning() -> None:
    scenario = of_clients(POISSON)
    assert (scenario.facts.invited, scenario.facts.cohort_size) == (40, 40)
    assert scenario.resolved()["cohort"] == {"size": 10, "sampling": "poisson"}


BATCH_NORM = (
    'data={ name = "medmnist:breastmnist", partition = "iid", clients = 20 }',
    'model={ name = "resnet18", norm = "batch" }',
    "privacy.delta=1e-2",
)

REFUSED: list[tuple[tuple[str, ...], str]] = [
    (
        ("training.kind=dp_sgd",),
        "privacy.unit = 'client' clips and noises whole updates, and training.kind = 'dp_sgd' has "
        "noise for single records: set training.kind = 'sgd', or privacy.unit = 'example'",
    ),
    (("training.algorithm=scaffold",), "training.algorithm = 'scaffold' keeps or sends more"),
    (("training.fine_tune=2",), "training.fine_tune fits a model to the records of each client"),
    (
        ("data.clients=19",),
        "privacy.unit = 'client' needs 20 clients or more for a finite epsilon, got 19",
    ),
    (
        ('data={ name = "heart" }',),
        "privacy.unit = 'client' needs 20 clients or more for a finite epsilon, got 4",
    ),
    (("privacy.delta=0.025",), "privacy.delta must be below 1/n = 0.025 for 40 clients, got 0.025"),
    (("weights=reported",), "weights = 'reported' shows numbers of records that no noise"),
    (
        ("weights=reported", NO_CLAIM),
        "weights = 'reported' shows numbers of records that no noise",
    ),
    (
        (f"privacy.records={[30] * 40}",),
        "privacy.records has no effect with privacy.unit = 'client' and weights = 'equal'",
    ),
    (
        ('cohort={ size = 40, sampling = "poisson" }',),
        "cohort.sampling = 'poisson' with cohort.size = 40 of 40 clients leaves nobody out",
    ),
    (
        ('cohort={ size = 10, sampling = "poisson", deadline = 3 }',),
        "cohort.deadline chooses among the invited",
    ),
    (
        ('cohort={ size = 10, sampling = "poisson", over_select = 1.5 }',),
        "cohort.over_select chooses among the invited",
    ),
    (
        (POISSON, 'privacy.place="central"', "channel.kind=ckks"),
        "clients that are out encrypt zeros, in less time, so that the server could see the coins",
    ),
    (('topology={ kind = "cyclic" }',), "is for one server and its clients, got topology.kind"),
    (('topology={ kind = "hierarchical", regions = [[0]] }',), "is for one server and its clients"),
    (("rehearsal={ client = 0 }",), "rehearsal changes single records of a client"),
    (("refine={ version = 2 }",), "refine keeps ledgers for single records"),
    (("training.clip_lr=0.3",), "training.clip_lr has an effect with training.clip_quantile only"),
    (
        ("training.clip_quantile=0.5", "defense.rule=median"),
        "training.clip_quantile takes the share of clipped updates from their mean",
    ),
    (
        ("training.clip_quantile=0.5", 'defense.prefilters=["clip_norms"]'),
        "training.clip_quantile takes the share of clipped updates from their mean",
    ),
    (BATCH_NORM, "statistics are no part of updates that are clipped as a whole"),
]
# Without the unit.
OTHER_UNIT: list[tuple[str, str]] = [
    ("training.clip_quantile=0.5", "training.clip_quantile has an effect with privacy.unit ="),
    ("training.clip_lr=0.5", "training.clip_lr has an effect with privacy.unit = 'client' only"),
    (POISSON, "a client's coin amplifies nothing for one of its records; remove it"),
]


@pytest.mark.parametrize(("overrides", "sentence"), REFUSED, ids=[r[1][:50] for r in REFUSED])
def test_what_does_not_fit_the_unit_is_refused(overrides: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(TEXT, *overrides)


@pytest.mark.parametrize(("override", "sentence"), OTHER_UNIT)
def test_keys_of_the_unit_have_no_effect_without_it(override: str, sentence: str) -> None:
    assert sentence in refusal(TEXT, "privacy.unit=example", NO_CLAIM, override)


def test_a_fit_that_pays_for_single_records_is_refused() -> None:
    fit = 'data.harmonise=[{ name = "standardise", noise_multiplier = 50.0, bound = 3.0 }]'
    assert "epsilons of two units are never added" in refusal(TEXT, fit)


def test_a_rule_of_its_own_is_fine_over_updates_with_local_noise() -> None:
    assert of_clients("defense.rule=median").defense.rule.name == "median"


def test_batch_norms_that_became_group_norms_are_fine() -> None:
    assert of_clients(*BATCH_NORM, "model.batch_norm=group").protects_clients


def test_no_audit_of_single_records_looks_at_it() -> None:
    with pytest.raises(ScenarioError, match="audits look for single records"):
        Inquiry(of_clients(), "server")


def test_it_does_not_run_between_sites_yet() -> None:
    with pytest.raises(ScenarioError, match="unit = 'client' does not run between sites yet"):
        check_deployable(of_clients())
