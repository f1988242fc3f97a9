"""Data, model, server and attack: what does not fit together is refused."""

import pytest
from torch import Tensor

from securefl.errors import ScenarioError
from securefl.scenario.checks.parameters import check_parameters
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import RuleEntry
from tests.scenario.texts import digits, refusal

SIGN_FLIP = 'attack = {{ name = "sign_flip", scale = {}, clients = {} }}'.format


REFUSED: list[tuple[str, str]] = [
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
        "1 or more records each take 1258, digits has 1257 training records; use at most "
        "1257 clients",
    ),
    (
        digits('partition = "quantity", clients = 1258'),
        "1258 clients with 1 or more records each take 1258, digits has 1257",
    ),
    (
        digits("clients = 2147483647"),
        "1 or more records each take 2147483647, digits has 1257 training records; use "
        "at most 1257 clients",
    ),
    (
        digits('partition = "dirichlet", minimum = 200'),
        "take 2000, digits has 1257 training records; use at most 6 clients or "
        "data.minimum of at most 125",
    ),
    (
        digits('partition = "pathological", clients = 629'),
        "use at most 628 clients",
    ),
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
    # learning
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
    # attack
    (
        'channel = { kind = "masked" }\nattack = { name = "sign_flip", scale = 1, '
        "clients = [0, 1] }",
        "attack.clients: 2 clients are corrupt, channel.corrupt declares 1; raise it",
    ),
    (
        'attack = { name = "adaptive", clients = [0] }',
        'attack: adaptive needs what the others send: set attack.knows = "omniscient"',
    ),
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
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_cannot_be_trained_or_attacked_is_refused(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


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


def test_a_parameter_without_annotation_is_said_to_lack_one() -> None:
    def rule(rows: Tensor, *, tuned=None) -> Tensor:  # type: ignore[no-untyped-def]
        """A rule of somebody else's."""
        return rows

    with pytest.raises(
        ScenarioError,
        match="the parameter tuned of mine has no annotation; its author has to add one",
    ):
        check_parameters("defense.rule", Chosen("mine", RuleEntry(rule), {"tuned": 1}))
