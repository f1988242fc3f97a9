"""Runs whose channel chooses the clients of its sum by sketches of their updates."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl.audit.recorded import check_repeated, open_run
from securefl.errors import ScenarioError
from securefl.federation.record import BARRED, RoundRecord
from securefl.privacy.chain import read_entries
from securefl.runs import api
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.charter import Shared
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.folder import RunFolder
from securefl.runs.result import Result
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary
from tests.commands import call, scenario_file
from tests.values import present

# Both corrupt clients send -5 times the mean of all honest updates. Client 0 deals the sketch of
# that mean, than which no update is nearer to the others: it is chosen.
LIAR = """
seed = 3
rounds = 4
data = { name = "digits", partition = "iid", clients = 9 }
model = { name = "logistic" }
training = { kind = "sgd", batch = 64, lr = 0.3 }
weights = "equal"
channel = { kind = "masked", sketch = 64, corrupt = 2 }
defense = { rule = { name = "dnc", f = 2 } }
attack = { name = "inner_product", scale = 5.0, clients = [0, 1], knows = "omniscient" }
simulate = { lie = [{ client = 0, factor = -0.2 }] }
"""
HONEST = tuple(range(2, 9))
HIDING = LIAR.replace("-0.2 }]", "-0.2 }, { client = 1, factor = -0.2, hide = true }]")


class Killed(BaseException):
    """Ends a run as a kill would."""


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return api.run(parse_scenario(LIAR), tmp_path_factory.mktemp("liar") / "run", text=LIAR)


def weights(result: Result) -> torch.Tensor:
    ((_, _, cell),) = RunFolder.open(result.folder).cells()
    return load_checkpoint(cell.checkpoint).state.weights


def comparable(records: list[RoundRecord]) -> list[RoundRecord]:
    """Records without what clocks decide."""
    return [replace(record, seconds=0.0) for record in records]


def test_a_liar_costs_one_round_and_is_out_of_all_later_ones(liar: Result) -> None:
    lost, *others = liar.rounds
    assert lost.abandoned
    assert set(lost.named) == {0}
    assert lost.paired == ()
    for record in others:
        assert not record.abandoned
        assert record.named == {}
        assert record.absent == {0: f"{BARRED}{lost.named[0]}"}
        # One liar is left, and its update goes.
        assert (record.survivors, record.left_out) == (HONEST, (1,))


def test_the_metrics_say_who_was_left_out_how_often_and_who_lied(liar: Result) -> None:
    metrics = liar.metrics
    assert metrics["not_chosen"] == {str(client): 3 * (client == 1) for client in range(9)}
    assert list(metrics["named"]) == ["0"]
    assert metrics["paired"] == []
    assert metrics["abandoned"] == 1
    assert (metrics["distrusted_precision"], metrics["distrusted_recall"]) == (1.0, 1.0)
    assert present(metrics["accuracy"]) > 0.7


def test_a_liar_that_hides_is_left_out_with_its_peer(tmp_path: Path) -> None:
    result = api.run(parse_scenario(HIDING), tmp_path / "run", text=HIDING)
    lost, *others = result.rounds
    assert lost.abandoned
    assert set(lost.named) == {0}
    ((one, peer),) = lost.paired
    assert one == 1
    assert peer in HONEST
    for record in others:
        assert record.left_out == (1, peer)
        assert record.survivors == tuple(client for client in HONEST if client != peer)
    assert result.metrics["paired"] == [[1, peer]]
    # The rule never saw the two.
    assert set(result.metrics["not_chosen"].values()) == {0}
    assert result.metrics["not_compared"] == {"1": 3, str(peer): 3}
    assert present(result.metrics["accuracy"]) > 0.7


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_that_was_killed_goes_on_without_its_liar_and_ends_with_the_same_bits(
    after: int, liar: Result, tmp_path: Path
) -> None:
    def kill(record: RoundRecord) -> None:
        if record.round + 1 == after:
            raise Killed

    with pytest.raises(Killed):
        api.run(parse_scenario(LIAR), tmp_path / "run", text=LIAR, on_round=kill)
    resumed = api.run(parse_scenario(LIAR), tmp_path / "run", text=LIAR)
    assert comparable(resumed.rounds) == comparable(liar.rounds)
    assert torch.equal(weights(resumed), weights(liar))


def test_a_pair_is_left_out_for_good_when_a_run_is_resumed(tmp_path: Path) -> None:
    def kill(record: RoundRecord) -> None:
        if record.round == 0:
            raise Killed

    with pytest.raises(Killed):
        api.run(parse_scenario(HIDING), tmp_path / "run", text=HIDING, on_round=kill)
    resumed = api.run(parse_scenario(HIDING), tmp_path / "run", text=HIDING)
    lost, *others = resumed.rounds
    (pair,) = lost.paired
    assert [record.left_out for record in others] == [pair] * 3


def test_the_command_shows_who_was_left_out_and_who_lied(tmp_path: Path) -> None:
    done = call("run", scenario_file(tmp_path, LIAR), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "round 1, client 0 was found lying: its sketch" in shown
    assert "client 0 absent" not in shown
    assert "the rule left out: client 1 3 x" in shown
    assert "client 0 was found lying and took no further part: its sketch" in shown
    assert "1 of 4 rounds was abandoned" in shown


# Honest clients alone: which two of them are left out hangs on the matrix.
UNDECIDED = LIAR.split("attack")[0].replace("corrupt = 2", 'corrupt = 2, secrets = "seeded"')


def test_seeded_matrices_choose_the_same_clients_again(tmp_path: Path) -> None:
    def kill(record: RoundRecord) -> None:
        if record.round == 1:
            raise Killed

    scenario = parse_scenario(UNDECIDED)
    whole = api.run(scenario, tmp_path / "whole", text=UNDECIDED)
    with pytest.raises(Killed):
        api.run(scenario, tmp_path / "again", text=UNDECIDED, on_round=kill)
    again = api.run(scenario, tmp_path / "again", text=UNDECIDED)
    assert comparable(again.rounds) == comparable(whole.rounds)
    assert torch.equal(weights(again), weights(whole))
    assert {len(record.left_out) for record in whole.rounds} == {2}
    # Each round has a matrix of its own.
    assert len({record.left_out for record in whole.rounds}) > 1
    assert open_run(again.folder)[0].facts.selects
    assert "SEEDED matrices: whoever has the seed can lie about its update" in summary(scenario)


NOISY = """
seed = 3
rounds = 2
data = { name = "heart", partition = "iid", clients = 5 }
training = { kind = "dp_sgd", batch = 64 }
privacy = { noise = "seeded", noise_multiplier = 2.0 }
channel = { kind = "masked", corrupt = 1 }
"""
CHOICE = ("channel.sketch=16", 'defense.rule={ name = "dnc", f = 1 }')


def test_distances_choice_and_sum_cost_nothing_beyond_the_noise_of_each_update(
    tmp_path: Path,
) -> None:
    """Post-processing of what every client reserved: the ledgers are those of the mean."""
    booked = {}
    for name, overrides in (("mean", ()), ("choice", CHOICE)):
        scenario = parse_scenario(NOISY, overrides=overrides)
        result = api.run(scenario, tmp_path / name, text=NOISY)
        ((_, _, cell),) = RunFolder.open(result.folder).cells()
        ledgers = [read_entries(cell.ledgers / f"{client}.jsonl") for client in range(5)]
        events = [[entry["event"] for entry in ledger if "event" in entry] for ledger in ledgers]
        booked[name] = events, result.metrics["epsilons"]
    assert booked["choice"] == booked["mean"]
    events, epsilons = booked["choice"]
    # Each round is reserved with its event, then settled: also for a client that was not chosen.
    paid = [[event is not None for event in ledger] for ledger in events]
    assert paid == [[True, False] * 2] * 5
    assert len(set(epsilons.values())) == 1


def test_no_deployment_chooses_clients_yet() -> None:
    text = LIAR.split("attack")[0]
    with pytest.raises(ScenarioError, match=r"channel\.sketch does not run between sites yet"):
        check_deployable(parse_scenario(text))


def test_no_deployment_takes_matrices_that_are_known_before_the_updates() -> None:
    text = LIAR.split("attack")[0]
    seeded = ('channel.secrets="seeded"',)
    parse_scenario(text, overrides=seeded)  # a simulation may
    with pytest.raises(ScenarioError, match="serves simulations only: remove both"):
        check_deployable(parse_scenario(text, overrides=seeded))
    # No charter that holds it gives a scenario, for a coordinator or a site.
    with pytest.raises(ScenarioError, match="serves simulations only"):
        Shared(text=text, overrides=seeded).scenario()


def test_no_audit_takes_a_replay_for_a_run_that_chose(liar: Result) -> None:
    with pytest.raises(ScenarioError, match="chose clients by sketches with random matrices"):
        check_repeated(liar.folder, parse_scenario(LIAR))
