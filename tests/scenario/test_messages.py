"""Mistakes in names of keys and in kinds of values, each as one sentence."""

import pytest

from securefl.errors import ScenarioError
from securefl.scenario.scenario import parse_scenario
from tests.scenario.texts import refusal

SIGN_FLIP = 'attack = {{ name = "sign_flip", scale = {}, clients = {} }}'.format


SHAPES: list[tuple[str, str]] = [
    (
        SIGN_FLIP(1, "[0]")[:-2] + ', knows = "nothing" }',
        "attack.knows: input should be 'own' or 'omniscient', got 'nothing'",
    ),
    (
        'channel = { kind = "masked", ring = 24 }',
        "channel.ring: input should be 16, 32 or 64, got 24",
    ),
    (
        'channel = { kind = "masked", corrupt = 0 }',
        "channel.corrupt: input should be greater than or equal to 1, got 0",
    ),
    (
        'channel = { kind = "masked", clip = 0.0 }',
        "channel.clip: input should be greater than or equal to",
    ),
    ('channel = { kind = "masked", clip = nan }', "channel.clip: input should be"),
    (
        'channel = { kind = "masked", rounding = "up" }',
        "channel.rounding: input should be 'nearest' or 'stochastic'",
    ),
    (
        'channel = { kind = "masked", reveal_counts = 1 }',
        "channel.reveal_counts: input should be a valid boolean",
    ),
    (
        'channel = { kind = "masked", secrets = "seed" }',
        "channel.secrets: input should be 'system' or 'seeded'",
    ),
    ("rounds = 0", "rounds: input should be greater than or equal to 1, got 0"),
    ("rounds = 1000001", "rounds: input should be less than or equal to 1000000"),
    ('rounds = "many"', "rounds: input should be a valid integer"),
    ("rounds = true", "rounds: input should be a valid integer, got true"),
    ("data = 3", "data: input should be a table, got 3"),
    ('seed = "1"', "seed: input should be a valid integer, got '1'"),
    ('training = { lr = "0.5" }', "training.lr: input should be a valid number, got '0.5'"),
    ("data = { alpha = 0.0001 }", "data.alpha: input should be greater than or equal to 0.001"),
    (
        'privacy = { epsilon = "infinite" }',
        "privacy.epsilon: input should be a valid number, got 'infinite'",
    ),
    ("seed = -1", "seed: input should be greater than or equal to 0, got -1"),
    (
        "training = { lr = 0 }",
        "training.lr: input should be greater than or equal to 0.000001, got 0",
    ),
    (
        "training = { lr = inf }",
        "training.lr: input should be less than or equal to 1000000, got inf",
    ),
    (
        "training = { clip = -1.0 }",
        "training.clip: input should be greater than or equal to 0.000001",
    ),
    ("training = { batch = 0 }", "training.batch: input should be greater than or equal to 1"),
    ("training = 3", "training: input should be a table"),
    ("privacy = 3", "privacy: input should be a table"),
    ("channel = 3", "channel: input should be a table"),
    (
        "channel = { min_cohort = 0 }",
        "channel.min_cohort: input should be greater than or equal to 1, got 0",
    ),
    ("privacy = { epsilon = 0 }", "privacy.epsilon: input should be greater than 0, got 0"),
    ("privacy = { epsilon = nan }", "privacy.epsilon: input should be greater than 0, got nan"),
    (
        "privacy = { delta = 0 }",
        "privacy.delta: input should be greater than or equal to 0.00000000000001",
    ),
    ("privacy = { delta = 1 }", "privacy.delta: input should be less than 1"),
    ("privacy = { delta = nan }", "privacy.delta: input should be"),
    (
        "privacy = { records = [0, 1, 1, 1] }",
        "privacy.records.0: input should be greater than or equal to 1, got 0",
    ),
    (
        'privacy = { noise = "none" }',
        "privacy.noise: input should be 'system' or 'seeded', got 'none'",
    ),
    (
        "privacy = { noise_multiplier = 0 }",
        "privacy.noise_multiplier: input should be greater than or equal to 0.1",
    ),
    (
        'weights = "by ear"',
        "weights: input should be 'declared', 'equal' or 'reported', got 'by ear'",
    ),
    ("model = {}", "model.name: field required"),
    ("model = 3", "model: input should be a table"),
    ("cohort = {}", "cohort.size: field required"),
    ("attack = { clients = [0] }", "attack.name: field required"),
    ('attack = { name = "sign_flip", scale = 1 }', "attack.clients: field required"),
    (SIGN_FLIP(1, "[]"), "attack.clients: list should have at least 1 item"),
    (SIGN_FLIP(1, "[-1]"), "attack.clients.0: input should be greater than or equal to 0, got -1"),
    (
        "simulate = { drop = [{ client = 0, round = 0, stage = 0 }] }",
        "simulate.drop.0.stage: input should be greater",
    ),
    ("simulate = { drop = [3] }", "simulate.drop.0: input should be a table"),
]


