"""Sentences that refuse a scenario say what to do instead, and whoever does it gets a scenario."""

import re

import pytest

from securefl.audit.canaries import Canaries
from securefl.audit.inquiry import misfit
from securefl.rng import seeded_keystream
from securefl.scenario.scenario import parse_scenario
from tests.scenario.test_place import CENTRAL, HEART, LOCAL
from tests.scenario.test_unit import TEXT
from tests.scenario.texts import SGD, refusal

CLIENTS = """
rounds = 5
data = { name = "digits", partition = "iid", clients = 30 }
training = { kind = "sgd", batch = 8, lr = 0.5, clip = 1.0 }
privacy = { unit = "client", place = "distributed", epsilon = 8.0, delta = 1e-3 }
cohort = { size = 7, sampling = "poisson" }
channel = { kind = "masked" }
weights = "equal"
"""
TWO = ("cohort.size=2",)
GIVEN = "privacy.noise_multiplier=4.0"  # calibration would take most of the time here
SOME_NOISE = "use 'clipped_gradient', or privacy.unit = 'client' with 20 clients or more, or remove"
# A scenario, what is wrong with it, a part of the sentence, and what the sentence makes of it.
ADVICE: list[tuple[str, tuple[str, ...], str, tuple[str, ...]]] = [
    # A place of noise needs a way of training with noise that has this place.
    (HEART, ("training={}", "training.kind=sgd"), SOME_NOISE, ("training.kind=clipped_gradient",)),
    (
        HEART,
        ("training={}", "training.kind=sgd", CENTRAL),
        SOME_NOISE,
        ("training.kind=clipped_gradient", CENTRAL),
    ),
    (
        CLIENTS,
        ("cohort={ size = 7 }", "channel.clip=6.0", "privacy.unit=example"),
        SOME_NOISE,
        ("cohort={ size = 7 }", "channel.clip=6.0"),
    ),
    (
        HEART,
        ("training={}", "training.kind=sgd", LOCAL),
        "has no noise behind it with training.kind = 'sgd'; use 'dp_sgd', or remove",
        ("training={}", "training.kind=dp_sgd", LOCAL),
    ),
    # Too few clients for a sum.
    (
        HEART,
        ("channel.corrupt=3",),
        "channel.corrupt = 3 needs 5 clients or more in a round, and there are 4; "
        "use channel.corrupt = 2, or more clients",
        ("channel.corrupt=2",),
    ),
    (
        HEART,
        TWO,
        "and there are 2; use channel.kind = 'plain' and privacy.place = 'local', or more clients",
        (*TWO, "channel.kind=plain", LOCAL),
    ),
    (
        HEART,
        (*TWO, LOCAL),
        "and there are 2; use channel.kind = 'plain', or more clients",
        (*TWO, "channel.kind=plain", LOCAL),
    ),
    # Keys without effect.
    (
        HEART,
        ("model.name=logistic", "training.physical_batch=64"),
        "training.physical_batch = 64 has no effect with logistic, whose clipped gradients are",
        ("model.name=logistic",),
    ),
    (
        CLIENTS,
        ("channel.clip=5.0", 'evaluate={ leave = "noisy", epsilon = 1.0 }'),
        "pays for single test records, and privacy.unit = 'client' covers all that a client holds",
        ("channel.clip=5.0", 'evaluate={ leave = "sums" }'),
    ),
    (
        HEART,
        ('model={ name = "auto", pooling = 3 }',),
        "model (auto chose logistic): logistic takes no parameters, got 'pooling'",
        ("model=auto",),
    ),
]


@pytest.mark.parametrize(("text", "wrong", "sentence", "right"), ADVICE, ids=range(len(ADVICE)))
def test_what_a_sentence_says_to_do_is_accepted(
    text: str, wrong: tuple[str, ...], sentence: str, right: tuple[str, ...]
) -> None:
    assert sentence in refusal(text, *wrong)
    assert parse_scenario(text, overrides=right)


