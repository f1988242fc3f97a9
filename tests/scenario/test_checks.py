"""Parts that do not fit together are refused before anything runs, with the way out."""

import pytest

from tests.scenario.texts import SGD, digits, refusal

ROUNDS = "rounds = 3\n"


REFUSED: list[tuple[str, str]] = [
    # channel
    ('channel = { kind = "ckks", ring = 32 }', "channel.ring has no effect with ckks; remove it"),
    (
        'channel = { kind = "ckks", corrupt = 1 }',
        "channel.corrupt has no effect with ckks; remove it",
    ),
    (
        'channel = { kind = "ckks", clip = 2048.0 }',
        "4 clients x 2048 could wrap around; use a clip of at most 2047.99",
    ),
    ('channel = { kind = "plain", ring = 32 }', "channel.ring has no effect with plain; remove it"),
    (
        digits("clients = 150") + 'channel = { kind = "masked", min_cohort = 76 }',
        "channel: min_cohort 76 exceeds the 75 clients of one sum",
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
        "channel.kind = 'masked' with channel.corrupt = 3 needs 5 clients or more in a round, and "
        "there are 4; use channel.corrupt = 2, or more clients",
    ),
    (
        'channel = { kind = "masked" }\ncohort = { size = 2 }',
        "with channel.corrupt = 1 needs 3 clients or more in a round, and there are 2; "
        "use channel.kind = 'plain', or more clients",
    ),
    (
        'channel = { kind = "masked" }\ndata = { partition = "pooled" }',
        "needs 3 clients or more in a round, and there are 1; use channel.kind = 'plain'",
    ),
    (
        SGD + 'weights = "reported"\nchannel = { kind = "masked" }',
        "weights = 'reported' shows the server each client's exact record count, under "
        "masked, too: say so with "
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
    ('channel = { secrets = "system" }', "channel.secrets has no effect with plain; remove it"),
    (
        digits()
        + 'model = { name = "mlp", hidden = [WIDE] }\nchannel = { kind = "masked" }'.replace(
            "WIDE", ", ".join(33 * ["4096"])
        ),
        "channel: a masked upload takes at most 2147483647 bytes, 537309194 coordinates "
        "in a ring of 2^32 take "
        "2149236816: use a smaller model or a smaller ring",
    ),
    (
        SGD + 'channel = { kind = "masked", max_weight = 500 }',
        "channel.max_weight has no effect with masked and weights = 'declared'; remove it",
    ),
    (
        'channel = { kind = "masked" }\nsimulate = { drop = [{ client = 0, round = 0, '
        "stage = 6 }] }",
        "simulate.drop: masked has 5 stages, got stage 6",
    ),
    ("cohort = { size = 5 }", "cohort.size: 5 of 4 clients cannot be invited"),
    ("channel = { min_cohort = 5 }", "channel.min_cohort: 5 exceeds the 4 clients of a round"),
    (
        "cohort = { size = 2 }\nchannel = { min_cohort = 3 }",
        "channel.min_cohort: 3 exceeds the 2 clients of a round",
    ),
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
    # defense
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
        'defense = { rule = { name = "dnc", f = 1, at_once = 1 } }',
        "at_once of dnc must be true or false, got 1",
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
        'channel = { kind = "masked" }\ndefense = { prefilters = [{ name = "clip_norms", '
        "radius = 1.0 }] }",
        "defense.prefilters: clip_norms takes every update, and masked reveals one sum: "
        "use prefilters = [], or",
    ),
    (
        'channel = { kind = "ckks" }\ndefense = { rule = "median" }',
        "median of the one sum that ckks reveals would be",
    ),
    (
        'channel = { kind = "masked" }\ndefense = { rule = { name = "krum", f = 1 } }',
        "krum with f=1 needs 5 rows, masked with 4 clients reveals 1: use channel.kind = "
        "'plain', or",
    ),
    (
        'channel = { kind = "masked" }\ndefense = { rule = "median" }',
        "median of the one sum that masked reveals would be the mean: use rule = 'mean', "
        "or channel.kind = 'plain'",
    ),
    ('defense = { rule = "krum" }', "defense.rule: krum needs f"),
    (
        'defense = { rule = { name = "krum", f = 1 } }',
        "krum with f=1 needs 5 rows, plain with 4 clients reveals 4: use a smaller f, "
        "more clients in a round",
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
    # privacy
    (
        digits('partition = "dirichlet"'),
        "partition 'dirichlet' has no published sizes: declare privacy.records, or,",
    ),
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
    (
        'weights = "reported"',
        "weights = 'reported' would reveal the real record counts next to a DP claim; "
        "use 'declared'",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_cannot_work_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    assert sentence in refusal(text)
