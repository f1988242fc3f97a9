"""Every value in force of a scenario, as resolved.json holds it."""

import json

import pytest

from securefl.scenario.scenario import Scenario, parse_scenario
from tests.scenario.texts import AS_BUILT, DIGITS, HEART, NOT_DEALT, SGD, digits

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
    + 'weights = "reported"\n'
    + 'channel = { kind = "masked", ring = 16, max_weight = 70000, reveal_counts = true }',
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
    "all but one corrupt": 'attack = { name = "sign_flip", scale = 1, clients = [0, 1, 2] }',
    "gaussian": 'attack = { name = "gaussian", std = 200.0, clients = [3] }',
    "every step": 'server = { step = "fedadam", lr = 0.1, beta1 = 0.9, beta2 = 0.99, tau = 1e-3 }',
    "a step's own learning rate": 'server = { step = "fedavgm", lr = 1, momentum = 0 }',
    "mlp without hidden layers": 'model = { name = "mlp", hidden = [] }',
    "mlp by its name alone": 'model = "mlp"',
    "reported weights without a claim": SGD + 'weights = "reported"',
    "reported weights with an empty claim": 'privacy = { epsilon = inf }\nweights = "reported"',
    "late and silent": "[simulate]\nlate = [{ client = 3, round = 19 }]\n"
    "drop = [{ client = 0, round = 0 }]\n",
    "delta just below 1/n": "privacy = { delta = 0.0049 }",
    "a delta that claims nothing": "privacy = { epsilon = inf, delta = 0.5 }",
    "a minimum of everyone": "channel = { min_cohort = 4 }",
    "dirichlet with equal weights": digits('partition = "dirichlet", alpha = 0.1')
    + 'weights = "equal"',
    "dirichlet with reported weights": digits('partition = "dirichlet"') + 'weights = "reported"',
    "dirichlet with declared records": "data = { clients = 2, minimum = 245, "
    'partition = "dirichlet" }\n'
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
    assert resolved["model"] == {"name": "mlp", "hidden": [32], **AS_BUILT}
    assert resolved["simulate"] == {
        "drop": [{"client": 3, "round": 2, "stage": 3}],
        "late": [],
        "missing": [],
        "speed": None,
        "scanners": None,
        "lie": None,
    }
    masked = {"ring": 32, "clip": 4.0, "rounding": "stochastic", "corrupt": 1, "max_weight": None}
    masked |= {"secrets": "system", "reveal_counts": None}
    masked |= {"groups": None, "regroup": None, "sketch": None}
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
    assert model == {"name": "mlp", "hidden": [8, 4], **AS_BUILT}
    data = 'partition = "dirichlet", clients = 3, alpha = 0.1, minimum = 4'
    resolved = parse_scenario(digits(data) + 'weights = "equal"').resolved()["data"]
    assert (resolved["clients"], resolved["alpha"], resolved["minimum"], resolved["classes"]) == (
        3,
        0.1,
        4,
        None,
    )


def test_prefilters_are_tables_or_names_in_their_order_with_defaults_filled_in() -> None:
    text = """
    [defense]
    prefilters = [{ name = "clip_norms", radius = 2.0 }, { name = "adaptive_clipping", f = 1 }]
    rule = { name = "multi_krum", f = 0 }
    """
    resolved = parse_scenario(text).resolved()["defense"]
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


def test_what_is_resolved_belongs_to_whoever_asked() -> None:
    scenario = parse_scenario("")
    resolved = scenario.resolved()
    resolved["practice"]["layers"].append("another")
    resolved["channel"]["min_cohort"] = 99
    assert scenario.resolved() == parse_scenario("").resolved()
