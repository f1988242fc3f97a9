"""A look at the first rounds: who is watched, and which records and steps belong to whom."""

from pathlib import Path

import pytest
import torch

from securefl.audit.exposure.look import look_at, looks_at
from securefl.audit.inquiry import Inquiry
from securefl.federation.record import RoundRecord
from securefl.runs import api
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario
from tests.audit.exposure.subjects import DIGITS, DP, everything, ignore_round, look


def test_the_first_rounds_are_played_and_all_are_watched_that_are_not_on_its_side() -> None:
    rounds: list[int] = []

    def note(label: str, record: RoundRecord) -> None:
        rounds.append(record.round)

    inquiry = Inquiry(parse_scenario(DIGITS), "server+clients", 1, 2)
    subject = look_at(inquiry, on_round=note)
    assert rounds == [0, 1, 2, 3, 4]
    assert list(subject.knowledge) == [2, 1, 3]  # the target, whose ledger counts, comes first
    assert all(len(knowledge.moves) == 5 for knowledge in subject.knowledge.values())


def test_adversaries_that_look_together_see_what_each_sees_alone() -> None:
    rounds: list[int] = []

    def note(label: str, record: RoundRecord) -> None:
        rounds.append(record.round)

    scenario = parse_scenario(DIGITS, overrides=("rounds=2", "channel.kind=masked"))
    names = ("server", "clients", "server+clients")
    inquiries = [Inquiry(scenario, name, 2, 1) for name in names]
    together = looks_at(inquiries, on_round=note)
    assert rounds == [0, 1]
    for inquiry, shared in zip(inquiries, together, strict=True):
        alone = look_at(inquiry, on_round=ignore_round)
        assert shared.inquiry is inquiry
        assert list(shared.knowledge) == list(alone.knowledge)
        assert shared.update is not None
        assert alone.update is not None
        assert torch.equal(shared.update.moved, alone.update.moved)
        assert shared.update.counts == alone.update.counts


def test_the_attackers_own_records_are_test_records() -> None:
    subject = look("server")
    test = {tuple(row.tolist()) for row in load_data(parse_scenario(DIGITS)).test.features}
    assert len(subject.own_records) == min(1000, len(test))
    assert all(tuple(row.tolist()) in test for row in subject.own_records.features)


def test_steps_are_those_of_the_plan_under_dp_and_of_the_records_elsewhere() -> None:
    assert look("server", "data.most=9", "training.batch=4", "training.epochs=2").steps(1) == 6
    declared = ("privacy.records=[13, 4, 4, 4]", "privacy.epsilon=8.0")
    subject = look("server", "data.share=0.06", "training.batch=4", *DP[:2], *declared)
    assert [subject.steps(client) for client in range(4)] == [4, 1, 1, 1]


def test_poisoned_records_count_as_those_that_were_trained_on() -> None:
    flipped = 'attack={ name = "label_flip", clients = [1] }'
    subject, honest = look("server", flipped), look("server")

    def labels(client: int) -> tuple[torch.Tensor, torch.Tensor]:
        return subject.data.sites[client].train.labels, honest.data.sites[client].train.labels

    assert not torch.equal(*labels(1))
    assert torch.equal(*labels(2))
    one_long_step = ("channel.kind=masked", "training.batch=400", "training.lr=0.01")
    counted = everything(look("server", flipped, *one_long_step))["labels"]
    assert counted.measured is not None
    assert counted.measured > 0.99


def test_trials_of_a_continued_run_have_its_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier run leaves less budget, so that noise is larger than by the scenario alone."""
    monkeypatch.chdir(tmp_path)
    records = ("privacy.records=[40, 40, 40, 40]", "data.share=0.127", "rounds=2")
    earlier = parse_scenario(DIGITS, overrides=(*DP[:2], *records, "privacy.epsilon=2.0"))
    api.run(earlier, tmp_path / "run")
    budget = (*DP[:2], *records, "privacy.epsilon=8.0")
    fresh = look("server", *budget)
    continued = look("server", *budget, f"init_from={str(tmp_path / 'run')!r}")
    assert continued.local.plans[0].noise_multiplier > fresh.local.plans[0].noise_multiplier
