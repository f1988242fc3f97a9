"""Names that the catalog does not have: unknown ones, near misses, and those of later versions."""

import pytest

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.declaration import PLANNED
from securefl.scenario.scenario import parse_scenario
from tests.scenario.texts import digits, refusal

UNKNOWN: list[tuple[str, str]] = [
    (
        'data = { name = "hart" }',
        "data.name: there is no 'hart', did you mean 'heart'? known: heart, digits",
    ),
    (
        'model = { name = "resnet1" }',
        "model.name: there is no 'resnet1', did you mean 'resnet18'? known: logistic, mlp",
    ),
    ('training = { kind = "adam" }', "training.kind: there is no 'adam'; known: sgd, dp_sgd"),
    (
        'channel = { kind = "maskd" }',
        "channel.kind: there is no 'maskd', did you mean 'masked'? known: plain",
    ),
    (
        'defense = { rule = "foolsgold" }',
        "defense.rule: there is no 'foolsgold'; known: mean, median, trimmed_mean, meam",
    ),
    (
        'server = { step = "sgd" }',
        "server.step: there is no 'sgd'; known: " + ", ".join(catalog.STEPS),
    ),
    ('privacy = { unit = "record" }', "privacy.unit: there is no 'record'; known: example"),
    ('privacy = { place = "here" }', "privacy.place: there is no 'here'; known: local"),
    (
        'attack = { name = "lie", clients = [0] }',
        "attack.name: there is no 'lie'; known: sign_flip, gaussian",
    ),
    (
        'data = { partition = "thirds" }',
        "data.partition: there is no 'thirds'; known: natural, halves, pooled",
    ),
    (
        digits('partition = "natural"'),
        "data.partition: there is no 'natural'; known: pooled, iid, dirichlet, quantity",
    ),
    (
        'channel = { kind = "bfv" }',
        "channel.kind = 'bfv' is not available yet; use 'plain' or 'masked' or 'ckks'",
    ),
    ('channel = { kind = "bfv", plain_modulus = 20 }', "channel.kind = 'bfv' is not available yet"),
    (
        'defense = { prefilters = ["clip"] }',
        "defense.prefilters: there is no 'clip'; known: nearest_neighbor_mixing, adapt",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), UNKNOWN)
def test_a_name_that_is_unknown_or_of_a_later_version_is_refused(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_everything_the_design_has_for_later_is_refused_as_not_yet_there() -> None:
    promised = {
        "channel.kind": {"bfv"},
    }
    assert {key: set(names) for key, names in PLANNED.items()} == promised


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("data.name=breastmnist", "medmnist:breastmnist"),
        ("data.name=Heart", "heart"),
        ("defense.rule=Krum", "krum"),
        ("defense.rule=multi-krum", "multi_krum"),
        ("channel.kind=CKKS", "ckks"),
    ],
)
def test_a_near_miss_is_answered_with_the_name_that_was_meant(given: str, meant: str) -> None:
    assert f", did you mean {meant!r}? known: " in refusal("", given)


def test_what_is_near_nothing_is_answered_with_all_names() -> None:
    assert "there is no 'medmnist:brainmnist'; known: heart, digits, " in refusal(
        "", "data.name=medmnist:brainmnist"
    )


def test_all_unknown_names_are_listed_one_a_line() -> None:
    text = 'model = "mpl"\ndefense = { rule = "Krum" }\nserver = { step = "sgd" }\n'
    with pytest.raises(ScenarioError, match=r"\S") as refused:
        parse_scenario(text)
    assert str(refused.value).splitlines() == [
        "model.name: there is no 'mpl'; known: " + ", ".join([*catalog.MODELS, "auto"]),
        "defense.rule: there is no 'Krum', did you mean 'krum'? known: " + ", ".join(catalog.RULES),
        "server.step: there is no 'sgd'; known: " + ", ".join(catalog.STEPS),
    ]
