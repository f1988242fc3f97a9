"""Faults of plug-ins: each is one sentence with the plug-in's own file and line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from securefl.errors import PluginError
from securefl.scenario.entries import AttackEntry, RuleEntry
from securefl.scenario.plugins import guard, rule_guards
from securefl.scenario.plugins.find import Group, find
from securefl.scenario.plugins.trust import trust

ROWS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]])


def changed_in_place(rows: Tensor) -> Tensor:
    rows.mul_(2)
    return rows.mean(dim=0)


def raising(rows: Tensor) -> Tensor:
    raise RuntimeError("no\nluck")


FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "one row": (lambda rows: rows[:1].clone(), r"shape \(2,\), got \(1, 2\)"),
    "view": (lambda rows: rows[0], "returned a view of its input"),
    "complex": (lambda rows: rows.mean(dim=0) + 1j, "real numbers, got torch.complex64"),
    "whole": (lambda rows: torch.ones(2, dtype=torch.int64), "real numbers, got torch.int64"),
    "nan": (lambda rows: rows.mean(dim=0) * torch.nan, "a number that is not finite"),
    "list": (lambda rows: rows.mean(dim=0).tolist(), "has to return a tensor, got list"),
    "in place": (changed_in_place, "changed its input"),
    "beyond float32": (
        lambda rows: torch.full((2,), 1e300, dtype=torch.float64),
        "a number that is not finite",
    ),
    "sparse": (lambda rows: torch.ones(2).to_sparse(), "plain tensor in memory, got torch.sparse"),
    "elsewhere": (lambda rows: torch.ones(2, device="meta"), "a plain tensor in memory"),
    "exits": (lambda rows: sys.exit(0), "raised SystemExit: 0"),
    "raises": (raising, "raised RuntimeError: no luck$"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_at_fault_is_named(fault: str) -> None:
    function, sentence = FAULTS[fault]
    rule: Any = rule_guards.guarded_rule("defense.rule mine", function)
    with pytest.raises(PluginError, match=f"^defense.rule mine .*{sentence}"):
        rule(ROWS.clone())


def test_a_rule_gets_admissible_rows_only() -> None:
    rows = torch.cat([ROWS, torch.full((1, 2), torch.nan), torch.full((1, 2), 1e30)])
    rule: Any = rule_guards.guarded_rule("mine", lambda rows: rows.mean(dim=0))
    assert rule(rows).tolist() == [4.0, 2.0]
    # The engine abandons the round, as it does with rules of ours.
    with pytest.raises(ValueError, match="no row is finite"):
        rule(rows[3:])


def count_of(rows: Tensor, *, f: int = 2, weights: Tensor | None = None) -> Tensor:
    """Returns the number of rows, f, and the sum of the weights."""
    total = 0.0 if weights is None else float(weights.sum())
    return torch.tensor([float(len(rows)), float(f), total])


def test_rows_that_are_set_aside_count_against_f_and_take_their_weights_along() -> None:
    rows = torch.arange(15.0).reshape(5, 3)
    rows[1] = torch.nan
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    rule: Any = rule_guards.guarded_rule("mine", count_of, lambda f: 2 * f + 2)
    assert rule(rows, weights=weights).tolist() == [4.0, 1.0, 29.0]
    assert rule(rows, f=1).tolist() == [4.0, 0.0, 0.0]
    # The engine abandons such a round; a PluginError would end the run.
    rows[2] = torch.inf
    with pytest.raises(ValueError, match="2 rows are set aside, more than f = 1"):
        rule(rows, f=1)
    with pytest.raises(ValueError, match="mine needs 6 rows, got 5"):
        rule(torch.arange(15.0).reshape(5, 3))


def test_a_rules_own_weights_are_zero_for_rows_that_are_set_aside() -> None:
    rows = torch.cat([ROWS, torch.full((1, 2), torch.nan)])
    weigh: Any = rule_guards.guarded_weigh("mine", lambda rows: rows.sum(dim=1))
    assert weigh(rows).tolist() == [3.0, 7.0, 8.0, 0.0]
    weigh = rule_guards.guarded_weigh("mine", lambda rows: rows)
    with pytest.raises(PluginError, match=r"a weight for each row, shape \(3,\), got \(3, 2\)"):
        weigh(rows)


def test_a_choice_by_distances_is_a_copy_of_equal_weights() -> None:
    squared = np.arange(9.0).reshape(3, 3)
    given = np.array([0, 1, 1])

    def keep(squared: Any, *, f: int) -> Any:
        squared[:] = 7
        return given

    choose: Any = rule_guards.guarded_choose("mine", keep)
    weights = choose(squared, f=1)
    assert weights.tolist() == [0.0, 1.0, 1.0]
    assert weights.dtype == np.float64
    given[:] = 5
    assert weights.tolist() == [0.0, 1.0, 1.0]
    assert squared[2, 2] == 8.0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.ones(3), "mine: its choose has to return a numpy array .* got torch.float32"),
        (np.ones(2), "a weight for each row, got ndarray"),
        (np.zeros(3), "one positive weight to all rows that it takes, and 0 to the others"),
        (np.array([0.0, 1.0, 2.0]), "one positive weight"),
        (np.array([0.0, -1.0, -1.0]), "one positive weight"),
        (np.array([0.0, np.nan, 1.0]), "one positive weight"),
        (np.array([0.0, np.inf, np.inf]), "one positive weight"),
    ],
    ids=["tensor", "short", "none", "unequal", "negative", "nan", "infinite"],
)
def test_a_choice_by_distances_takes_rows_or_leaves_them(given: Any, sentence: str) -> None:
    choose: Any = rule_guards.guarded_choose("mine", lambda squared: given)
    with pytest.raises(PluginError, match=sentence):
        choose(np.zeros((3, 3)))


@pytest.mark.parametrize("given", [0, 2.5, None])
def test_minimum_rows_is_a_whole_number(given: object) -> None:
    minimum: Any = rule_guards.guarded_minimum("mine", lambda f: given)
    with pytest.raises(PluginError, match=f"at least 1, got {given!r} for f = 3"):
        minimum(3)
    assert rule_guards.guarded_minimum("mine", lambda f: f)(3) == 3


@pytest.mark.parametrize(
    ("goal", "sentence"),
    [
        (lambda x, y: x, "its goal has to return features and a class"),
        (lambda x, y: (x, "ill"), "its goal has to return features and a class"),
        (lambda x, y: (x[:, :1], 1), "its goal returned features of another form"),
    ],
)
def test_a_goal_is_features_and_a_class(goal: Callable[..., Any], sentence: str) -> None:
    guarded: Any = guard.guarded_goal("mine", goal)
    with pytest.raises(PluginError, match=sentence):
        guarded(ROWS, torch.zeros(3))
    guarded = guard.guarded_goal("mine", lambda x, y: (x[:1], 1))
    assert guarded(ROWS, torch.zeros(3))[1] == 1


def test_an_estimate_keeps_the_type_of_the_rows() -> None:
    rule: Any = rule_guards.guarded_rule("mine", lambda rows: rows.double().mean(dim=0))
    assert rule(ROWS).dtype == torch.float32


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda rows, f: rows[:1].clone(), r"a row for each of the 2 corrupt clients"),
        (lambda rows, f: rows[:2].long(), "real numbers"),
    ],
)
def test_an_attack_gives_a_row_for_each_corrupt_client(
    function: Callable[..., Tensor], sentence: str
) -> None:
    with pytest.raises(PluginError, match=sentence):
        guard.guarded_rows("mine", function)(ROWS, f=2)
    sent = guard.guarded_rows("mine", lambda rows, f: rows[:f] * torch.inf)(ROWS, f=2)
    assert sent.shape == (2, 2)


def test_an_attack_on_records_keeps_their_form() -> None:
    features, labels = torch.zeros(3, 4), torch.zeros(3).long()
    attack: Any = guard.guarded_records("mine", lambda x, y: (x[:, :2], y))
    with pytest.raises(PluginError, match="features of another form"):
        attack(features, labels)
    attack = guard.guarded_records("mine", lambda x, y: (x, y.float()))
    with pytest.raises(PluginError, match=r"labels of type torch\.float32"):
        attack(features, labels)
    attack = guard.guarded_records("mine", lambda x, y: (x[:2], y))
    with pytest.raises(PluginError, match="2 features, 3 labels"):
        attack(features, labels)
    attack = guard.guarded_records("mine", lambda x, y: x)
    with pytest.raises(PluginError, match="has to return features and labels"):
        attack(features, labels)


def test_a_step_returns_weights_and_tensors() -> None:
    weights = torch.zeros(2)
    step: Any
    step = guard.guarded_step("mine", lambda w, e, s: (w + e, {"m": 3}))
    with pytest.raises(PluginError, match="its state as a dict of tensors"):
        step(weights, weights + 1, {})
    step = guard.guarded_step("mine", lambda w, e, s: w + e)
    with pytest.raises(PluginError, match="has to return weights and a state"):
        step(weights, weights + 1, {})
    step = guard.guarded_step("mine", lambda w, e, s: (w, {}))
    with pytest.raises(PluginError, match="a view of its input"):
        step(weights, weights + 1, {})
    step = guard.guarded_step("mine", lambda w, e, s: (w + e, {"m": e}))
    assert step(weights, weights + 1, {}).weights.tolist() == [1.0, 1.0]


def test_a_result_cannot_be_changed_later() -> None:
    buffer = torch.zeros(2)
    rule: Any = rule_guards.guarded_rule("mine", lambda rows: torch.mean(rows, dim=0, out=buffer))
    first = rule(ROWS)
    rule(10 * ROWS)
    assert first.tolist() == ROWS.mean(dim=0).tolist()

    def keep(weights: Tensor, estimate: Tensor, state: dict[str, Tensor]) -> Any:
        torch.add(weights, estimate, out=buffer)
        return buffer, {"m": buffer}

    step: Any = guard.guarded_step("mine", keep)
    after = step(torch.zeros(2), torch.ones(2), {})
    step(torch.zeros(2), 9 * torch.ones(2), {})
    assert after.weights.tolist() == after.state["m"].tolist() == [1.0, 1.0]
    attack: Any = guard.guarded_rows(
        "mine", lambda rows, f: torch.mul(rows[0], -1, out=buffer)[None]
    )
    sent = attack(ROWS, f=1)
    attack(9 * ROWS, f=1)
    assert sent.tolist() == [[-1.0, -2.0]]


def test_changes_through_numpy_reach_nobody_else() -> None:
    rows, features, labels = ROWS.clone(), torch.ones(3, 2), torch.zeros(3).long()
    weights, state = torch.zeros(2), {"m": torch.zeros(2)}

    def zero_rows(rows: Tensor, f: int) -> Tensor:
        rows.numpy()[:] = 7
        return rows[:f]

    def zero_records(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        features.numpy()[:], labels.numpy()[:] = 7, 1
        return features, labels

    def zero_step(weights: Tensor, estimate: Tensor, state: dict[str, Tensor]) -> Any:
        weights.numpy()[:], estimate.numpy()[:], state["m"].numpy()[:] = 7, 7, 7
        return weights + estimate, state

    guard.guarded_rows("mine", zero_rows)(rows, f=1)
    changed: Any = guard.guarded_records("mine", zero_records)(features, labels)
    step: Any = guard.guarded_step("mine", zero_step)
    estimate = torch.ones(2)
    assert step(weights, estimate, state).weights.tolist() == [14.0, 14.0]
    assert torch.equal(rows, ROWS)
    assert changed[0].tolist() == [[7.0, 7.0]] * 3
    assert [features.sum(), labels.sum(), weights.sum(), state["m"].sum()] == [6, 0, 0, 0]
    assert estimate.tolist() == [1.0, 1.0]


def test_the_author_is_told_the_line_of_his_own_file(tmp_path: Path) -> None:
    text = "import torch\n\ndef rule(rows):\n    return torch.zeros(2) @ torch.zeros(3)\n"
    (tmp_path / "mine.py").write_text(text)
    trust(tmp_path)
    rule = find(Group.RULES, "python:mine.py:rule", tmp_path).entry.function
    with pytest.raises(PluginError, match=r"mine\.py, line 4\)$"):
        rule(ROWS)


def test_a_function_without_an_entry_gets_safe_defaults_and_an_entry_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(
        "from securefl.scenario.entries import RuleEntry\n"
        "def bare(rows, *, f: int = 1):\n    return rows[f].clone()\n"
        "def choose(squared, *, f: int = 1):\n    return f\n"
        "entry = RuleEntry(bare, minimum_rows=lambda f: f + 2, choose=choose)\n"
        "def attack(rows, *, f, generator, scale: float = 2.0):\n    return scale * rows\n"
    )
    trust(tmp_path)
    bare = find(Group.RULES, "python:mine.py:bare", tmp_path)
    assert isinstance(bare.entry, RuleEntry)
    assert bare.entry.minimum_rows is None
    assert not bare.entry.weighted
    assert bare.defaults
    entry = find(Group.RULES, "python:mine.py:entry", tmp_path)
    assert entry.entry.minimum_rows(3) == 5
    with pytest.raises(PluginError, match="its choose has to return a numpy array"):
        entry.entry.choose(np.zeros((3, 3)), f=1)
    assert not entry.defaults
    attack = find(Group.ATTACKS, "python:mine.py:attack", tmp_path).entry
    assert isinstance(attack, AttackEntry)
    assert attack.needs == ("f", "generator")
    assert list(attack.parameters) == ["scale"]
