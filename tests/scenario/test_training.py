"""The table [training]: keys without an effect are refused, the others reach the steps."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.learning.options import USUAL, StepOptions
from securefl.runs.names import cell_hash
from securefl.scenario import catalog
from securefl.scenario.assemble.parts import parts
from securefl.scenario.assemble.trainers import step_options
from securefl.scenario.scenario import make_scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.data import targets
from tests.scenario.texts import refusal

TRAINING = "training = {{ {} }}\n".format

REFUSED: list[tuple[str, str]] = [
    (
        'optimizer = "rmsprop", lr = 0.1',
        "training.optimizer: there is no 'rmsprop'; known: sgd, adam, adamw",
    ),
    (
        'schedule = "cosin"',
        "training.schedule: there is no 'cosin', did you mean 'cosine'? known: constant, cosine, "
        "step",
    ),
    (
        'optimizer = "adam", lr = 0.1, momentum = 0.9',
        "training.momentum has no effect with training.optimizer = 'adam'; remove it",
    ),
    (
        'optimizer = "adam"',
        "training.optimizer = 'adam' needs training.lr: the default 0.5 is for sgd; 0.001 is a "
        "usual choice",
    ),
    (
        'algorithm = "fedprocs", mu = 0.1',
        "training.algorithm: there is no 'fedprocs', did you mean 'fedprox'?",
    ),
    (
        'algorithm = "fedprox"',
        "training.algorithm = 'fedprox' needs training.mu",
    ),
    (
        "mu = 0.1",
        "training.mu has no effect with training.algorithm = 'fedavg'; remove it",
    ),
    (
        'algorithm = "fedprox", mu = -0.1',
        "training.mu: input should be greater than or equal to 0, got -0.1",
    ),
    (
        'algorithm = "feddyn"',
        "training.algorithm = 'feddyn' needs training.alpha",
    ),
    (
        'algorithm = "feddyn", alpha = 0.0',
        "training.alpha: input should be greater than or equal to 0.000001, got 0.0",
    ),
    (
        'algorithm = "feddyn", alpha = 0.1',
        "training.algorithm = 'feddyn' averages models with equal weights: set weights = 'equal'",
    ),
    (
        'algorithm = "scaffold", momentum = 0.9',
        "training.algorithm = 'scaffold' is not defined with momentum at the clients: remove "
        "training.momentum",
    ),
    (
        'algorithm = "fednova", optimizer = "adam", lr = 0.001',
        "training.algorithm = 'fednova' counts steps of SGD, got training.optimizer = 'adam'; set "
        "it to 'sgd'",
    ),
    (
        'algorithm = "scaffold" }\nserver = { step = "fedadam"',
        "training.algorithm = 'scaffold' is not defined with server.step = 'fedadam': remove the "
        "table [server]",
    ),
    (
        'algorithm = "feddyn", alpha = 0.1 }\nweights = "equal"\nserver = { lr = 0.5',
        "training.algorithm = 'feddyn' is not defined with server.step = 'fedavg' and its "
        "parameters: remove the table [server]",
    ),
    (
        'kind = "sgd", algorithm = "fednova" }\nweights = "reported"\nseed = 1\nserver = { ',
        "training.algorithm = 'fednova' needs public weights: set weights = 'equal' or 'declared'",
    ),
    (
        'optimizer = "adamw", lr = 0.1',
        "training.optimizer = 'adamw' needs training.weight_decay",
    ),
    ("momentum = 1.0", "training.momentum: input should be less than 1"),
    ("momentum = -0.1", "training.momentum: input should be greater than or equal to 0"),
    ("weight_decay = 1.5", "training.weight_decay: input should be less than or equal to 1"),
    ("weight_decay = nan", "training.weight_decay: input should be"),
    (
        "step_every = 5",
        "training.step_every has no effect with training.schedule = 'constant'; remove it",
    ),
    (
        'schedule = "cosine", step_factor = 0.5',
        "training.step_factor has no effect with training.schedule = 'cosine'; remove it",
    ),
    (
        'schedule = "step", step_every = 5',
        "training.schedule = 'step' needs training.step_factor",
    ),
    (
        'schedule = "step", step_every = 20, step_factor = 0.5',
        "training.step_every = 20 has no effect in 20 rounds; lower it",
    ),
    (
        'schedule = "step", step_factor = 0.5',
        "training.schedule = 'step' needs either training.step_every or training.step_at",
    ),
    (
        'schedule = "step", step_factor = 0.5, step_every = 2, step_at = [3]',
        "training.schedule = 'step' needs either training.step_every or training.step_at",
    ),
    (
        "step_at = [5]",
        "training.step_at has no effect with training.schedule = 'constant'; remove it",
    ),
    (
        'schedule = "step", step_factor = 0.5, step_at = [3, 2]',
        "training.step_at = [3, 2] must ascend; sort it",
    ),
    (
        'schedule = "step", step_factor = 0.5, step_at = [2, 2]',
        "training.step_at = [2, 2] must ascend; sort it",
    ),
    (
        'schedule = "step", step_factor = 0.5, step_at = [2, 20]',
        "training.step_at has 20, which has no effect in 20 rounds; lower or remove it",
    ),
    (
        'schedule = "step", step_factor = 0.5, step_at = []',
        "training.step_at: list should have at least 1 item",
    ),
    (
        'schedule = "step", step_factor = 0.5, step_at = [0, 2]',
        "training.step_at.0: input should be greater than or equal to 1",
    ),
    (
        'schedule = "step", step_every = 0, step_factor = 0.5',
        "training.step_every: input should be greater than or equal to 1",
    ),
    (
        "class_weights = [1.0, 2.0, 3.0]",
        "training.class_weights has one entry a class: 2 classes, got 3 entries",
    ),
    ("class_weights = []", "one entry a class: 2 classes, got 0 entries"),
    ("class_weights = [1.0, 0.0]", "training.class_weights.1: input should be greater than"),
    ("class_weights = [1.0, inf]", "training.class_weights.1: input should be"),
    ("physical_batch = 0", "training.physical_batch: input should be greater than or equal to 1"),
    (
        'kind = "sgd", batch = 16, physical_batch = 16',
        "training.physical_batch = 16 has no effect with training.batch = 16; lower or remove it",
    ),
]


@pytest.mark.parametrize(("keys", "sentence"), REFUSED)
def test_what_has_no_effect_or_no_meaning_is_refused(keys: str, sentence: str) -> None:
    assert sentence in refusal(TRAINING(keys))


def test_under_dp_sgd_a_physical_batch_may_bound_what_the_coins_draw() -> None:
    scenario = parse_scenario(TRAINING("batch = 16, physical_batch = 20"))
    assert step_options(scenario).physical_batch == 20


def test_class_weights_need_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.DATA, targets.NAME, targets.entry())
    text = f'data = {{ name = "{targets.NAME}" }}\n' + TRAINING("class_weights = [1.0, 2.0]")
    sentence = "training.class_weights has no effect on real targets, which have no classes"
    assert sentence in refusal(text)


def of(keys: str) -> StepOptions:
    return step_options(parse_scenario(TRAINING(keys)))


def test_without_keys_the_steps_are_the_usual_ones() -> None:
    assert of("") == USUAL
    assert USUAL.linear
    assert USUAL.plain
    # Said in full, it is the same.
    named = of('optimizer = "sgd", momentum = 0.0, weight_decay = 0.0, schedule = "constant"')
    assert named == USUAL


def test_keys_without_a_value_leave_the_cell_its_name() -> None:
    resolved = parse_scenario("").resolved()
    older = {**resolved, "training": {**resolved["training"]}}
    for key in ("optimizer", "momentum", "weight_decay", "schedule", "step_every", "step_factor"):
        assert older["training"].pop(key) is None
    for key in ("step_at", "algorithm", "mu", "alpha", "class_weights", "physical_batch"):
        assert older["training"].pop(key) is None
    assert cell_hash(older) == cell_hash(resolved)
    with_adam = parse_scenario(TRAINING('optimizer = "adam", lr = 0.5')).resolved()
    assert cell_hash(with_adam) != cell_hash(resolved)


@pytest.mark.parametrize(
    "keys",
    [
        'optimizer = "adamw", lr = 0.01, weight_decay = 0.0',
        'schedule = "step", step_every = 2, step_factor = 0.5, class_weights = [0.5, 2.0]',
        'schedule = "step", step_at = [2, 3], step_factor = 0.5',
        'algorithm = "fedprox", mu = 0.1, momentum = 0.9',
    ],
)
def test_a_resolved_scenario_is_read_again(keys: str) -> None:
    scenario = parse_scenario(TRAINING(keys))
    again = make_scenario(scenario.resolved())
    assert again.training == scenario.training
    assert again.resolved() == scenario.resolved()


def test_an_optimizer_gets_its_keys_and_the_learning_rate() -> None:
    parameter = [torch.nn.Parameter(torch.zeros(1))]

    def group(keys: str) -> dict[str, float]:
        made = of(keys).optimizer(parameter, 0.25)
        return dict(made.param_groups[0])

    momentum = group("momentum = 0.9, weight_decay = 0.01")
    assert (momentum["lr"], momentum["momentum"], momentum["weight_decay"]) == (0.25, 0.9, 0.01)
    adam = of('optimizer = "adam", lr = 0.1').optimizer(parameter, 0.25)
    assert type(adam) is torch.optim.Adam
    adamw = of('optimizer = "adamw", lr = 0.1, weight_decay = 0.0').optimizer(parameter, 0.25)
    assert type(adamw) is torch.optim.AdamW
    assert adamw.param_groups[0]["weight_decay"] == 0.0
    assert not of("momentum = 0.9").linear
    assert not of('optimizer = "adam", lr = 0.1').linear
    assert of("class_weights = [1.0, 2.0]").linear
    assert not of("class_weights = [1.0, 2.0]").plain


def test_a_schedule_is_over_the_rounds_of_the_scenario() -> None:
    cosine = step_options(parse_scenario('rounds = 4\ntraining = { schedule = "cosine" }'))
    assert cosine.schedule(1) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    step = of('schedule = "step", step_every = 2, step_factor = 0.5').schedule
    assert [step(round) for round in (1, 2, 4)] == [1, 0.5, 0.25]
    at = of('schedule = "step", step_at = [2, 19], step_factor = 0.5').schedule
    assert [at(round) for round in (1, 2, 18, 19)] == [1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("kind", ["sgd", "dp_sgd"])
def test_options_and_the_watcher_of_steps_reach_the_trainers(kind: str, tmp_path: Path) -> None:
    steps: list[tuple[int, int, int]] = []

    def on_step(client: int, step: int, steps_of_round: int) -> None:
        steps.append((client, step, steps_of_round))

    def delta(keys: str, folder: str) -> Tensor:
        privacy = 'privacy = { noise = "seeded", noise_multiplier = 2.0 }\n' * (kind == "dp_sgd")
        scenario = parse_scenario(privacy + TRAINING(f'kind = "{kind}", {keys}'))
        made = parts(scenario, run="run", ledgers=tmp_path / folder, on_step=on_step)
        weights = torch.full((scenario.facts.coordinates,), 0.1)
        return made.trainers[1].fit(weights, round=2).delta

    half = delta('lr = 0.5, schedule = "step", step_every = 2, step_factor = 0.5', "step")
    assert steps == [(1, step, 6) for step in range(1, 7)]
    assert torch.equal(half, delta("lr = 0.25", "constant"))
    for number, keys in enumerate(("momentum = 0.9", "class_weights = [0.1, 3.0]")):
        assert not torch.allclose(half, delta(f"lr = 0.25, {keys}", str(number)))


def test_validate_says_how_steps_are_taken() -> None:
    text = summary(
        parse_scenario(
            TRAINING(
                'optimizer = "adamw", lr = 0.01, weight_decay = 0.1, schedule = "cosine", '
                "class_weights = [1.0, 2.5], physical_batch = 4"
            )
        )
    )
    assert (
        "logistic, dp_sgd (adamw, weight decay 0.1, schedule cosine, class weights 1, 2.5, "
        "4 records at once)" in text
    )
    assert "taken as given by the claim: which records are for training, the class weights" in text
    assert "momentum 0.9" in summary(parse_scenario(TRAINING("momentum = 0.9")))
