"""Scenarios: what is accepted, what is refused with which sentence, and what is filled in.

Mutants killed, scenario: unknown keys ignored; values that change; each bound moved or its end included; strict types
forgotten; other defaults; planned channels named too late; no claim by default, or one for sgd; cross-checks left out;
cohort size, claim or repeatability wrong; anything not filled in; `only` ignored; epsilon inf as a number; unreadable
files or bytes let through; overrides lost, reversed, without key, value or words, unstripped, not reaching into names,
lost in new tables, or into what is no table; a misspelt key after a missing one, without its neighbour or its list, or
in a list of tables; the value or the small letter missing in the sentence.
compatibility: each group of checks left out, each check forgotten, moved by one, or applied without a claim; pooled,
`only` or declared sizes ignored; reported weights; parameters of the wrong type, too large, not finite, boolean,
unknown or missing; defaults not resolved, or in place of what is written.
catalog: what is provided offered as a parameter; a planned channel forgotten; other numbers of clients, records or
rows; another usual partition.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import check_parameters
from securefl.scenario.declaration import PLANNED, Declaration
from securefl.scenario.entries import ModelEntry, RuleEntry
from securefl.scenario.scenario import Scenario, load_scenario, parse_scenario

NOT_MASKED = dict.fromkeys(
    ("ring", "clip", "rounding", "corrupt", "max_weight", "secrets", "reveal_counts")
)
NOT_DEALT = dict.fromkeys(
    (
        "only",
        "held_out",
        "alpha",
        "classes",
        "minimum",
        "most",
        "share",
        "size",
        "label_noise",
        "test_on",
        "fold",
    )
)

# The two scenarios of the design, verbatim.
HEART = """
seed = 1
rounds = 20
data = { name = "heart", partition = "natural" }
model = { name = "logistic" }
training = { kind = "dp_sgd", batch = 32, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { unit = "example", place = "local", epsilon = 8.0, delta = 1e-5, noise = "system", records = [200, 173, 31, 86] }
channel = { kind = "masked", ring = 32, corrupt = 1, min_cohort = 3 }
defense = { prefilters = [], rule = "mean" }          # rule = { name = "krum", f = 1 }
attack = { name = "sign_flip", scale = 5.0, clients = [0], knows = "own" }
server = { step = "fedavg" }
"""  # noqa: RUF100, E501 - verbatim
DIGITS = """
seed = 2
rounds = 40
data = { name = "digits", partition = "iid", clients = 10, split_seed = 0 }
model = { name = "mlp", hidden = [32] }
training = { kind = "sgd", batch = 16, epochs = 1, lr = 0.3 }
cohort = { size = 10 }
weights = "equal"            # reported (only without a DP claim) | declared (from privacy.records)
channel = { kind = "masked", ring = 32, clip = 4.0, rounding = "stochastic" }     # clip is per coordinate
simulate = { drop = [{ client = 3, round = 2, stage = 3 }] }
defense = { rule = "mean" }
"""
SGD = 'training = { kind = "sgd" }\n'


def digits(keys: str = "") -> str:
    """Ten clients with digits and plain SGD; keys go into the data table."""
    return SGD + f'data = {{ name = "digits"{keys and ", " + keys} }}\n'


def test_prefilters_are_tables_or_names_in_their_order_with_defaults_filled_in() -> None:
    text = """defense = { prefilters = [{ name = "clip_norms", radius = 2.0 }, { name = "adaptive_clipping", f = 1 }],
    rule = { name = "multi_krum", f = 0 } }"""
    resolved = parse_scenario(text.replace("\n", "")).resolved()["defense"]
    assert resolved == {
        "prefilters": [
            {"name": "clip_norms", "radius": 2.0},
            {"name": "adaptive_clipping", "f": 1},
        ],
        "rule": {"name": "multi_krum", "f": 0},
    }
    assert parse_scenario('defense = { rule = "geometric_median" }').resolved()["defense"][
        "rule"
    ] == {
        "name": "geometric_median",
        "smoothing": 1e-6,
    }


def refusal(text: str, *overrides: str) -> str:
    """The one line with which text is refused."""
    with pytest.raises(ScenarioError, match=r"\S") as e:
        parse_scenario(text, overrides=overrides)
    assert e.value.exit_code == 2
    assert "\n" not in str(e.value)
    return str(e.value)


def test_the_first_scenario_of_the_design_is_accepted() -> None:
    scenario = parse_scenario(HEART)
    assert (scenario.seed, scenario.rounds, scenario.clients, scenario.cohort_size) == (1, 20, 4, 4)
    assert scenario.site_records == (200, 173, 31, 86)
    assert scenario.claims_dp
    assert not scenario.repeatable
    assert scenario.attack is not None
    assert (scenario.attack.name, scenario.attack.clients) == ("sign_flip", (0,))
    assert scenario.attack.parameters == {"scale": 5.0}
    assert scenario.channel.min_cohort == 3


def test_the_second_scenario_of_the_design_is_accepted() -> None:
    scenario = parse_scenario(DIGITS)
    assert (scenario.seed, scenario.rounds, scenario.clients, scenario.cohort_size) == (
        2,
        40,
        10,
        10,
    )
    assert scenario.site_records == (126,) * 7 + (125,) * 3
    assert scenario.model.parameters == {"hidden": [32]}
    assert scenario.privacy is None
    assert not scenario.claims_dp
    assert scenario.repeatable
    (drop,) = scenario.simulate.drop
    assert (drop.client, drop.round, drop.stage) == (3, 2, 3)


def test_an_empty_scenario_is_valid_and_its_defaults_are_the_safe_ones() -> None:
    scenario = parse_scenario("")
    assert scenario.resolved() == {
        "seed": 0,
        "rounds": 20,
        "data": {
            "name": "heart",
            "partition": "natural",
            "clients": 4,
            "split_seed": 0,
            **NOT_DEALT,
        },
        "model": {"name": "logistic"},
        "training": {"kind": "dp_sgd", "batch": 32, "epochs": 1, "lr": 0.5, "clip": 1.0},
        "privacy": {
            "unit": "example",
            "place": "local",
            "epsilon": 8.0,
            "delta": 1e-5,
            "noise": "system",
            "noise_multiplier": None,
            "records": [200, 173, 31, 86],
        },
        "practice": {
            "sampling": "poisson",
            "normaliser": "declared",
            "batches": "all",
            "statistics": "public",
            "layers": ["Linear"],
        },
        "cohort": {"size": 4},
        "weights": "declared",
        "init_from": None,
        "channel": {"kind": "plain", "min_cohort": 1, **NOT_MASKED},
        "simulate": {"drop": [], "late": [], "missing": []},
        "defense": {"prefilters": [], "rule": {"name": "mean"}},
        "attack": None,
        "server": {"step": "fedavg", "lr": 1.0},
        "rehearsal": None,
    }
    assert scenario.claims_dp


ACCEPTED: dict[str, str] = {
    "sgd needs no privacy": SGD,
    "sgd with an empty claim": SGD + "privacy = { epsilon = inf }",
    "infinite epsilon": "privacy = { epsilon = inf }",
    "a rule with f": 'defense = { rule = { name = "trimmed_mean", f = 1 } }',
    "krum with just enough rows": digits("clients = 5")
    + 'defense = { rule = { name = "krum", f = 1 } }',
    "trimmed_mean with just enough rows": digits()
    + 'cohort = { size = 5 }\ndefense = { rule = { name = "trimmed_mean", f = 2 } }',
    "masked at its smallest": digits("clients = 3") + 'channel = { kind = "masked" }',
    "masked with more corrupt clients": digits() + 'channel = { kind = "masked", corrupt = 8 }',
    "masked with reported weights that may be seen": SGD
    + 'weights = "reported"\nchannel = { kind = "masked", reveal_counts = true }',
    "masked in the smallest ring with weights beyond it": SGD
    + 'weights = "reported"\nchannel = { kind = "masked", ring = 16, max_weight = 70000, reveal_counts = true }',
    "masked with a set-up from the seed": 'channel = { kind = "masked", secrets = "seeded" }',
    "a model whose masked upload just fits": digits()
    + 'model = { name = "mlp", hidden = [WIDE] }\nchannel = { kind = "masked" }'.replace(
        "WIDE", ", ".join(32 * ["4096"])
    ),
    "every heart site": 'data = { partition = "halves" }',
    "pooled": 'data = { partition = "pooled" }',
    "one site": "data = { only = 3 }",
    "one site with its declared records": "data = { only = 3 }\nprivacy = { records = [86] }",
    "the last site of three": digits("clients = 3, only = 2"),
    "as many clients as records": digits("clients = 1257"),
    "all clients but one corrupt": 'attack = { name = "sign_flip", scale = 1, clients = [0, 1, 2] }',
    "gaussian": 'attack = { name = "gaussian", std = 200.0, clients = [3] }',
    "every step": 'server = { step = "fedadam", lr = 0.1, beta1 = 0.9, beta2 = 0.99, tau = 1e-3 }',
    "a step's own learning rate": 'server = { step = "fedavgm", lr = 1, momentum = 0 }',
    "mlp without hidden layers": 'model = { name = "mlp", hidden = [] }',
    "mlp by its name alone": 'model = "mlp"',
    "reported weights without a claim": SGD + 'weights = "reported"',
    "reported weights with an empty claim": 'privacy = { epsilon = inf }\nweights = "reported"',
    "late and silent": "simulate = { late = [{ client = 3, round = 19 }], drop = [{ client = 0, round = 0 }] }",
    "delta just below 1/n": "privacy = { delta = 0.0049 }",
    "a delta that claims nothing": "privacy = { epsilon = inf, delta = 0.5 }",
    "a minimum of everyone": "channel = { min_cohort = 4 }",
    "dirichlet with equal weights": digits('partition = "dirichlet", alpha = 0.1')
    + 'weights = "equal"',
    "dirichlet with reported weights": digits('partition = "dirichlet"') + 'weights = "reported"',
    "dirichlet with declared records": 'data = { partition = "dirichlet", clients = 2, minimum = 245 }\n'
    "privacy = { records = [200, 290] }",
    "an empty claim over drawn sizes": digits('partition = "dirichlet"')
    + 'weights = "equal"\nprivacy = { epsilon = inf }',
    "as many shards as records": digits('partition = "pathological", clients = 628')
    + 'weights = "equal"',
    "one site of a skewed split": digits('partition = "quantity", only = 3') + 'weights = "equal"',
    "the smallest epsilon": "privacy = { epsilon = 0.01 }",
    "the largest epsilon": "privacy = { epsilon = 100 }",
    "the widest layer": 'model = { name = "mlp", hidden = [4096] }',
    "noise by hand": "privacy = { noise_multiplier = 2.0 }",
}


@pytest.mark.parametrize(
    "text", ["", HEART, DIGITS, *ACCEPTED.values()], ids=["empty", "heart", "digits", *ACCEPTED]
)
def test_what_is_resolved_is_complete_json_and_means_the_same(text: str) -> None:
    scenario = parse_scenario(text)
    resolved = scenario.resolved()
    read_back = json.loads(json.dumps(resolved, allow_nan=False))
    assert read_back == resolved
    again = Scenario.model_validate(read_back)
    assert again.resolved() == resolved
    assert (again.clients, again.cohort_size) == (scenario.clients, scenario.cohort_size)
    assert (again.claims_dp, again.repeatable) == (scenario.claims_dp, scenario.repeatable)
    assert resolved.keys() == Scenario.model_fields.keys()


def test_what_is_resolved_fills_in_what_depends_on_the_data() -> None:
    resolved = parse_scenario(DIGITS).resolved()
    assert resolved["data"] == {
        "name": "digits",
        "partition": "iid",
        "clients": 10,
        "split_seed": 0,
        **NOT_DEALT,
    }
    assert resolved["cohort"] == {"size": 10}
    assert resolved["model"] == {"name": "mlp", "hidden": [32]}
    assert resolved["simulate"] == {
        "drop": [{"client": 3, "round": 2, "stage": 3}],
        "late": [],
        "missing": [],
    }
    masked = {"ring": 32, "clip": 4.0, "rounding": "stochastic", "corrupt": 1, "max_weight": None}
    masked |= {"secrets": "system", "reveal_counts": None}
    assert resolved["channel"] == {"kind": "masked", "min_cohort": 3, **masked}
    attack = parse_scenario(HEART).resolved()["attack"]
    assert attack == {"name": "sign_flip", "scale": 5.0, "clients": [0], "knows": "own"}
    one = parse_scenario("data = { only = 2 }").resolved()
    assert (one["data"]["clients"], one["cohort"], one["privacy"]["records"]) == (
        4,
        {"size": 1},
        [31],
    )
    assert parse_scenario("privacy = { epsilon = inf }").resolved()["privacy"]["epsilon"] == "inf"


@pytest.mark.parametrize(
    ("silent", "spoken"),
    [
        (
            "",
            'data = { partition = "natural", clients = 4 }\nserver = { step = "fedavg", lr = 1.0 }',
        ),
        ("data = { only = 1 }", "data = { only = 1, clients = 4 }\nprivacy = { records = [173] }"),
        ('model = "mlp"', 'model = { name = "mlp", hidden = [32] }'),
        (
            'server = { step = "fedavgm", lr = 0.5 }',
            'server = { step = "fedavgm", lr = 0.5, momentum = 0.9 }',
        ),
        (
            digits('partition = "dirichlet"') + 'weights = "equal"',
            digits('partition = "dirichlet", clients = 10, alpha = 0.5, minimum = 1')
            + 'weights = "equal"',
        ),
        (
            digits('partition = "pathological"') + 'weights = "equal"',
            digits('partition = "pathological", clients = 10, classes = 2') + 'weights = "equal"',
        ),
    ],
)
def test_a_default_is_resolved_to_what_it_would_be_if_it_were_written(
    silent: str, spoken: str
) -> None:
    assert parse_scenario(silent).resolved() == parse_scenario(spoken).resolved()


def test_what_is_written_is_resolved_as_it_is_written() -> None:
    server = parse_scenario('server = { step = "fedavgm", lr = 0.5 }').resolved()["server"]
    assert server == {"step": "fedavgm", "lr": 0.5, "momentum": 0.9}
    model = parse_scenario('model = { name = "mlp", hidden = [8, 4] }').resolved()["model"]
    assert model == {"name": "mlp", "hidden": [8, 4]}
    data = 'partition = "dirichlet", clients = 3, alpha = 0.1, minimum = 4'
    resolved = parse_scenario(digits(data) + 'weights = "equal"').resolved()["data"]
    assert (resolved["clients"], resolved["alpha"], resolved["minimum"], resolved["classes"]) == (
        3,
        0.1,
        4,
        None,
    )


def test_a_partition_that_is_drawn_has_no_public_sizes_unless_they_are_declared() -> None:
    with pytest.raises(ScenarioError, match=r"partition .quantity. has no published sizes") as e:
        _ = parse_scenario(digits('partition = "quantity"') + 'weights = "equal"').site_records
    assert e.value.exit_code == 2
    declared = parse_scenario(
        'data = { partition = "quantity", clients = 2 }\nprivacy = { records = [400, 90] }'
    )
    assert declared.site_records == (400, 90)


def test_a_scenario_cannot_be_changed() -> None:
    scenario = parse_scenario("")
    with pytest.raises(ValidationError, match="Instance is frozen"):
        scenario.seed = 3


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", (200, 173, 31, 86)),
        ('data = { partition = "halves" }', (100, 100, 87, 86, 16, 15, 44, 42)),
        ('data = { partition = "pooled" }', (490,)),
        ("data = { only = 1 }", (173,)),
        (digits("clients = 4"), (315, 314, 314, 314)),
        (digits('partition = "pooled"'), (1257,)),
        (digits("only = 9"), (125,)),
        (
            "privacy = { records = [9, 8, 7, 6] }",
            (9, 8, 7, 6),
        ),  # what is declared counts, whatever is there
    ],
)
def test_the_public_sizes_are_those_declared_or_published(
    text: str, sizes: tuple[int, ...]
) -> None:
    scenario = parse_scenario(text)
    assert scenario.site_records == sizes
    assert scenario.clients == scenario.cohort_size == len(sizes)


@pytest.mark.parametrize(
    ("text", "claims", "repeatable"),
    [
        ("", True, False),
        ('privacy = { noise = "seeded" }', True, True),
        ("privacy = { epsilon = inf }", False, False),
        ('privacy = { epsilon = "inf" }', False, False),
        (SGD, False, True),
        (SGD + "privacy = { epsilon = inf }", False, True),
    ],
)
def test_only_a_finite_epsilon_claims_dp_and_only_system_noise_cannot_be_repeated(
    text: str, claims: bool, repeatable: bool
) -> None:
    scenario = parse_scenario(text)
    assert scenario.claims_dp is claims
    assert scenario.repeatable is repeatable


def test_dp_sgd_without_a_privacy_table_gets_the_default_claim() -> None:
    for text in ("", "training = { lr = 1 }", 'training = { kind = "dp_sgd" }'):
        privacy = parse_scenario(text).privacy
        assert privacy is not None
        assert privacy.epsilon == 8.0
    assert parse_scenario(SGD).privacy is None


SIGN_FLIP = 'attack = {{ name = "sign_flip", scale = {}, clients = {} }}'.format
ROUNDS = "rounds = 3\n"

REFUSED: list[tuple[str, str]] = [
    # names
    (
        'data = { name = "hart" }',
        "data.name: there is no 'hart', did you mean 'heart'? known: heart, digits",
    ),
    (
        'model = { name = "resnet" }',
        "model.name: there is no 'resnet', did you mean 'resnet18'? known: logistic, mlp",
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
    ('defense = { rule = "bulyan" }', "defense.rule: bulyan needs f"),
    (
        'defense = { rule = { name = "bulyan", f = 1 } }',
        "bulyan with f=1 needs 7 rows, plain with 4 clients reveals 4: use a smaller f",
    ),
    (
        'defense = { rule = { name = "multi_krum", f = 0, m = 1.5 } }',
        "m of multi_krum must be an integer, got 1.5",
    ),
    (
        'defense = { rule = { name = "multi_krum", f = 0, m = 9 } }',
        "defense: multi_krum needs an m of 1 to n - f = 4",
    ),
    (
        'defense = { rule = { name = "centered_clipping", radius = 0.0 } }',
        "centered_clipping needs a radius > 0, got 0",
    ),
    (
        'defense = { rule = { name = "centered_clipping", radius = 1.0, start = 0 } }',
        "centered_clipping takes radius, iterations, got 'start'",
    ),
    (
        'defense = { rule = { name = "dnc", f = 1, filter = 0.5 } }',
        "dnc needs a filter of 1 or more",
    ),
    (
        'defense = { prefilters = ["nearest_neighbor_mixing"] }',
        "defense.prefilters: nearest_neighbor_mixing needs f",
    ),
    (
        'defense = { prefilters = [{ name = "nearest_neighbor_mixing", f = 2 }] }',
        "nearest_neighbor_mixing with f=2 needs 5 rows, plain with 4 clients reveals 4",
    ),
    (
        'defense = { prefilters = [{ name = "clip_norms", radius = -1.0 }] }',
        "defense: clip_norms needs a radius > 0",
    ),
    (
        'channel = { kind = "masked" }\ndefense = { prefilters = [{ name = "clip_norms", radius = 1.0 }] }',
        "defense.prefilters: clip_norms takes every update, and masked reveals one sum: use prefilters = [], or",
    ),
    (
        'server = { step = "sgd" }',
        "server.step: there is no 'sgd'; known: fedavg, fedavgm, fedadam",
    ),
    ('privacy = { unit = "record" }', "privacy.unit: there is no 'record'; known: example"),
    ('privacy = { place = "here" }', "privacy.place: there is no 'here'; known: local"),
    (
        'attack = { name = "lie", clients = [0] }',
        "attack.name: there is no 'lie'; known: sign_flip, gaussian",
    ),
    (
        SIGN_FLIP(1, "[0]")[:-2] + ', knows = "nothing" }',
        "attack.knows: input should be 'own' or 'omniscient', got 'nothing'",
    ),
    (
        'data = { partition = "thirds" }',
        "data.partition: there is no 'thirds'; known: natural, halves, pooled",
    ),
    (
        digits('partition = "natural"'),
        "data.partition: there is no 'natural'; known: pooled, iid, dirichlet, quantity",
    ),
    # not yet
    (
        'channel = { kind = "bfv" }',
        "channel.kind = 'bfv' is not available yet; use 'plain' or 'masked' or 'ckks'",
    ),
    ('channel = { kind = "bfv", plain_modulus = 20 }', "channel.kind = 'bfv' is not available yet"),
    # ckks
    ('channel = { kind = "ckks", ring = 32 }', "channel.ring has no effect with ckks; remove it"),
    (
        'channel = { kind = "ckks", corrupt = 1 }',
        "channel.corrupt has no effect with ckks; remove it",
    ),
    (
        'channel = { kind = "ckks", clip = 2048.0 }',
        "4 clients x 2048 could wrap around; use a clip of at most 2047.99",
    ),
    (
        'channel = { kind = "ckks" }\ndefense = { rule = "median" }',
        "median of the one sum that ckks reveals would be",
    ),
    ('channel = { kind = "plain", ring = 32 }', "channel.ring has no effect with plain; remove it"),
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
        digits("clients = 150") + 'channel = { kind = "masked", min_cohort = 76 }',
        "channel: min_cohort 76 exceeds the 75 clients of one sum",
    ),
    (
        'channel = { kind = "masked" }\nattack = { name = "sign_flip", scale = 1, clients = [0, 1] }',
        "attack.clients: 2 clients are corrupt, channel.corrupt declares 1; raise it",
    ),
    (
        SGD + "simulate = { missing = [0] }",
        "simulate.missing: plain has no set-up that a client could miss",
    ),
    (
        'channel = { kind = "masked" }\nsimulate = { missing = [4] }',
        "simulate: there is no client 4 among 4",
    ),
    (
        'channel = { kind = "masked", min_cohort = 2 }',
        "min_cohort must be at least corrupt + 2 = 3",
    ),
    (
        'channel = { kind = "masked", corrupt = 3 }',
        "channel.min_cohort: 5 exceeds the 4 clients of a round",
    ),
    (
        'channel = { kind = "masked" }\ncohort = { size = 2 }',
        "channel.min_cohort: 3 exceeds the 2 clients of a round",
    ),
    (
        'channel = { kind = "masked" }\ndata = { partition = "pooled" }',
        "channel.min_cohort: 3 exceeds the 1 clients of a round",
    ),
    (
        'channel = { kind = "masked" }\ndefense = { rule = { name = "krum", f = 1 } }',
        "krum with f=1 needs 5 rows, masked with 4 clients reveals 1: use channel.kind = 'plain', or",
    ),
    (
        'channel = { kind = "masked" }\ndefense = { rule = "median" }',
        "median of the one sum that masked reveals would be the mean: use rule = 'mean', or channel.kind = 'plain'",
    ),
    (
        SGD + 'weights = "reported"\nchannel = { kind = "masked" }',
        "weights = 'reported' shows the server each client's exact record count, under masked, too: say so with "
        "channel.reveal_counts = true, or use weights = 'equal' or 'declared'",
    ),
    (
        SGD + 'weights = "reported"\nchannel = { kind = "masked", reveal_counts = false }',
        "say so with channel.reveal_counts = true",
    ),
    (
        SGD + 'channel = { kind = "masked", reveal_counts = true }',
        "channel.reveal_counts has no effect with masked and weights = 'declared'; remove it",
    ),
    (
        SGD + 'weights = "reported"\nchannel = { kind = "ckks", reveal_counts = true }',
        "channel.reveal_counts has no effect with ckks and weights = 'reported'; remove it",
    ),
    (
        'channel = { kind = "masked", reveal_counts = 1 }',
        "channel.reveal_counts: input should be a valid boolean",
    ),
    ('channel = { secrets = "system" }', "channel.secrets has no effect with plain; remove it"),
    (
        'channel = { kind = "masked", secrets = "seed" }',
        "channel.secrets: input should be 'system' or 'seeded'",
    ),
    (
        digits()
        + 'model = { name = "mlp", hidden = [WIDE] }\nchannel = { kind = "masked" }'.replace(
            "WIDE", ", ".join(33 * ["4096"])
        ),
        "channel: a masked upload takes at most 2147483647 bytes, 537309194 coordinates in a ring of 2^32 take "
        "2149236816: use a smaller model or a smaller ring",
    ),
    (
        SGD + 'channel = { kind = "masked", max_weight = 500 }',
        "channel.max_weight has no effect with masked and weights = 'declared'; remove it",
    ),
    (
        'channel = { kind = "masked" }\nsimulate = { drop = [{ client = 0, round = 0, stage = 6 }] }',
        "simulate.drop: masked has 5 stages, got stage 6",
    ),
    (
        'training = { kind = "clipped_gradient" }',
        "training.kind = 'clipped_gradient' is not available yet; use 'sgd' or",
    ),
    (
        'privacy = { unit = "client" }',
        "privacy.unit = 'client' is not available yet; use 'example'",
    ),
    (
        'privacy = { place = "distributed" }',
        "privacy.place = 'distributed' is not available yet; use 'local'",
    ),
    ('privacy = { place = "central" }', "privacy.place = 'central' is not available yet"),
    (
        'attack = { name = "adaptive", clients = [0] }',
        'attack: adaptive needs what the others send: set attack.knows = "omniscient"',
    ),
    (
        'defense = { prefilters = ["clip"] }',
        "defense.prefilters: there is no 'clip'; known: nearest_neighbor_mixing, adapt",
    ),
    # data
    ("data = { clients = 5 }", "data.clients: heart with partition 'natural' has 4 clients, got 5"),
    (
        'data = { partition = "halves", clients = 4 }',
        "data.clients: heart with partition 'halves' has 8 clients, got 4",
    ),
    (
        digits('partition = "pooled", clients = 10'),
        "data.clients: digits with partition 'pooled' has 1 clients, got 10",
    ),
    ("data = { only = 4 }", "data.only: there is no site 4 among 4 with partition 'natural'"),
    (
        'data = { partition = "pooled", only = 0 }',
        "data.only: there is no site 0 among 1 with partition 'pooled'",
    ),
    (
        digits("clients = 1258"),
        "1 or more records each take 1258, digits has 1257 training records; use at most 1257 clients",
    ),
    (
        digits('partition = "quantity", clients = 1258'),
        "1258 clients with 1 or more records each take 1258, digits has 1257",
    ),
    (
        digits("clients = 2147483647"),
        "1 or more records each take 2147483647, digits has 1257 training records; use at most 1257 clients",
    ),
    (
        digits('partition = "dirichlet", minimum = 200'),
        "take 2000, digits has 1257 training records; use at most 6 clients or data.minimum of at most 125",
    ),
    (
        digits('partition = "pathological", clients = 629'),
        "use at most 628 clients",
    ),  # two classes a client
    (digits('partition = "pathological", classes = 200'), "use at most 6 clients"),
    (digits("alpha = 0.5"), "data.alpha has no effect with partition 'iid'; remove it"),
    ("data = { minimum = 2 }", "data.minimum has no effect with partition 'natural'; remove it"),
    (
        digits('partition = "dirichlet", classes = 2'),
        "data.classes has no effect with partition 'dirichlet'; remove it",
    ),
    (
        digits('partition = "pathological", alpha = 1.0'),
        "data.alpha has no effect with partition 'pathological'",
    ),
    (
        digits('partition = "dirichlet"'),
        "partition 'dirichlet' has no published sizes: declare privacy.records, or,",
    ),
    # privacy
    (
        'data = { partition = "quantity" }',
        "partition 'quantity' has no published sizes: declare privacy.records",
    ),
    (
        "privacy = { epsilon = 0.009 }",
        "privacy.epsilon must be from 0.01 to 100, got 0.009; inf runs without a claim",
    ),
    ("privacy = { epsilon = 101 }", "privacy.epsilon must be from 0.01 to 100, got 101"),
    (
        SGD + "privacy = {}",
        "privacy.epsilon = 8 has no noise behind it with training.kind = 'sgd'; use 'dp_sgd', or",
    ),
    (
        SGD + "privacy = { epsilon = inf, noise_multiplier = 1.0 }",
        "privacy.noise_multiplier has no effect with training.kind = 'sgd'",
    ),
    (
        "privacy = { records = [200, 173, 31] }",
        "privacy.records has one entry a client: 4 clients, got 3 entries",
    ),
    (
        "data = { only = 0 }\nprivacy = { records = [9, 9, 9, 9] }",
        "one entry a client: 1 clients, got 4 entries",
    ),
    (
        "privacy = { delta = 0.005 }",
        "privacy.delta must be below 1/n = 0.005 for 200 records, got 0.005; 1e-5 is",
    ),
    (
        "privacy = { delta = 0.01, records = [9, 9, 9, 100] }",
        "privacy.delta must be below 1/n = 0.01 for 100 records",
    ),
    # cohort and weights
    ("cohort = { size = 5 }", "cohort.size: 5 of 4 clients cannot be invited"),
    ("channel = { min_cohort = 5 }", "channel.min_cohort: 5 exceeds the 4 clients of a round"),
    (
        "cohort = { size = 2 }\nchannel = { min_cohort = 3 }",
        "channel.min_cohort: 3 exceeds the 2 clients of a round",
    ),
    (
        'weights = "reported"',
        "weights = 'reported' would tell the real record counts beside a DP claim; use 'declared'",
    ),
    # defense
    ('defense = { rule = "krum" }', "defense.rule: krum needs f"),
    (
        'defense = { rule = { name = "krum", f = 1 } }',
        "krum with f=1 needs 5 rows, plain with 4 clients reveals 4: use a smaller f, more clients in a round",
    ),
    (
        digits() + 'cohort = { size = 4 }\ndefense = { rule = { name = "trimmed_mean", f = 2 } }',
        "trimmed_mean with f=2 needs 5 rows, plain with 4 clients reveals 4",
    ),
    ('defense = { rule = { name = "krum", f = -1 } }', "defense.rule: f must be >= 0, got -1"),
    (
        'defense = { rule = { name = "krum", f = 0.5 } }',
        "defense.rule: f of krum must be an integer, got 0.5",
    ),
    (
        'defense = { rule = { name = "krum", f = true } }',
        "defense.rule: f of krum must be an integer, got True",
    ),
    (
        'defense = { rule = { name = "krum", f = "1" } }',
        "defense.rule: f of krum must be an integer, got '1'",
    ),
    (
        'defense = { rule = { name = "mean", f = 1 } }',
        "defense.rule: mean takes no parameters, got 'f'",
    ),
    ('defense = { rule = { name = "krum", f = 0, g = 1 } }', "defense.rule: krum takes f, got 'g'"),
    (
        'defense = { rule = { name = "mean", weights = 1 } }',
        "defense.rule: mean takes no parameters, got 'weights'",
    ),
    # attack
    (SIGN_FLIP(1, "[0, 0]"), "attack.clients: each client once, got [0, 0]"),
    (SIGN_FLIP(1, "[4]"), "attack.clients: there is no client 4 among 4"),
    (
        SIGN_FLIP(1, "[3, 2, 1, 0]"),
        "attack.clients: all 4 clients are corrupt, leave at least one honest",
    ),
    (SIGN_FLIP(-1, "[0]"), "attack: sign_flip needs scale finite and > 0, got scale=-1"),
    (SIGN_FLIP("inf", "[0]"), "attack: scale of sign_flip must be a finite number, got inf"),
    (SIGN_FLIP("[1]", "[0]"), "attack: scale of sign_flip must be a finite number, got [1]"),
    ('attack = { name = "sign_flip", clients = [0] }', "attack: sign_flip needs scale"),
    (
        'attack = { name = "gaussian", std = 1, generator = 1, clients = [0] }',
        "gaussian takes std, got 'generator'",
    ),
    # model and server
    (
        'model = { name = "logistic", hidden = [3] }',
        "model: logistic takes no parameters, got 'hidden'",
    ),
    (
        'model = { name = "mlp", hidden = 32 }',
        "model: hidden of mlp must be a list of integers, got 32",
    ),
    (
        'model = { name = "mlp", hidden = [1.5] }',
        "model: hidden of mlp must be a list of integers, got [1.5]",
    ),
    (
        'model = { name = "mlp", hidden = [[8]] }',
        "model: hidden of mlp must be a list of integers, got [[8]]",
    ),
    (
        'model = { name = "mlp", hidden = [0] }',
        "model: mlp needs hidden widths of 1 to 4096, got [0]",
    ),
    ('server = { step = "fedavg", momentum = 0.9 }', "server: fedavg takes lr, got 'momentum'"),
    ('server = { lr = "fast" }', "server: lr of fedavg must be a finite number, got 'fast'"),
    ("server = { lr = nan }", "server: lr of fedavg must be a finite number, got nan"),
    ("server = { lr = 1e7 }", "server: lr of fedavg must be at most 1e+06 in size"),
    (
        'model = { name = "mlp", hidden = [2000000000000] }',
        "model: hidden of mlp must be at most 1e+06 in size",
    ),
    (
        'model = { name = "mlp", hidden = [8, 4097] }',
        "model: mlp needs hidden widths of 1 to 4096, got [8, 4097]",
    ),
    # simulate
    ("simulate = { drop = [{ client = 4, round = 0 }] }", "simulate: there is no client 4 among 4"),
    ("simulate = { late = [{ client = 4, round = 0 }] }", "simulate: there is no client 4 among 4"),
    (
        ROUNDS + "simulate = { drop = [{ client = 0, round = 3 }] }",
        "simulate: there is no round 3 among 3 (from 0)",
    ),
    (
        ROUNDS + "simulate = { late = [{ client = 0, round = 3 }] }",
        "simulate: there is no round 3 among 3 (from 0)",
    ),
    (
        "simulate = { drop = [{ client = 0, round = 0, stage = 2 }] }",
        "simulate.drop: plain has 1 stage, got stage 2",
    ),
    # ranges and types
    ("rounds = 0", "rounds: input should be greater than or equal to 1, got 0"),
    ("rounds = 1000001", "rounds: input should be less than or equal to 1000000"),
    ('rounds = "many"', "rounds: input should be a valid integer"),
    ("rounds = true", "rounds: input should be a valid integer, got True"),
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
    # not TOML
    ("seed == 1", "the scenario is not valid TOML: "),
    ("seed = 1\nseed = 2", "the scenario is not valid TOML: "),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_cannot_work_is_refused_with_a_sentence(text: str, sentence: str) -> None:
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
            "simulate = { drop = [{ client = 0, round = 0 }, { client = 0, round = 0, stag = 1 }] }",
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
            "unknown key 'zzz'; known keys here: seed, rounds, data, model, training, privacy, practice",
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


# key.path=value -> where it ends up in what is resolved
SET: list[tuple[str, tuple[str, ...], object]] = [
    ("seed=7", ("seed",), 7),
    ("training.lr=0.25", ("training", "lr"), 0.25),
    ("training.lr = 1e-2", ("training", "lr"), 0.01),
    ("privacy.epsilon=inf", ("privacy", "epsilon"), "inf"),
    ("privacy.records=[9, 8, 7, 6]", ("privacy", "records"), [9, 8, 7, 6]),
    ("cohort.size=2", ("cohort", "size"), 2),
    ("cohort={ size = 3 }", ("cohort", "size"), 3),
    ("weights=equal", ("weights",), "equal"),
    (" weights =  equal ", ("weights",), "equal"),
    ('weights="equal"', ("weights",), "equal"),
    ("weights='equal'", ("weights",), "equal"),
    ("data.partition=halves", ("data", "partition"), "halves"),
    ("defense.rule=median", ("defense", "rule"), {"name": "median"}),
    ('defense.rule={ name = "krum", f = 0 }', ("defense", "rule"), {"name": "krum", "f": 0}),
    (
        "simulate.late=[{ client = 1, round = 2 }]",
        ("simulate", "late"),
        [{"client": 1, "round": 2}],
    ),
    (
        "server.step=fedadam",
        ("server",),
        {"step": "fedadam", "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3},
    ),
    ("model=mlp", ("model",), {"name": "mlp", "hidden": [32]}),
]


@pytest.mark.parametrize(
    ("override", "path", "value"), SET, ids=[override for override, _, _ in SET]
)
def test_an_override_sets_one_key(override: str, path: tuple[str, ...], value: object) -> None:
    found: Any = parse_scenario("", overrides=(override,)).resolved()
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_an_override_replaces_what_the_text_says_and_a_later_one_an_earlier_one() -> None:
    scenario = parse_scenario(HEART, overrides=("seed=5", "training.lr=2.0", "seed=6"))
    assert (scenario.seed, scenario.training.lr, scenario.training.clip) == (6, 2.0, 1.0)


def test_an_override_reaches_into_a_rule_or_model_given_by_its_name() -> None:
    rule = 'defense = { rule = "trimmed_mean" }'
    assert parse_scenario(rule, overrides=("defense.rule.f=1",)).defense.rule.parameters == {"f": 1}
    scenario = parse_scenario('model = "mlp"', overrides=("model.hidden=[8, 4]",))
    assert (scenario.model.name, scenario.model.parameters) == ("mlp", {"hidden": [8, 4]})


def test_overrides_are_checked_like_the_text() -> None:
    assert "krum with f=1 needs 5 rows" in refusal(
        'defense = { rule = "krum" }', "defense.rule.f=1"
    )
    assert "defense.rule.name: field required" in refusal("", "defense.rule.f=1")
    assert "unknown key 'sed'; did you mean 'seed'?" in refusal("", "sed=1")
    assert "channel.kind = 'bfv' is not available yet" in refusal(
        "", "channel.kind=bfv", "channel.ring=32"
    )
    assert "seed: input should be a valid integer" in refusal("", "seed=x")


@pytest.mark.parametrize("override", ["seed", "=3", "", "a..b=3", ".seed=3", "data.=3"])
def test_an_override_without_key_or_value_is_refused(override: str) -> None:
    assert refusal("", override) == f"--set takes key.path=value, got {override!r}"


@pytest.mark.parametrize(
    ("text", "override", "sentence"),
    [
        ("seed = 1", "seed.x=3", "--set seed.x: seed is not a table"),
        (DIGITS, "simulate.drop.client=1", "--set simulate.drop.client: drop is not a table"),
        (HEART, "privacy.epsilon.x=1", "--set privacy.epsilon.x: epsilon is not a table"),
    ],
)
def test_an_override_below_what_is_no_table_is_refused(
    text: str, override: str, sentence: str
) -> None:
    assert refusal(text, override) == sentence


def test_a_scenario_is_loaded_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(HEART + "# größer\n", encoding="utf-8")
    assert (
        load_scenario(path, overrides=("seed=9",)).resolved()
        == parse_scenario(HEART, overrides=("seed=9",)).resolved()
    )


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# gr\xf6\xdfer\n")
    for path, why in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "not UTF-8 text"),
    ):
        with pytest.raises(ScenarioError, match=f"cannot read .*{path.name}: {why}") as e:
            load_scenario(path)
        assert e.value.exit_code == 2
        assert "\n" not in str(e.value)


def test_everything_the_design_has_for_later_is_refused_as_not_yet_there() -> None:
    promised = {
        "channel.kind": {"bfv"},
        "privacy.unit": {"client"},
        "privacy.place": {"distributed", "central"},
        "training.kind": {"clipped_gradient"},
    }
    assert {key: set(names) for key, names in PLANNED.items()} == promised


def test_a_study_is_not_taken_for_a_scenario() -> None:
    assert refusal("seeds = 5").startswith("this is a study, not a scenario: use securefl bench")
    assert refusal("[axes]").startswith("this is a study")


def test_a_hospital_held_out_is_no_client_and_its_records_are_not_counted() -> None:
    scenario = parse_scenario("data = { held_out = 1 }")
    assert (scenario.clients, scenario.site_records) == (3, (200, 31, 86))
    assert parse_scenario('data = { held_out = 1, partition = "pooled" }').site_records == (317,)
    assert parse_scenario('data = { held_out = 1, partition = "pooled" }').clients == 1
    assert parse_scenario("data = { held_out = 1, only = 2 }").site_records == (31,)
    assert Scenario.model_validate(scenario.resolved()).resolved() == scenario.resolved()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("held_out = 4", "data.held_out: site 4 cannot be held out, there are 4 sites"),
        (
            "held_out = 2, only = 2",
            "data.held_out: site 2 cannot be held out, it is the only one that trains",
        ),
        (
            'held_out = 0, partition = "halves"',
            "needs sites of the data set's own, not heart with partition 'halves'",
        ),
        ('held_out = 0, partition = "iid"', "needs sites of the data set's own"),
        (
            'name = "digits", held_out = 0',
            "needs sites of the data set's own, not digits with partition 'iid'",
        ),
        ("held_out = -1", "data.held_out: input should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_held_out_is_refused(data: str, sentence: str) -> None:
    assert sentence in refusal(f"data = {{ {data} }}")


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


def test_an_empty_override_takes_a_key_away() -> None:
    text = 'rounds = 3\ntraining = { kind = "sgd", lr = 0.5 }\n'
    left = parse_scenario(text, overrides=("training.lr=", "rounds="))
    assert (left.training.lr, left.rounds) == (Scenario().training.lr, Scenario().rounds)
    for path in ("training.batch", "model.hidden", "rounds.more"):
        assert (
            refusal(text, f"{path}=")
            == f"--set {path}=: it is not set, so there is nothing to take away"
        )


def test_a_parameter_without_annotation_is_said_to_lack_one() -> None:
    def rule(rows: Tensor, *, tuned=None) -> Tensor:  # type: ignore[no-untyped-def]
        """A rule of somebody else's."""
        return rows

    with pytest.raises(
        ScenarioError,
        match="the parameter tuned of mine has no annotation; its author has to add one",
    ):
        check_parameters("defense.rule", "mine", {"tuned": 1}, RuleEntry(rule))


def test_the_schema_takes_what_scenarios_take() -> None:
    schema = Declaration.model_json_schema()
    assert set(schema["properties"]) == set(Scenario.model_fields)
    assert schema["properties"]["model"]["anyOf"][0] == {"type": "string"}
    assert schema["$defs"]["Privacy"]["properties"]["epsilon"]["exclusiveMinimum"] == 0


def test_a_model_that_keeps_running_statistics_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(task: Task, *, generator: torch.Generator) -> nn.Module:
        return nn.Sequential(
            nn.Linear(task.features, 4), nn.BatchNorm1d(4), nn.Linear(4, task.outputs)
        )

    monkeypatch.setitem(catalog.MODELS, "normed", ModelEntry(build, provided=("generator",)))
    sentence = "model: normed keeps '1.running_mean', a buffer, which no update carries: use a model without running"
    assert refusal("", "model.name=normed").startswith(sentence)


def test_what_is_resolved_belongs_to_whoever_asked() -> None:
    scenario = parse_scenario("")
    resolved = scenario.resolved()
    resolved["practice"]["layers"].append("another")
    resolved["channel"]["min_cohort"] = 99
    assert scenario.resolved() == parse_scenario("").resolved()
