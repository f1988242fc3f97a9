"""Faults of plug-ins: each is one sentence with the plug-in's own file and line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from securefl.errors import PluginError
from securefl.scenario.entries import AttackEntry, RuleEntry
from securefl.scenario.plugins import guard
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
    "raises": (raising, "raised RuntimeError: no luck$"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_at_fault_is_named(fault: str) -> None:
    function, sentence = FAULTS[fault]
    rule: Any = guard.guarded_rule("defense.rule mine", function)
    with pytest.raises(PluginError, match=f"^defense.rule mine .*{sentence}"):
        rule(ROWS.clone())


def test_a_rule_gets_admissible_rows_only() -> None:
    rows = torch.cat([ROWS, torch.full((1, 2), torch.nan), torch.full((1, 2), 1e30)])
    rule: Any = guard.guarded_rule("mine", lambda rows: rows.mean(dim=0))
    assert rule(rows).tolist() == [4.0, 2.0]
    # The engine abandons the round, as it does with rules of ours.
    with pytest.raises(ValueError, match="no row is finite"):
        rule(rows[3:])


def test_an_estimate_keeps_the_type_of_the_rows() -> None:
    rule: Any = guard.guarded_rule("mine", lambda rows: rows.double().mean(dim=0))
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
        "entry = RuleEntry(bare, minimum_rows=lambda f: f + 2)\n"
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
    assert not entry.defaults
    attack = find(Group.ATTACKS, "python:mine.py:attack", tmp_path).entry
    assert isinstance(attack, AttackEntry)
    assert attack.needs == ("f", "generator")
    assert list(attack.parameters) == ["scale"]