@pytest.mark.parametrize("place", ["distributed", "central"])
@pytest.mark.parametrize(
    "overrides",
    [
        ("cohort.size=7",),
        ("cohort.size=7", "training.clip_quantile=0.5"),
        ("cohort.size=3", "training.clip=0.7"),
        ("cohort.size=11", "training.clip=3.3", "training.clip_quantile=0.9"),
    ],
)
def test_the_clip_that_a_sentence_names_is_enough(place: str, overrides: tuple[str, ...]) -> None:
    _follows_the_clip(CLIENTS, f"privacy.place={place}", GIVEN, *overrides)


@pytest.mark.parametrize("place", ["distributed", "central"])
@pytest.mark.parametrize("rate", [0.03, 0.07, 0.011])
def test_the_clip_that_a_sentence_on_records_names_is_enough(place: str, rate: float) -> None:
    _follows_the_clip(HEART, f"privacy.place={place}", GIVEN, f"training.sample_rate={rate}")


def _follows_the_clip(text: str, *overrides: str) -> None:
    refused = refusal(text, "channel.clip=1.0", *overrides)
    (clip,) = re.findall(r"use channel\.clip = (\S+) or more", refused)
    assert parse_scenario(text, overrides=(*overrides, f"channel.clip={float(clip)}"))
    # It is no more than a thousandth above what is needed.
    below = f"channel.clip={float(clip) * 0.998}"
    assert f"use channel.clip = {clip} or more" in refusal(text, *overrides, below)


def test_a_clip_that_follows_a_quantile_is_not_said_to_bound_what_is_sent() -> None:
    adaptive = refusal(CLIENTS, CENTRAL, GIVEN, "training.clip_quantile=0.5")
    assert "updates are sent in units of their clip" in adaptive
    assert "that follows from training.clip and" not in adaptive
    assert "that follows from training.clip and" in refusal(CLIENTS, CENTRAL, GIVEN)
    assert "that is training.clip / training.sample_rate" in refusal(
        HEART, CENTRAL, GIVEN, "training.sample_rate=0.03"
    )


@pytest.mark.parametrize("place", ["local", "distributed", "central"])
@pytest.mark.parametrize("coins", [True, False])
def test_the_scenario_that_an_audit_asks_for_can_be_audited(place: str, coins: bool) -> None:
    where = (f"privacy.place={place}", GIVEN, 'channel={ kind = "masked" }', "privacy.delta=1e-4")
    cohort = ('cohort={ size = 20, sampling = "poisson" }',) if coins else ()
    why_not = misfit(parse_scenario(TEXT, overrides=(*where, *cohort)), "outsider-weights")
    keys = "privacy.unit = 'example' and training.kind = '(\\w+)'(, without cohort.sampling)?$"
    ((kind, without),) = re.findall(keys, why_not)
    assert bool(without) is coins
    assert kind == ("dp_sgd" if place == "local" else "clipped_gradient")
    training = f'training={{ kind = "{kind}", lr = 0.5, clip = 0.5 }}'
    records = f"privacy.records={[40] * 40}"
    asked = parse_scenario(
        TEXT, overrides=(*where, "privacy.unit=example", training, records, "weights=declared")
    )
    assert misfit(asked, "outsider-weights") == ""


def test_the_grid_that_an_audit_asks_for_has_room_for_canaries() -> None:
    text = SGD + 'data = { name = "medmnist:breastmnist" }\nmodel = { name = "scattering" }'
    with pytest.raises(ValueError, match=r"with fixed features, model\.pooling = 7$"):
        _canaries(text, "model.pooling=3")
    assert _canaries(text, "model.pooling=7")


def _canaries(text: str, *overrides: str) -> Canaries:
    coordinates = parse_scenario(text, overrides=overrides).facts.coordinates
    return Canaries(coordinates, norm=1.0, stream=seeded_keystream(1, "canaries"))
