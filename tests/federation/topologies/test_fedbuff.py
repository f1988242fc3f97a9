"""Aggregation without lockstep: who trains on which model, what staleness does, who has paid."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from defenses import mean, screen
from securefl.audit.audit import inquiries_of
from securefl.audit.inquiry import Inquiry
from securefl.audit.request import ALL
from securefl.channels.plain import PlainClient, PlainServer
from securefl.channels.protocol import Observer, Seen
from securefl.errors import BudgetExceeded, ClientFailure, RunFailed, ScenarioError
from securefl.federation import engine
from securefl.federation.adversary import NOBODY, Adversary
from securefl.federation.client import Client
from securefl.federation.reader import ModelReader
from securefl.federation.record import RoundRecord
from securefl.federation.topologies import fedbuff as topology_module
from securefl.federation.topologies.fedbuff import SEES, Buffering, fedbuff
from securefl.federation.topologies.traffic import PREFIX, Flight, Traffic
from securefl.federation.values import Federation, Participant, Played, Rule, State
from securefl.files import read_lines
from securefl.learning.protocol import Metrics, Trained
from securefl.learning.steps import fedadam, fedavg
from securefl.rng import seeded_keystream
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import assemble, join
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.audit.asking import request_for
from tests.federation.topologies.playing import played, weights
from tests.recorder import Recorder
from tests.runs.test_play import Killed, comparable, nothing
from tests.values import present

SESSION = b"s" * 16
HEART = 'data = { name = "heart" }\n'
SGD = 'training = { kind = "sgd", batch = 64, lr = 0.2 }\n'
DP = """
training = {{ batch = 64, lr = 0.2 }}
privacy = {{ noise = "{noise}", noise_multiplier = 2.0 }}
"""
SPEED = "simulate = { speed = [1, 2, 3, 7] }\n"


def topology(buffer: int = 2, concurrency: int = 3, most: int = 12) -> str:
    numbers = f"buffer = {buffer}, concurrency = {concurrency}, max_updates = {most}"
    return f'topology = {{ kind = "fedbuff", {numbers} }}\n'


def sgd(more: str = "", table: str | None = None, rounds: int = 6) -> Scenario:
    table = topology() if table is None else table
    return parse_scenario(f"rounds = {rounds}\n{HEART}{table}{SGD}{more}")


def dp(noise: str = "seeded", more: str = SPEED, table: str | None = None) -> Scenario:
    table = topology() if table is None else table
    return parse_scenario(f"rounds = 6\n{HEART}{table}{DP.format(noise=noise)}{more}")


# By hand: models of one number, and clients that pull it to a target of their own.


@dataclass
class Puller:
    """Moves the model all the way to its target, and notes which models it got."""

    target: float
    cost: None = None
    got: list[tuple[int, float]] = field(default_factory=list)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        self.got.append((round, float(weights[0])))
        return Trained(self.target - weights, None)


def small(
    pullers: Mapping[int, Puller],
    *,
    rule: Rule = lambda rows, weights: mean(rows, weights=weights),
    adversary: Adversary = NOBODY,
    step: Any = fedavg,
    around: Callable[[int, Participant], Participant] = lambda client, inner: inner,
) -> Federation:
    reader = ModelReader(layout="", d=1, session=SESSION)
    clients = {
        client: around(
            client,
            Client(
                client,
                trainer=puller,
                channel=PlainClient(client, SESSION),
                weight=1,
                reader=reader,
                run="run",
                ledger=None,
                repeatable=True,
            ),
        )
        for client, puller in pullers.items()
    }
    return Federation(
        clients=clients,
        server=PlainServer(SESSION, d=1, min_cohort=1, weights=dict.fromkeys(pullers, 1)),
        session=SESSION,
        layout="",
        invite=lambda round: (),
        min_cohort=1,
        adversary=adversary,
        screen=screen,
        rule=rule,
        weigh=None,
        step=step,
        evaluate=lambda state: Metrics(0, None, None, None, None),
    )


def first(ticket: int, idle: int) -> int:
    return 0


def run(
    federation: Federation, terms: Buffering, rounds: int, start: State | None = None
) -> list[Played]:
    state = State(torch.zeros(1)) if start is None else start
    return list(engine.run(federation, state, rounds=rounds, play=fedbuff(terms)))


def test_two_clients_of_speeds_1_and_3_by_hand() -> None:
    # Targets 1 and 4, buffers of two. Time 1 and 2: client 0 hands in twice on model 0, step to 1.
    # Time 3: client 0 on model 1 (0 steps old), client 1 on model 0 (1 step old): its pull of 4
    # counts 4 / sqrt 2, the mean is sqrt 2. Both begin on model 2; times 5 and 6 are alike:
    # client 0 pulls back to 1 twice, then client 1 by (4 - 1 - sqrt 2) / sqrt 2 / 2.
    pullers = {0: Puller(1.0), 1: Puller(4.0)}
    rounds = run(small(pullers), Buffering(2, 2, 99, (1, 3), first), 4)
    root = math.sqrt(2)
    models = [float(one.state.weights[0]) for one in rounds]
    assert models == pytest.approx([1, 1 + root, 1, 1 + (3 - root) / root / 2], abs=1e-6)
    assert [one.record.clock for one in rounds] == [2, 3, 5, 6]
    assert [one.record.survivors for one in rounds] == [(0, 0), (0, 1), (0, 0), (0, 1)]
    assert [one.record.cohort for one in rounds] == [(0, 0), (0, 1), (0, 0), (0, 1)]
    # Ticket and model: who trained on which version. The last ones are still on their way.
    on = {client: [(t, round(x, 3)) for t, x in puller.got] for client, puller in pullers.items()}
    assert on == {
        0: [(0, 0.0), (2, 0.0), (3, 1.0), (4, 2.414), (6, 2.414), (7, 1.0)],
        1: [(1, 0.0), (5, 2.414)],
    }


def test_scales_are_not_normalised() -> None:
    # Both rows of the second buffer, of a target 4, are one step old: the mean is 4 / sqrt 2.
    pullers = {client: Puller(4.0) for client in range(4)}
    rounds = run(small(pullers), Buffering(2, 4, 99, (1, 1, 2, 2), first), 3)
    assert [one.record.survivors for one in rounds[:2]] == [(0, 1), (0, 1)]
    # Time 2: clients 0 and 1 on model 1, then 2 and 3 on model 0, which is two steps old by then.
    assert float(rounds[1].state.weights[0]) == pytest.approx(4.0)
    assert rounds[2].record.survivors == (2, 3)
    assert float(rounds[2].state.weights[0]) == pytest.approx(4 + 4 / math.sqrt(3))


def test_an_abandoned_buffer_leaves_the_version_as_it_was() -> None:
    def refusing(rows: Tensor, weights: Tensor) -> Tensor:
        if len(refused) < 1:
            refused.append(True)
            raise ValueError("no")
        return mean(rows, weights=weights)

    refused: list[bool] = []
    pullers = {0: Puller(1.0), 1: Puller(4.0)}
    rounds = run(small(pullers, rule=refusing), Buffering(2, 2, 99, (1, 3), first), 2)
    assert [one.record.reason for one in rounds] == ["no", ""]
    assert rounds[0].record.survivors == ()
    # Client 1's update is of model 0, which is still the model: nothing is stale.
    assert float(rounds[1].state.weights[0]) == pytest.approx((1 + 4) / 2)


def test_concurrency_holds_as_long_as_clients_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_up = topology_module._fill_up
    training = []

    def noted(*args: Any) -> None:
        fill_up(*args)
        flights = next(arg for arg in args if isinstance(arg, Traffic)).flights
        training.append(len({flight.client for flight in flights}))

    monkeypatch.setattr(topology_module, "_fill_up", noted)
    pullers = {client: Puller(1.0) for client in range(6)}
    run(small(pullers), Buffering(2, 4, 99, (1, 2, 3, 4, 5, 6), first), 12)
    assert len(training) >= 12
    assert set(training) == {4}


def test_who_has_given_all_updates_declines_and_the_run_ends_in_a_sentence() -> None:
    pullers = {0: Puller(1.0), 1: Puller(4.0)}
    play = fedbuff(Buffering(2, 2, 2, (1, 3), first))
    sentence = (
        "round 2: 0 of 2 clients may still spend: client 0 has given its 2 updates; "
        "client 1 has given its 2 updates"
    )
    records: list[RoundRecord] = []

    def noting(federation: Federation, state: State, observer: Observer) -> Played:
        one = play(federation, state, observer)
        records.append(one.record)
        return one

    rounds = engine.run(small(pullers), State(torch.zeros(1)), rounds=3, play=noting)
    with pytest.raises(BudgetExceeded, match=sentence):
        list(rounds)
    assert [record.abandoned for record in records] == [False, False, True]
    assert records[2].reason == "0 updates came, a step takes 2"


@dataclass
class Broken:
    """A participant that cannot train in some rounds, or in all."""

    inner: Participant
    fails: frozenset[int] | None = None
    tickets: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def begin(self) -> None:
        self.tickets += 1
        if self.fails is None or self.tickets in self.fails:
            raise ClientFailure("broken")
        self.inner.begin()


@dataclass
class Settling:
    """A participant whose settled payments are noted."""

    inner: Participant
    settled: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def confirm(self, round: int) -> None:
        self.settled.append(round)


def test_payments_are_settled_by_ticket_and_not_in_an_abandoned_buffer() -> None:
    def refusing(rows: Tensor, weights: Tensor) -> Tensor:
        refused.append(True)
        if len(refused) == 1:
            raise ValueError("no")
        return mean(rows, weights=weights)

    refused: list[bool] = []
    federation = small(
        {0: Puller(1.0), 1: Puller(4.0)},
        rule=refusing,
        around=lambda client, inner: Settling(inner),
    )
    rounds = run(federation, Buffering(2, 2, 99, (1, 3), first), 2)
    assert [one.record.abandoned for one in rounds] == [True, False]
    settled = [getattr(federation.clients[client], "settled") for client in (0, 1)]  # noqa: B009
    # Client 0's tickets 0 and 2 were in the abandoned buffer.
    assert settled == [[3], [1]]


def test_a_client_that_fails_is_absent_and_asked_again_in_the_next_round() -> None:
    def around(client: int, inner: Participant) -> Participant:
        return Broken(inner, frozenset({1})) if client == 1 else inner

    pullers = {0: Puller(1.0), 1: Puller(4.0)}
    federation = small(pullers, around=around)
    rounds = run(federation, Buffering(2, 2, 99, (1, 1), first), 2)
    assert rounds[0].record.absent == {1: "broken"}
    assert rounds[0].record.survivors == (0, 0)
    assert rounds[1].record.absent == {}
    assert rounds[1].record.survivors == (0, 1)


def test_nobody_left_ends_the_run() -> None:
    federation = small({0: Puller(1.0)}, around=lambda client, inner: Broken(inner))
    with pytest.raises(RunFailed, match="round 0: no clients left: broken"):
        run(federation, Buffering(1, 1, 99, (1,), first), 2)


def test_the_adversary_rewrites_its_rows_of_a_buffer_also_two_of_one_client() -> None:
    seen = []

    def attack(own: Tensor, known: Tensor, round: int) -> Tensor:
        seen.append((own[:, 0].tolist(), known[:, 0].tolist(), round))
        return own - 10

    pullers = {0: Puller(1.0), 1: Puller(4.0), 2: Puller(6.0)}
    adversary = Adversary(frozenset({0}), attack, omniscient=True)
    federation = small(pullers, adversary=adversary)
    recorder = Recorder()
    play = fedbuff(Buffering(4, 3, 99, (1, 2, 2), first))
    one = play(federation, State(torch.zeros(1)), recorder)
    assert one.record.survivors == (0, 0, 1, 2)
    assert seen == [([1.0, 1.0], [4.0, 6.0], 0)]
    assert float(one.state.weights[0]) == pytest.approx((-9 - 9 + 4 + 6) / 4)
    in_clear = [
        (present(o.values).tolist(), o.about)
        for o in recorder.observations
        if o.kind is Seen.CLEAR_UPDATE and o.party == "server"
    ]
    assert in_clear == [([-9.0], (0,)), ([-9.0], (0,)), ([4.0], (1,)), ([6.0], (2,))]
    own = [o.about for o in recorder.observations if o.kind is Seen.OWN_HONEST_UPDATES]
    assert own == [(0, 0)]
    # The known rows are 1 from their mean of 5, and the rows that are sent are 14 from it.
    assert one.record.push == pytest.approx(14)


def test_a_row_that_is_not_finite_is_set_aside() -> None:
    pullers = {0: Puller(1.0), 1: Puller(math.inf), 2: Puller(3.0)}

    def rule(rows: Tensor, weights: Tensor) -> Tensor:
        return mean(rows[~screen(rows)], weights=weights[~screen(rows)])

    federation = small(pullers, rule=rule)
    (one,) = run(federation, Buffering(3, 3, 99, (1, 1, 1), first), 1)
    assert one.record.screened == (1,)
    assert float(one.state.weights[0]) == pytest.approx(2.0)


def test_the_state_of_the_servers_step_stays_apart() -> None:
    terms = Buffering(2, 2, 99, (1, 3), first)
    (one,) = run(small({0: Puller(1.0), 1: Puller(4.0)}, step=fedadam), terms, 1)
    names = {name for name in one.state.step_state if not name.startswith(PREFIX)}
    assert names == {"first", "second"}
    _, rest = Traffic.of(one.state.step_state)
    assert rest.keys() == names


def test_going_on_from_a_state_is_the_same_as_going_on() -> None:
    terms = Buffering(2, 2, 99, (1, 3), first)
    whole = run(small({0: Puller(1.0), 1: Puller(4.0)}, step=fedadam), terms, 6)
    again = run(
        small({0: Puller(1.0), 1: Puller(4.0)}, step=fedadam), terms, 6, start=whole[2].state
    )
    assert [one.record.clock for one in again] == [one.record.clock for one in whole[3:]]
    assert torch.equal(again[-1].state.weights, whole[-1].state.weights)


# Scenarios.


@pytest.mark.parametrize("step", ["fedavg", "fedadam"])
def test_all_at_one_speed_are_synchronous_averaging(step: str, tmp_path: Path) -> None:
    # Whole batches: the order of records, which the ticket decides here and the round there,
    # changes only the order of sums.
    server = f'server = {{ step = "{step}", lr = 0.5 }}\n'
    whole = f"rounds = 4\n{HEART}{SGD.replace('64', '500')}{server}"
    lockstep = played(parse_scenario(whole), tmp_path / "lockstep")
    buffered = played(parse_scenario(whole + topology(4, 4, 4)), tmp_path / "buffered")
    torch.testing.assert_close(weights(buffered), weights(lockstep), rtol=0, atol=1e-6)
    assert [record.clock for record in buffered.rounds()] == [1, 2, 3, 4]
    assert [record.survivors for record in buffered.rounds()] == [(0, 1, 2, 3)] * 4


def oracle(scenario: Scenario, folder: Path) -> tuple[Tensor, list[tuple[int, tuple[int, ...]]]]:
    """Plays every tick of the clock; returns the model, and the time and clients of each step."""
    made = parts(scenario, run="", ledgers=folder)
    model = assemble(scenario, run="", ledgers=folder).start.weights
    table, speed = present(scenario.topology), present(scenario.simulate.speed)
    size, places, most = present(table.buffer), present(table.concurrency), table.max_updates
    ready: dict[int, tuple[int, int, int, Tensor]] = {}  # client -> time, ticket, version, row
    count: Counter[int] = Counter()
    buffer: list[tuple[int, int, int, Tensor]] = []
    ticket = version = now = 0
    steps: list[tuple[int, tuple[int, ...]]] = []
    while len(steps) < scenario.rounds:
        for client in sorted(ready):
            time, number, base, row = ready[client]
            if time == now and len(steps) < scenario.rounds:
                del ready[client]
                buffer.append((client, number, base, row))
                if len(buffer) == size:
                    buffer.sort(key=lambda one: one[:2])
                    total = sum(scenario.site_records[c] for c, _, _, _ in buffer)
                    estimate = torch.zeros_like(model, dtype=torch.float64)
                    for c, _, base_of, update in buffer:
                        share = scenario.site_records[c] / total
                        estimate += share * update.double() / math.sqrt(1 + version - base_of)
                    model = (model.double() + estimate).float()
                    version += 1
                    steps.append((now, tuple(c for c, _, _, _ in buffer)))
                    buffer = []
        while len(ready) < places:
            idle = [
                c for c in range(scenario.clients) if c not in ready and count[c] < present(most)
            ]
            if not idle:
                break
            stream = seeded_keystream(scenario.seed, "ticket", ticket)
            client = idle[int(stream.permutation(len(idle))[0])]
            row = made.trainers[client].fit(model, round=ticket).delta
            ready[client] = (now + speed[client], ticket, version, row)
            count[client] += 1
            ticket += 1
        now += 1
    return model, steps


@pytest.mark.parametrize(
    ("table", "speed"),
    [
        (topology(), "[1, 2, 3, 7]"),
        (topology(1, 2), "[5, 1, 2, 2]"),
        (topology(3, 4, 5), "[1, 1, 2, 4]"),
        (topology(2, 2, 3), "[3, 1, 1, 1]"),
    ],
)
def test_it_is_the_obvious_server_that_looks_at_every_tick(
    table: str, speed: str, tmp_path: Path
) -> None:
    scenario = sgd(f"simulate = {{ speed = {speed} }}\n", table)
    cell = played(scenario, tmp_path / "cell")
    model, steps = oracle(scenario, tmp_path / "none")
    torch.testing.assert_close(weights(cell), model, rtol=0, atol=2e-6)
    assert [(record.clock, record.survivors) for record in cell.rounds()] == steps


def test_the_updates_of_each_client_are_counted(tmp_path: Path) -> None:
    cell = played(sgd(SPEED), tmp_path / "cell")
    metrics = present(cell.metrics())
    given = Counter(client for record in cell.rounds() for client in record.survivors)
    assert metrics["updates"] == {str(client): given[client] for client in range(4)}
    assert sum(metrics["updates"].values()) == 12
    assert metrics["updates"]["0"] > metrics["updates"]["3"]
    assert metrics["clock"] == cell.rounds()[-1].clock


def test_no_client_trains_more_often_than_its_noise_is_for(tmp_path: Path) -> None:
    scenario = dp(table=topology(2, 3, 3))
    assert scenario.facts.trainings == 3
    cell = played(scenario, tmp_path / "cell")
    for client in range(4):
        lines = read_lines(cell.ledgers / f"{client}.jsonl")
        assert sum(line["kind"] == "reserve" for line in lines) <= 3


def test_noise_is_calibrated_for_all_updates_that_a_client_may_give(tmp_path: Path) -> None:
    text = f"rounds = 2\n{HEART}training = {{ batch = 64 }}\nprivacy = {{ epsilon = 8.0 }}\n"
    few = assemble(parse_scenario(text + topology(2, 3, 1)), run="", ledgers=tmp_path / "few")
    many = assemble(parse_scenario(text + topology(2, 3, 30)), run="", ledgers=tmp_path / "many")
    costs = [
        present(one.federation.clients[0]._trainer.cost).noise_multiplier  # type: ignore[attr-defined]
        for one in (few, many)
    ]
    assert costs[0] * 2 < costs[1]


def ledger(cell: Cell, client: int, kind: str) -> list[int]:
    lines = read_lines(cell.ledgers / f"{client}.jsonl")
    return [line["release"][2] for line in lines if line["kind"] == kind]


def test_each_update_is_paid_for_once_and_settled_once_it_is_in_a_step(tmp_path: Path) -> None:
    cell = played(dp(), tmp_path / "cell")
    given = Counter(client for record in cell.rounds() for client in record.survivors)
    tickets = []
    for client in range(4):
        reserved, settled = (ledger(cell, client, kind) for kind in ("reserve", "settle"))
        assert reserved == sorted(set(reserved))
        assert settled == reserved[: given[client]]
        # At most one more is on its way when the run ends.
        assert len(reserved) - len(settled) <= 1
        tickets += reserved
    assert sorted(tickets) == list(range(len(tickets)))
    assert len(tickets) > 12


def test_parties_see_what_is_declared(tmp_path: Path) -> None:
    cell = played(sgd(), tmp_path / "cell")
    seen: dict[str, set[str]] = {}
    for line in read_lines(cell.folder / "transcript.jsonl"):
        seen.setdefault(line["party"].split()[0], set()).add(line["kind"])
    assert seen == {party: {kind.value for kind in kinds} for party, kinds in SEES.items()}


def test_each_update_is_seen_in_the_round_of_its_arrival_and_its_bytes_count_there(
    tmp_path: Path,
) -> None:
    cell = played(sgd(SPEED), tmp_path / "cell")
    lines = read_lines(cell.folder / "transcript.jsonl")
    for record in cell.rounds():
        here = [line for line in lines if line["round"] == record.round]
        arrived = [
            line for line in here if (line["party"], line["kind"]) == ("server", Seen.CLEAR_UPDATE)
        ]
        assert tuple(line["about"][0] for line in arrived) == record.survivors
        assert record.bytes_up == sum(line["bytes"] for line in arrived)
        models = [
            line
            for line in here
            if line["party"].startswith("client") and line["kind"] == Seen.GLOBAL_MODEL
        ]
        # Model message and request: heads of 25 bytes, a name of 32 each, and the weights.
        assert record.bytes_down == sum(line["bytes"] + 2 * (25 + 32) for line in models)


@pytest.mark.parametrize("scenario", [sgd(SPEED), dp()], ids=["sgd", "dp"])
def test_workers_change_no_byte(scenario: Scenario, tmp_path: Path) -> None:
    cells = [played(scenario, tmp_path / f"{n}", workers=n) for n in (1, 2)]
    assert torch.equal(weights(cells[0]), weights(cells[1]))
    own = {"seconds": 0, "ledger_heads": {}}  # the name of a run is in its ledgers
    lines = [[{**line, **own} for line in cell.round_lines()] for cell in cells]
    assert lines[0] == lines[1]


def kill_after(
    monkeypatch: pytest.MonkeyPatch, trainings: int, cell: Cell, scenario: Scenario
) -> bool:
    """Plays until so many updates have left clients; whether the run was killed."""
    count = 0
    submit = Client.submit

    def dying(self: Client, update: Any) -> Any:
        nonlocal count
        count += 1
        if count > trainings:
            raise Killed
        return submit(self, update)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "submit", dying)
        try:
            run_cell(cell, scenario, on_round=nothing)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("step", ["fedavg", "fedadam"])
def test_a_run_killed_anywhere_goes_on_bit_for_bit(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = dp(more=f'{SPEED}server = {{ step = "{step}" }}\n')
    whole = Cell(tmp_path / "whole")
    expected = comparable(run_cell(whole, scenario, on_round=nothing))
    records = [replace(record, seconds=0.0, ledger_heads={}) for record in whole.rounds()]
    for trainings in range(1, 20, 3):
        cell = Cell(tmp_path / f"{trainings}")
        if not kill_after(monkeypatch, trainings, cell, scenario):
            break
        assert comparable(run_cell(cell, scenario, on_round=nothing)) == expected
        assert torch.equal(weights(cell), weights(whole))
        got = [replace(record, seconds=0.0, ledger_heads={}) for record in cell.rounds()]
        assert got == records
        assert [ledger(cell, c, "reserve") for c in range(4)] == [
            ledger(whole, c, "reserve") for c in range(4)
        ]
    assert trainings > 10


def test_under_fresh_noise_a_killed_run_takes_new_tickets_and_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    scenario = dp("system")
    for trainings in (1, 4, 2, 5):
        assert kill_after(monkeypatch, trainings, cell, scenario)
    run_cell(cell, scenario, on_round=nothing)
    records = cell.rounds()
    assert [record.abandoned for record in records] == [False] * 6
    assert [record.absent for record in records] == [{}] * 6
    for client in range(4):
        reserved, settled = (ledger(cell, client, kind) for kind in ("reserve", "settle"))
        assert reserved == sorted(set(reserved))
        assert set(settled) <= set(reserved)


def test_a_budget_that_ends_early_ends_the_run_and_leaves_no_update_behind(tmp_path: Path) -> None:
    text = DP.format(noise="seeded").replace("2.0 }", "2.0, epsilon = 2.0 }")
    scenario = parse_scenario(f"rounds = 20\n{HEART}{topology(2, 3, 20)}{text}{SPEED}")
    cell = Cell(tmp_path / "cell")
    with pytest.raises(BudgetExceeded, match="0 of 4 clients may still spend: client 0: release"):
        run_cell(cell, scenario, on_round=nothing)
    assert cell.status().state is CellState.OUT_OF_BUDGET
    assert not load_checkpoint(cell.checkpoint).state.step_state
    assert cell.rounds()[-1].abandoned


def test_the_model_of_a_run_that_is_over_has_no_update_next_to_it(tmp_path: Path) -> None:
    cell = played(sgd(), tmp_path / "cell")
    assert not load_checkpoint(cell.checkpoint).state.step_state


def test_traffic_comes_back_from_its_tensors() -> None:
    rows = torch.tensor([[1.0, math.nan], [3.0, -0.0]])
    flights = [
        Flight(3, 2**31, 7, 2**50 + 1, 2**31 - 1, rows[0]),
        Flight(0, 2, 0, 2**60, 1, rows[1]),
    ]
    traffic = Traffic(flights, {3: 2**30, 0: 1}, 2**32 - 1, 10**6, 2**50)
    tensors = {name: value.clone() for name, value in traffic.tensors().items()}
    assert all(value.dtype == torch.float32 for value in tensors.values())
    assert all(name.startswith(PREFIX) for name in tensors)
    back, rest = Traffic.of({**tensors, "velocity": rows})
    assert list(rest) == ["velocity"]
    assert (back.begun, back.ticket, back.version, back.now) == (
        traffic.begun,
        traffic.ticket,
        traffic.version,
        traffic.now,
    )
    assert [flight.numbers for flight in back.flights] == [flight.numbers for flight in flights]
    for one, other in zip(back.flights, flights, strict=True):
        assert torch.equal(one.row.view(torch.int32), other.row.view(torch.int32))


def test_a_number_beyond_three_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="a number must be from 0 to"):
        Traffic(now=2**72).tensors()


def test_between_sites_and_in_audits_it_is_refused() -> None:
    with pytest.raises(ScenarioError, match="topology has no place between sites"):
        check_deployable(sgd())
    with pytest.raises(ScenarioError, match="no audit looks at topology = 'fedbuff'"):
        Inquiry(sgd(), "server")
    with pytest.raises(ScenarioError, match="no audit looks at topology = 'fedbuff'"):
        inquiries_of(request_for("scenario.toml", ALL), sgd(), None)


def test_a_seed_draws_who_begins(tmp_path: Path) -> None:
    orders = set()
    for seed in range(4):
        scenario = parse_scenario(f"seed = {seed}\nrounds = 2\n{HEART}{topology(1, 1)}{SGD}")
        assembled = join(parts(scenario, run="", ledgers=tmp_path))
        one = assembled.play(assembled.federation, assembled.start, Recorder())
        orders.add(one.record.survivors)
    assert len(orders) > 1