@pytest.mark.parametrize(("text", "sentence"), SHAPES)
def test_a_value_of_another_kind_or_range_is_refused_with_its_key(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sed = 1", "unknown key 'sed'; did you mean 'seed'?"),
        ("privcy = {}", "unknown key 'privcy'; did you mean 'privacy'?"),
        ('data = { nam = "heart" }', "unknown key 'data.nam'; did you mean 'name'?"),
        ("training = { epoch = 1 }", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("privacy = { epsilom = 1 }", "unknown key 'privacy.epsilom'; did you mean 'epsilon'?"),
        ("cohort = { sise = 3 }", "unknown key 'cohort.sise'; did you mean 'size'?"),
        (
            "channel = { min_cohor = 3 }",
            "unknown key 'channel.min_cohor'; did you mean 'min_cohort'?",
        ),
        (
            'channel = { kind = "plain", rong = 32 }',
            "unknown key 'channel.rong'; did you mean 'ring'?",
        ),
        ("simulate = { dropp = [] }", "unknown key 'simulate.dropp'; did you mean 'drop'?"),
        (
            "simulate = { drop = [{ client = 0, round = 0 }, { client = 0, round = 0, "
            "stag = 1 }] }",
            "unknown key 'simulate.drop.1.stag'; did you mean 'stage'?",
        ),
        (
            "simulate = { late = [{ clint = 0, round = 0 }] }",
            "unknown key 'simulate.late.0.clint'; did you mean 'client'?",
        ),
        (
            "simulate = { late = [{ client = 0, round = 0, stage = 1 }] }",
            "'simulate.late.0.stage'; known keys here: client, round",
        ),
        ('defense = { rul = "mean" }', "unknown key 'defense.rul'; did you mean 'rule'?"),
        (
            "zzz = 1",
            "unknown key 'zzz'; known keys here: seed, rounds, data, model, training, "
            "privacy, practice",
        ),
        (
            "data = { qqq = 1 }",
            "unknown key 'data.qqq'; known keys here: name, partition, clients, split_seed, only",
        ),
        ('"a\\nb" = 1', "unknown key 'a\\nb'; known keys here: "),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_all_mistakes_in_keys_and_values_are_listed_one_a_line() -> None:
    text = """
    rounds = 0
    sed = 1
    training = { lr = "fast", epoch = 2 }
    cohort = { sise = 3 }
    """
    with pytest.raises(ScenarioError, match=r"\S") as refused:
        parse_scenario(text)
    assert str(refused.value).splitlines() == [
        "unknown key 'training.epoch'; did you mean 'epochs'?",
        "unknown key 'cohort.sise'; did you mean 'size'?",
        "unknown key 'sed'; did you mean 'seed'?",
        "rounds: input should be greater than or equal to 1, got 0",
        "training.lr: input should be a valid number, got 'fast'",
    ]


def test_a_list_whose_entries_are_refused_is_not_said_to_be_short() -> None:
    assert refusal(SIGN_FLIP(1, "[-1]")) == (
        "attack.clients.0: input should be greater than or equal to 0, got -1"
    )


def test_a_key_by_the_name_that_other_tools_give_it_is_answered_with_ours() -> None:
    assert refusal("", "training.learning_rate=0.1") == (
        "unknown key 'training.learning_rate'; here it is 'lr'"
    )
    assert refusal("", "training.num_rounds=3").startswith("unknown key 'training.num_rounds'; kn")
