"""A plug-in that breaks a contract is told in one sentence; each sentence has its fault here."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from securefl.data.own.python_door import Returned
from securefl.data.own.records import Records
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.scenario import AttackEntry, RuleEntry, Sees
from securefl.testing import check_attack, check_data, check_model, check_rule, check_source

calls = itertools.count()


def broken(check: Callable[[], None], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence) as refused:
        check()
    assert "\n" not in str(refused.value)


def middle(rows: Tensor, *, f: int) -> Tensor:
    if len(rows) < 2 * f + 1:
        raise ValueError("too few rows")
    ordered = rows.sort(dim=0).values
    return ordered[f : len(rows) - f].mean(dim=0)


def scribbling(gradient: Tensor, offset: Tensor) -> Tensor:
    gradient.numpy()[0] = 0  # which torch does not notice
    return gradient + 1


def weighted(rows: Tensor, *, weights: Tensor) -> Tensor:
    return (weights @ rows.to(weights.dtype)) / weights.sum()


def lying(rows: Tensor) -> Tensor:
    """Lets one large row win, which its place does not change."""
    return rows[rows.abs().sum(dim=1).argmax()] * 1e9


def ball(rows: Tensor, *, radius: float) -> Tensor:
    return rows.mean(dim=0)


def halves(squared: Any, *, f: int) -> Any:
    """Takes every second row, whatever the distances."""
    return np.arange(len(squared)) % 2 / (len(squared) // 2)


def unchosen(squared: Any, *, f: int) -> Any:
    return squared


RULES: dict[str, tuple[Any, str]] = {
    "matrix": (lambda rows: rows.clone(), r"one number a coordinate, shape \(5,\), got \(1, 5\)"),
    "view": (lambda rows: rows[0], "returned a view of its input"),
    "raises": (lambda rows: rows.nothing, "raised AttributeError"),
    "in place": (lambda rows: rows.mul_(2).mean(dim=0), "changed its input; work on a copy"),
    "random": (
        lambda rows: rows.mean(dim=0) * torch.rand(()),
        "another estimate for the same rows",
    ),
    "first row": (lambda rows: rows[0].clone(), "another estimate for the same rows in another or"),
    "wins": (lying, "lets 1 rows of nan win"),
    "minimum": (middle, r"middle fails with 1 rows and f=1, .* raised ValueError: too few rows"),
    "untrue": (
        RuleEntry(middle, minimum_rows=lambda f: f + 1),
        "middle fails with 2 rows and f=1, which are enough as far as minimum_rows",
    ),
    "half": (
        RuleEntry(middle, minimum_rows=lambda f: f / 2),  # type: ignore[arg-type, return-value]
        "minimum_rows has to return a whole number, at least 1, got 0.0 for f = 0",
    ),
    "greedy": (RuleEntry(middle, minimum_rows=lambda f: 6 * f + 1), "f=2 needs 13 rows: call"),
    "choice": (
        RuleEntry(middle, minimum_rows=lambda f: 2 * f + 1, choose=halves),
        "another estimate than the mean of the rows that its choose takes",
    ),
    "no choice": (
        RuleEntry(middle, minimum_rows=lambda f: 2 * f + 1, choose=unchosen),
        "its choose has to return a numpy array with a weight for each row, got ndarray",
    ),
    "parameter": (ball, "needs radius"),
    "bare parameter": (lambda rows, *, radius: rows.mean(dim=0), "annotated, .* got radius"),
    "kind": (3, "neither a function nor a RuleEntry"),
}


@pytest.mark.parametrize("fault", RULES)
def test_a_rule_that_breaks_the_contract(fault: str) -> None:
    rule, sentence = RULES[fault]
    broken(lambda: check_rule(rule), sentence)


def test_a_good_rule_passes_and_order_may_be_meant() -> None:
    check_rule(RuleEntry(middle, minimum_rows=lambda f: 2 * f + 1))
    check_rule(RuleEntry(weighted, weighted=True))
    check_rule(lambda rows: rows[0].clone(), any_order=False)


def test_chance_is_caught_where_the_order_is_meant() -> None:
    rule = RULES["random"][0]
    broken(lambda: check_rule(rule, any_order=False), r"another estimate for the same rows$")


def scaled(rows: Tensor, *, f: int, scale: float = 2.0) -> Tensor:
    return -scale * rows[:f]


def relabelled(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return features, labels + 1


ATTACKS: dict[str, tuple[Any, str]] = {
    "fewer": (lambda rows, f: rows[:1].clone(), "a row for each of the 2 corrupt clients"),
    "in place": (lambda rows, f: rows[:f].neg_(), "changed its input"),
    "behind torch": (
        AttackEntry(gradients=scribbling),
        "scribbling changed its input; work on a copy of it",
    ),
    "random": (lambda rows: torch.rand(rows.shape), "sends other rows when it is run again"),
    "needy": (
        AttackEntry(lambda rows, f: rows[3 : 3 + f] + 1, sees=Sees.KNOWN, needs=("f",)),
        "cannot do with the rows of its own 2 clients, and its entry does not say omniscient",
    ),
    "classes": (AttackEntry(records=relabelled), "gives labels that are none of 3 classes"),
    "one": (AttackEntry(records=lambda x, y: x), "has to return features and labels"),
    "coins": (
        AttackEntry(records=lambda x, y: (torch.rand(x.shape), y)),
        "changes records in another way when it is run again",
    ),
    "goal": (
        AttackEntry(records=lambda x, y: (x, y), goal=lambda x, y: (x, 3)),
        "wants class 3 of 3 classes",
    ),
    "no goal": (
        AttackEntry(records=lambda x, y: (x, y), goal=lambda x, y: x),
        "its goal has to return features and a class",
    ),
    "gradient": (
        AttackEntry(scaled, gradients=lambda g, o: g[:1], needs=("f",)),
        "a gradient of the same shape",
    ),
    "weigher": (scaled, "takes scale, got 'size'"),
}


@pytest.mark.parametrize("fault", ATTACKS)
def test_an_attack_that_breaks_the_contract(fault: str) -> None:
    attack, sentence = ATTACKS[fault]
    parameters = {"size": 1} if fault == "weigher" else None
    broken(lambda: check_attack(attack, parameters=parameters), sentence)


def test_an_attack_that_says_it_is_omniscient_may_need_the_rows_of_others() -> None:
    needy = ATTACKS["needy"][0]
    check_attack(replace(needy, omniscient=True))


def test_an_attack_that_remembers_others_is_caught() -> None:
    check_attack(scaled, parameters={"scale": 3.0})
    memory: list[float] = []

    def peeking(rows: Tensor, *, rule: Callable[[Tensor], Tensor]) -> Tensor:
        memory.append(1.0)
        return rows * (1 if len(memory) < 3 else 2)

    broken(lambda: check_attack(peeking), "sends other rows when other clients do")


def test_a_model_that_breaks_the_contract() -> None:
    def centred(task: Task) -> nn.Module:
        class Centred(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.last = nn.Linear(task.features, task.outputs)

            def forward(self, x: Tensor) -> Tensor:
                result: Tensor = self.last(x - x.mean(0))
                return result

        return Centred()

    def normed(task: Task) -> nn.Module:
        return nn.Sequential(
            nn.Linear(task.features, 8), nn.BatchNorm1d(8), nn.Linear(8, task.outputs)
        )

    check_model(centred)
    broken(lambda: check_model(centred, private=True), "gives a record another output")
    check_model(normed)
    check_model(normed, private=True, batch_norm="group")
    broken(lambda: check_model(normed, private=True), 'set model.batch_norm = "group"')
    broken(lambda: check_model(lambda task: nn.Linear(task.features, 7)), r"needs \(4, 1\)")
    wide = Task(features=4, classes=7)
    check_model(lambda task: nn.Linear(task.features, 7), task=wide)


def records(count: int = 12) -> tuple[Tensor, Tensor]:
    return torch.arange(2.0 * count).reshape(count, 2), torch.arange(count) % 2


DATA: dict[str, tuple[Callable[[], object], str]] = {
    "other records": (lambda: [records(12 + next(calls) % 2)], "other train records when it is r"),
    "other sites": (lambda: {f"site {next(calls)}": records()}, "another task or other sites when"),
    "kind": (lambda: 3, "returned"),
    "classes": (lambda: [(records()[0], records()[1] + 7.5)], "is no whole number|labels"),
}


@pytest.mark.parametrize("fault", DATA)
def test_a_loader_that_breaks_the_contract(fault: str) -> None:
    load, sentence = DATA[fault]
    broken(lambda: check_data(load), sentence)


class Odd(Returned):
    """A source whose digest is none."""

    digests = itertools.count()
    stable = False

    def digest(self, key: bytes) -> str:
        return "0" if self.stable else f"{next(self.digests)}"


class Keyless(Odd):
    stable = True


class Regrouped(Returned):
    def read(self, *, claim: bool) -> Records:
        found = super().read(claim=claim)
        groups = tuple(b"%d" % next(calls) for _ in range(len(found.train.examples)))
        return replace(found, train=found.train._replace(groups=groups))


class Renamed(Returned):
    def read(self, *, claim: bool) -> Records:
        return replace(super().read(claim=claim), sites=("elsewhere",))


def test_a_source_that_breaks_the_contract() -> None:
    broken(lambda: check_source(lambda: Odd([records()], name="load")), "another digest when it")
    broken(lambda: check_source(lambda: Keyless([records()], name="load")), "depend on the key")
    broken(lambda: check_source(lambda: Regrouped([records()], name="load")), "other train record")
    broken(lambda: check_source(lambda: Renamed([records()], name="load")), "than its records")
    broken(lambda: check_data(lambda: [(torch.zeros(0, 2), torch.zeros(0))]), "no record")
    check_source(lambda: Returned([records()], name="load"))


@pytest.mark.parametrize(
    ("declared", "claims"),
    [
        ({}, [False]),
        ({"sites": ["a"]}, [False]),
        ({"sites": ["a"], "num_classes": 2}, [False, True]),
    ],
)
def test_a_loader_is_read_under_a_claim_where_one_could_be_made(
    declared: dict[str, Any], claims: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bool] = []
    monkeypatch.setattr(
        "securefl.testing.data.check_source", lambda source, claim=False: read.append(claim)
    )
    check_data(lambda: {"a": records()}, **declared)
    assert read == claims


def test_records_that_go_by_their_place_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_place(given: Records, **keys: Any) -> FederatedData:
        features, labels = given.train.examples
        test = torch.arange(len(labels)) % 3 == 0
        site = Site("all", Examples(features[~test], labels[~test]), None)
        return FederatedData(given.task, (site,), Examples(features[test], labels[test]))

    monkeypatch.setattr("securefl.testing.data.federated", by_place)
    broken(lambda: check_data(lambda: [records()]), "without record 0, other records change sides")
