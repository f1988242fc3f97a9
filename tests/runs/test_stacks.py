"""A run with stacks: the results of one client at a time up to rounding, whatever trains them."""

from pathlib import Path

import pytest
import torch

import securefl
from securefl.errors import ScenarioError
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.names import cell_hash
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.runs.test_workers import DP_SGD, DROPS, RUN, SGD, Dropped, Fragile, play, written

MANY = ("data={name='digits', clients=7, partition='iid'}", "training.batch=32")
SCENARIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (SGD, MANY),
    "noise from a seed": (DP_SGD, (*MANY, "model={name='mlp', hidden=[8]}")),
    "masked, with dropouts": (SGD, (*MANY, "channel.kind=masked", *DROPS)),
    "hospitals of different sizes": (SGD, ()),
    "some of the clients": (SGD, (*MANY, "cohort.size=4")),
    "an omniscient adversary": (
        SGD,
        (
            *MANY,
            "attack={name='a_little_is_enough', clients=[1], knows='omniscient'}",
            "defense.rule=median",
        ),
    ),
    "an adversary that bends gradients": (
        SGD,
        (*MANY, "attack={name='label_flip', clients=[0, 3]}"),
    ),
}


def scenario_of(name: str, *overrides: str) -> Scenario:
    text, own = SCENARIOS[name]
    return parse_scenario(text, overrides=(*own, *overrides))


def final(cell: Cell) -> torch.Tensor:
    return load_checkpoint(cell.checkpoint).state.weights


@pytest.mark.parametrize("name", SCENARIOS)
def test_stacks_change_a_run_by_rounding_alone(name: str, tmp_path: Path) -> None:
    alone = play(scenario_of(name), tmp_path / "alone", workers=1)
    stacked = play(scenario_of(name, "engine.stack=3"), tmp_path / "stacked", workers=1)
    torch.testing.assert_close(final(stacked), final(alone), rtol=0, atol=1e-5)
    assert float(final(alone).abs().max()) > 0.01
    lines = [[record.survivors for record in cell.rounds()] for cell in (alone, stacked)]
    assert lines[0] == lines[1]
    for cell, stack in ((alone, None), (stacked, 3)):
        metrics = cell.metrics() or {}
        assert metrics.get("stack") == stack
        assert "unstacked" not in metrics


@pytest.mark.parametrize("name", SCENARIOS)
def test_stacks_give_the_same_bits_in_any_number_of_workers(name: str, tmp_path: Path) -> None:
    scenario = scenario_of(name, "engine.stack=3")
    first, second = [written(play(scenario, tmp_path, workers=count)) for count in (1, 2)]
    assert second == first


def test_a_budget_that_ends_between_two_clients_of_a_stack_changes_no_bit(tmp_path: Path) -> None:
    scenario = parse_scenario(
        DP_SGD,
        overrides=(
            "rounds=20",
            "cohort.size=3",
            "channel.min_cohort=2",
            "privacy.epsilon=6.0",
            "engine.stack=2",
        ),
    )
    ends = []
    for workers in (1, 2):
        with pytest.raises(securefl.BudgetExceeded):
            play(scenario, tmp_path, workers=workers)
        ends.append(written(Cell(tmp_path / f"{workers}")))
    assert ends[0] == ends[1]
    assert any(record.absent for record in Cell(tmp_path / "1").rounds())


def test_what_cannot_be_stacked_trains_one_at_a_time_and_the_metrics_say_why(
    tmp_path: Path,
) -> None:
    plain = parse_scenario(SGD, overrides=("training.momentum=0.5",))
    asked = parse_scenario(SGD, overrides=("training.momentum=0.5", "engine.stack='auto'"))
    alone = play(plain, tmp_path / "alone", workers=1)
    cell = play(asked, tmp_path / "asked", workers=1)
    assert torch.equal(final(cell), final(alone))
    metrics = cell.metrics() or {}
    assert metrics["stack"] == 1
    assert metrics["unstacked"] == "its steps are not those of plain SGD"


def test_a_users_model_that_draws_is_not_stacked(tmp_path: Path) -> None:
    given = {"rounds": 1, "training": {"kind": "sgd"}, "engine": {"stack": 4}}
    result = securefl.run(given, tmp_path / "run", model=Dropped)
    assert "random layers" in result.metrics["unstacked"]


def test_auto_stacks_a_small_model_as_often_as_it_has_clients(tmp_path: Path) -> None:
    cell = play(scenario_of("plain", "engine.stack=auto"), tmp_path, workers=1)
    assert (cell.metrics() or {})["stack"] == 7


def test_a_fault_of_a_users_model_is_the_same_sentence_in_a_stack(tmp_path: Path) -> None:
    sentences = []
    for stack in ("off", 4):
        given = {
            "rounds": 1,
            "training": {"kind": "sgd", "batch": 31},
            "engine": {"stack": stack},
        }
        with pytest.raises(securefl.SecureflError) as caught:
            securefl.run(given, tmp_path / str(stack), model=Fragile)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]


def test_a_federation_of_stacks_lets_as_many_clients_begin(tmp_path: Path) -> None:
    for keys, ahead in ((("engine.stack=3",), 3), ((), 1)):
        assembled = assemble(scenario_of("plain", *keys), run=RUN, ledgers=tmp_path / "ledgers")
        assert assembled.federation.ahead == assembled.stack.size == ahead


def test_off_is_what_runs_without_the_key_do(tmp_path: Path) -> None:
    first = play(scenario_of("plain"), tmp_path / "a", workers=1)
    second = play(scenario_of("plain", "engine.stack=off"), tmp_path / "b", workers=1)
    assert torch.equal(final(first), final(second))


def test_a_scenario_without_the_table_keeps_the_name_of_its_cell() -> None:
    plain = scenario_of("plain").resolved()
    assert cell_hash(plain) == cell_hash({key: plain[key] for key in plain if key != "engine"})
    assert cell_hash(scenario_of("plain", "engine.stack=3").resolved()) != cell_hash(plain)


def test_the_summary_says_that_clients_train_in_stacks() -> None:
    assert "engine" not in summary(scenario_of("plain", "engine.stack=off"))
    assert "engine: clients train in stacks" in summary(scenario_of("plain", "engine.stack=auto"))


@pytest.mark.parametrize("stack", ["1", "0", "-3", "many", "5000", "2.5"])
def test_other_sizes_are_refused(stack: str) -> None:
    with pytest.raises(ScenarioError, match=r"engine\.stack"):
        scenario_of("plain", f"engine.stack={stack}")
