"""Where noise is added: what each place needs, how much it adds, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl.errors import ScenarioError
from securefl.privacy.accounting.calibration import calibrate_event
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent, SampledGaussian
from securefl.privacy.past import NO_PAST, Past
from securefl.runs.names import cell_hash
from securefl.scenario.assemble.central import noise_of_sums
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.assemble.parts import parts
from securefl.scenario.budget import outlook
from securefl.scenario.release import common_noise
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.scenario.texts import refusal

HEART = """
rounds = 30
data = { name = "heart", partition = "natural" }
training = { kind = "clipped_gradient", lr = 1.0, clip = 0.5 }
privacy = { epsilon = 8.0, noise = "seeded", place = "distributed", records = [200, 173, 31, 86] }
channel = { kind = "masked" }
"""
LOCAL, CENTRAL = 'privacy.place="local"', 'privacy.place="central"'
REFUSED: list[tuple[str, tuple[str, ...]]] = [
    # Training by one sum a round.
    ("training.batch has no effect with training.kind =", ("training.batch=32",)),
    ("training.epochs has no effect with training.kind", ("training.epochs=1",)),
    ("training.optimizer is for steps at the sites", ('training.optimizer="sgd"',)),
    ("training.fine_tune is for steps at the sites", ("training.fine_tune=1",)),
    (
        "training.algorithm = 'fedprox' changes steps",
        ('training.algorithm="fedprox"', "training.mu=0.1"),
    ),
    ("weights = 'reported': with training.kind", ('weights="reported"', "privacy.epsilon=inf")),
    ("server.step = 'fedadam' would be a second step", ('server.step="fedadam"',)),
    ("one server takes the steps", ('topology.kind="cyclic"', 'channel.kind="plain"', LOCAL)),
    ("training.ema: input should be less than 1", ("training.ema=1.0",)),
    ("training.sample_rate: input should be less than 1", ("training.sample_rate=1.0",)),
    ("practice.sampling: clipped_gradient has 'full'", ('practice.sampling="poisson"',)),
    # Noise of a whole sum.
    ("a sum in which shares of noise add up, and plain has none", ('channel.kind="plain"',)),
    ("a sum in which shares of noise add up, and ckks has none", ('channel.kind="ckks"',)),
    ("channel.ring = 16 is too coarse", ("channel.ring=16",)),
    ("channel.clip = 0.4 would cut coordinates", ("channel.clip=0.4",)),
    ("channel.clip = 4 would cut coordinates", ("training.sample_rate=0.1",)),
    ("channel.clip = 4 would cut updates off, whose coordinates may be 5",
     ("training.sample_rate=0.1", CENTRAL)),
    ("a record has a part in several steps", ('training={kind="dp_sgd"}',)),
    ("a record has a part in several steps", ('training={kind="dp_sgd"}', CENTRAL)),
    ("the noise is sized for the mean, and does not cover median",
     (CENTRAL, 'channel.kind="plain"', 'defense.rule="median"')),
    ("the noise is sized for the mean, and does not cover clip_norms",
     (CENTRAL, 'channel.kind="plain"',
      'defense.prefilters=[{name="clip_norms", norm=1.0}]')),
    ("2 corrupt clients know their shares", ('attack={name="sign_flip",clients=[0,1]}',)),
    ("2 of 4 clients are left in round 3, and a sum with enough shares of noise needs 3",
     ("simulate.drop=[{client=1,round=3,stage=3},{client=2,round=3,stage=1}]",)),
    ("2 of 4 clients are left in round 0", ("simulate.missing=[1,3]",)),
    ("privacy.delta must be below", ("privacy.delta=0.01",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "overrides"), REFUSED, ids=[str(number) for number in range(len(REFUSED))]
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    reason: str, overrides: tuple[str, ...]
) -> None:
    assert reason in refusal(HEART, *overrides)


@pytest.mark.parametrize("key", ["sample_rate=0.5", "ema=0.9"])
def test_keys_of_sums_are_refused_for_local_steps(key: str) -> None:
    overrides = ('training={kind="dp_sgd"}', LOCAL, f"training.{key}")
    assert "has an effect with training.kind = 'clipped_gradient' only" in refusal(
        HEART, *overrides
    )


def scenario(*overrides: str) -> Scenario:
    return parse_scenario(HEART, overrides=overrides)


def test_one_of_four_may_drop_out_of_distributed_noise() -> None:
    dropped = "simulate.drop=[{client=1,round=3,stage=3},{client=2,round=4,stage=3}]"
    assert scenario(dropped).facts.release(1.0)
    assert scenario("simulate.missing=[2]").facts.release(1.0)
    # Others count no shares.
    assert scenario(
        CENTRAL, "simulate.drop=[{client=1,round=3,stage=3},{client=2,round=3,stage=3}]"
    )


@pytest.mark.parametrize(
    ("overrides", "sensitivity", "length", "rate"),
    [
        # The largest site has all of the unit, and one of its 200 records .5 / 200.
        ((), 0.5 / 200, 0.5, 1.0),
        # With equal weights one of the 31 records of the smallest site moves the sum most.
        (('weights="equal"',), 0.5 / 31, 0.5, 1.0),
        (("training.sample_rate=0.25",), 2.0 / 200, 2.0, 0.25),
        (("training.clip=1.0", 'weights="equal"', "training.sample_rate=0.5"), 2.0 / 31, 2.0, 0.5),
    ],
)
def test_the_part_of_a_record_in_a_sum_known_answer(
    overrides: tuple[str, ...], sensitivity: float, length: float, rate: float
) -> None:
    assert scenario(*overrides).facts.in_sum == pytest.approx((sensitivity, length, rate))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("privacy.epsilon=1.0",),
        (CENTRAL,),
        (CENTRAL, "training.sample_rate=0.25"),
        ("training.sample_rate=0.25",),
        (CENTRAL, 'channel.kind="plain"'),
    ],
)
def test_calibrated_noise_spends_the_claim_and_no_more(overrides: tuple[str, ...]) -> None:
    checked = scenario(*overrides)
    noise = checked.facts.common_noise
    spent = epsilon({checked.facts.release(noise): 30}, delta=1e-5)
    assert checked.privacy is not None
    claimed = checked.privacy.epsilon
    assert 0.99 * claimed < spent <= claimed
    assert noise == noise_of_sums(checked, None, lambda kind, key, make: make())
    # Every party computes it for itself: few digits, so that all get the same.
    assert noise == pytest.approx(float(f"{noise:.6g}"), rel=1e-12)


def test_calibrated_noise_is_rounded_up() -> None:
    checked = scenario(CENTRAL)
    exact = calibrate_event(8.0, checked.facts.release, 30, 1e-5)
    assert exact < checked.facts.common_noise < exact * (1 + 1e-5)


def test_the_event_of_distributed_noise_counts_the_fewest_honest_shares() -> None:
    event = scenario().facts.release(3.0)
    assert isinstance(event, DiscreteGaussianSum)
    # Of four clients a sum takes three, one of whom may be corrupt.
    assert event.shares == 2
    assert event.noise_multiplier == pytest.approx(3.0)
    assert event.sensitivity == pytest.approx(0.5 / 200, rel=1e-3)
    assert event.sensitivity > 0.5 / 200
    assert event.dimension == scenario().facts.coordinates


def test_a_channel_without_shares_has_no_cheaper_price_for_them() -> None:
    facts = scenario().facts
    facts.channel = replace(facts.channel, release=None)
    with pytest.raises(ValueError, match="masked adds up no shares of noise"):
        facts.release(3.0)


def test_a_grid_too_coarse_for_little_noise_may_have_room_for_more() -> None:
    checked = scenario()
    release = checked.facts.release

    def coarse(multiplier: float) -> PrivacyEvent:
        if multiplier < 0.5:
            raise ValueError("the shares of noise are below 0.5 steps")
        return release(multiplier)

    noise = common_noise(checked, coarse, 30)
    assert noise == checked.facts.common_noise

    def nothing(multiplier: float) -> PrivacyEvent:
        raise ValueError("no grid")

    with pytest.raises(ScenarioError, match="channel: no grid"):
        common_noise(checked, nothing, 30)


def test_without_a_claim_no_noise_is_added_anywhere() -> None:
    for place in ('privacy.place="distributed"', CENTRAL, LOCAL):
        free = scenario("privacy.epsilon=inf", place)
        assert free.facts.common_noise == 0.0
        assert free.facts.shares(0.0) is None


def test_a_given_multiplier_is_used_as_it_is() -> None:
    for place in ('privacy.place="distributed"', CENTRAL):
        assert scenario(place, "privacy.noise_multiplier=4.5").facts.common_noise == 4.5


def test_clients_with_the_most_behind_them_decide_about_the_noise_of_all() -> None:
    checked = scenario(CENTRAL)
    spent: dict[PrivacyEvent, int] = {SampledGaussian(1.0, 5.0, 1): 20}
    past = Past(("0" * 64,), tuple(spent.items()))
    origin = Origin(torch.zeros(1), {2: past})
    alone = noise_of_sums(checked, None, fresh)
    after = noise_of_sums(checked, origin, fresh)
    assert after > alone
    total: dict[PrivacyEvent, int] = {**spent, checked.facts.release(after): 30}
    assert 7.9 < epsilon(total, delta=1e-5) <= 8.0


def fresh(kind: str, key: object, make: object) -> object:
    return make()  # type: ignore[operator]


def test_a_past_that_leaves_nothing_is_refused() -> None:
    past = Past(("0" * 64,), ((SampledGaussian(1.0, 1.0, 1), 50),))
    checked = scenario(CENTRAL)
    with pytest.raises(ScenarioError, match=r"privacy.epsilon: earlier releases have spent"):
        common_noise(checked, checked.facts.release, 30, [NO_PAST, past])


# --- what follows


@pytest.mark.parametrize("place", [LOCAL, 'privacy.place="distributed"', CENTRAL])
def test_parts_of_a_place(place: str, tmp_path: Path) -> None:
    checked = scenario(place)
    made = parts(checked, run="run", ledgers=tmp_path)
    costs = {trainer.cost for trainer in made.trainers.values()}
    (cost,) = costs
    deviations = {plan.deviation for plan in made.local.plans.values()}  # type: ignore[attr-defined]
    if place == LOCAL:
        assert isinstance(cost, SampledGaussian)
        # The clip, and what float32 rounds away of 200, 173, 31 or 86 clips.
        clips = [deviation / 0.5 / cost.noise_multiplier for deviation in deviations]
        more = sorted((200, 173, 31, 86))
        expected = [1 + records * (2.0**-23 + 2.0**-25) for records in more]
        assert sorted(clips) == pytest.approx(expected, rel=1e-9)
        assert made.plan.noise is None
        return
    assert deviations == {0.0}
    assert cost == checked.facts.release(checked.facts.common_noise)
    assert (made.plan.noise is None) is (place == CENTRAL)
    if made.plan.noise is not None:
        assert made.plan.noise == checked.facts.shares(checked.facts.common_noise)


def test_too_little_noise_ends_a_run_early() -> None:
    for place in ('privacy.place="distributed"', CENTRAL):
        forecast = outlook(scenario(place, "privacy.noise_multiplier=2.0"))
        assert forecast.ends is not None
        assert 0 < forecast.ends < 30


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "of each sum, for 2 honest shares of 4 clients; the claim holds against the server "
             "together with up to 1 client of a sum"),
        ((CENTRAL,), "NOT against the server, which opens the sum and adds the noise"),
        ((CENTRAL, 'channel.kind="plain"'), "which sees every update without noise"),
        ((CENTRAL, 'channel.kind="ckks"'), "a model and no key, and can change no ciphertext"),
    ],
)  # fmt: skip
def test_a_summary_says_whom_the_claim_holds_against(
    overrides: tuple[str, ...], words: str
) -> None:
    text = summary(scenario(*overrides))
    assert words in text
    assert "batch" not in text


def test_local_noise_needs_no_such_words() -> None:
    assert "claim holds against" not in summary(scenario(LOCAL))


def test_a_scenario_of_sums_is_the_same_when_it_is_read_back() -> None:
    keys = ("training.ema=0.9", "training.sample_rate=0.5", "training.momentum=0.5")
    first = scenario(*keys)
    again = make_scenario(first.resolved())
    assert cell_hash(again.resolved()) == cell_hash(first.resolved())
    assert "batch" not in first.resolved()["training"]
    assert first.resolved()["practice"]["sampling"] == "poisson"
    assert scenario().resolved()["practice"]["sampling"] == "full"
    assert "each record with probability 0.5" in summary(first)
    assert "moving average of models 0.9" in summary(first)
