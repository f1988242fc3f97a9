"""A coordinator and its agents, without a network: the simulation's model, and what passes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl import run
from securefl.data.task import FederatedData
from securefl.errors import BudgetExceeded, RoundAbandoned, RunFailed
from securefl.federation.values import State, unmeasured
from securefl.learning.protocol import Trained
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.coordinator import RemoteSite
from securefl.scenario import catalog
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.public import server_parts
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import DP, MASKED, SGD, Deployment, deployment

COHORT = "cohort = { size = 3 }\n"


def simulated(text: str, folder: Path) -> State:
    result = run(parse_scenario(text), folder)
    return load_checkpoint(next(result.folder.glob("cells/*/model.safetensors"))).state


@pytest.mark.parametrize(
    "text", [SGD, SGD + MASKED, DP + MASKED, SGD + COHORT], ids=["plain", "masked", "dp", "cohort"]
)
def test_the_model_is_the_simulations_bit_for_bit(text: str, tmp_path: Path) -> None:
    weights = deployment(text, tmp_path).play().weights
    expected = simulated(text, tmp_path / "simulation").weights
    assert torch.equal(weights.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize(("text", "trips"), [(SGD, 2), (SGD + MASKED, 3 + 5 + 3)])
def test_a_trip_goes_to_all_sites_and_a_stage_takes_one(
    text: str, trips: int, tmp_path: Path
) -> None:
    parties = deployment(text, tmp_path)
    parties.play()
    assert parties.link.trips == [[0, 1, 2, 3]] * trips
    assert parties.desk.counts.trips == trips


def test_a_site_is_settled_with_its_next_envelope_and_the_last_round_at_the_end(
    tmp_path: Path,
) -> None:
    parties = deployment(DP, tmp_path)
    parties.play()
    parties.desk.finish()
    assert all(agent.finished for agent in parties.link.agents.values())
    for site in range(4):
        lines = (tmp_path / f"{site}.jsonl").read_text()
        assert (lines.count('"reserve"'), lines.count('"settle"')) == (2, 2)


def planted(parties: Deployment) -> list[bytes]:
    """Makes each site's update a pattern of its own, and returns the patterns' bytes."""
    patterns = []
    for site, parts in parties.parts.items():
        pattern = torch.full((16,), 0.125 * (site + 1)) + torch.arange(16) * 0.001
        patterns.append(pattern.numpy().tobytes()[:16])

        def fit(weights: torch.Tensor, *, round: int, pattern: torch.Tensor = pattern) -> Trained:
            return Trained(pattern[: len(weights)].clone(), None)

        object.__setattr__(parts.trainer, "fit", fit)
    return patterns


@pytest.mark.parametrize(("text", "is_seen"), [(SGD, True), (SGD + MASKED, False)])
def test_under_masks_nothing_of_an_update_passes_the_coordinator(
    text: str, is_seen: bool, tmp_path: Path
) -> None:
    parties = deployment(text, tmp_path)
    patterns = planted(parties)
    parties.play()
    passed = b"".join(parties.link.passed)
    assert [pattern in passed for pattern in patterns] == [is_seen] * 4


def test_a_server_is_built_without_reading_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(**options: object) -> FederatedData:
        raise AssertionError("a record was read")

    entries = {"heart": replace(catalog.DATA["heart"], load=load)}
    monkeypatch.setattr(catalog, "DATA", entries)
    scenario = parse_scenario(DP + MASKED)
    assert server_parts(scenario, run="run").plan.weights == {0: 200, 1: 173, 2: 31, 3: 86}
    with pytest.raises(AssertionError, match="a record was read"):
        load_data(scenario)  # so the trap works


def test_a_server_without_records_says_so_when_it_is_asked_for_a_quality() -> None:
    with pytest.raises(RunFailed, match="no test records here"):
        unmeasured(State(torch.zeros(1)))


def test_a_site_that_falls_silent_is_absent_and_the_others_go_on(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    parties.link.tamper = lambda site, reply: [] if site == 1 and late(parties) else [reply]
    parties.play()
    records = parties.cell.rounds()
    assert [record.survivors for record in records] == [(0, 1, 2, 3), (0, 2, 3)]
    assert records[1].absent == {1: "its site did not answer"}


def late(parties: Deployment) -> bool:
    return len(parties.link.trips) > 3 + 5


def test_a_site_that_misses_the_set_up_takes_no_part(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    parties.link.tamper = lambda site, reply: [reply] if site else []
    parties.play()
    assert [record.cohort for record in parties.cell.rounds()] == [(1, 2, 3)] * 2


def test_a_set_up_that_loses_too_many_sites_ends_the_run(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    parties.link.tamper = lambda site, reply: [reply] if site > 1 else []
    with pytest.raises(RoundAbandoned, match="2 members are left"):
        parties.play()


@pytest.mark.parametrize("text", [SGD, SGD + MASKED])
def test_forged_foreign_and_old_replies_are_counted_and_change_nothing(
    text: str, tmp_path: Path
) -> None:
    parties = deployment(text, tmp_path)
    old: dict[int, bytes] = {}

    def tampered(site: int, reply: bytes) -> list[bytes]:
        frames = [b"garbage", reply[:-1], reply + b"x", *([old[site]] if site in old else [])]
        # Another site's reply to the same trip: its own key, and the wrong site.
        frames += [old[other] for other in old if other != site]
        old[site] = reply
        return [*frames, reply]

    parties.link.tamper = tampered
    weights = parties.play().weights
    assert torch.equal(weights, simulated(text, tmp_path / "simulation").weights)
    trips = parties.desk.counts.trips
    # Three a reply; from the second trip on the site's own last one and those of three others.
    assert parties.desk.counts.dropped == (12 + 6) + (12 + 4 + 12) * (trips - 1)


def test_a_site_without_budget_is_absent_and_the_run_ends_with_the_budget(tmp_path: Path) -> None:
    text = DP.replace("noise_multiplier = 2.0", "noise_multiplier = 0.8")
    text = text.replace("rounds = 2", "rounds = 300").replace("epsilon = 8.0", "epsilon = 4.0")
    parties = deployment(text, tmp_path)
    with pytest.raises(BudgetExceeded, match="does not fit the budget of its site"):
        parties.play()


def test_a_run_whose_rounds_are_all_abandoned_fails(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    parties.link.tamper = lambda site, reply: [reply] if site > 1 or not over(parties) else []
    with pytest.raises(RunFailed, match="all 2 rounds were abandoned"):
        parties.play()


def over(parties: Deployment) -> bool:
    return len(parties.link.trips) > 3


def test_a_remote_site_trains_nowhere_but_at_the_site(tmp_path: Path) -> None:
    site = RemoteSite(0, deployment(SGD, tmp_path).desk)
    ways: list[Callable[[], object]] = [
        lambda: site.load(b""),
        lambda: site.receive(b""),
        site.begin,
        site.train,
        lambda: site.submit(None),  # type: ignore[arg-type]
    ]
    for call in ways:
        with pytest.raises(RunFailed, match="by itself"):
            call()
