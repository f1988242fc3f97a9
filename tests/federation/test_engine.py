"""One round and the run of many, with clients and channels small enough to check by hand."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from defenses import mean, median, screen
from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import (
    UNWATCHED,
    ClientUpdate,
    Header,
    Observation,
    Observer,
    Packet,
    Seen,
    View,
)
from securefl.errors import (
    BudgetExceeded,
    ClientFailure,
    LedgerError,
    ProtocolError,
    RoundAbandoned,
    RunFailed,
)
from securefl.federation import engine, stages
from securefl.federation.adversary import NOBODY, Adversary
from securefl.federation.log import RoundLog
from securefl.federation.values import Federation, Played, Rule, State
from securefl.learning.protocol import Metrics, StepResult
from tests.recorder import Recorder

SESSION = b"s" * 16
LAYOUT = "w(2,)"
MODEL_BYTES = 25 + 32 + 4 * 2
START = torch.tensor([10.0, 20.0])


def pack(client: int, update: ClientUpdate) -> bytes:
    return json.dumps([client, update.weight, update.delta.tolist()]).encode()


@dataclass
class FakeClient:
    """Trains to a given delta, fails where a test wants it to, and notes its calls."""

    client: int
    delta: Sequence[float]
    weight: int = 1
    # A call, such as "train", or a call and a round, such as "train 1" -> its failure.
    fails: Mapping[str, Exception] = field(default_factory=dict)
    message: bytes | None = None  # sent in place of the update
    head: str | None = None
    calls: list[str] = field(default_factory=list)
    loaded: ModelMessage | None = None
    confirmed: list[int] = field(default_factory=list)

    @property
    def ledger_head(self) -> str | None:
        return self.head

    def _called(self, name: str) -> None:
        self.calls.append(name)
        round = "none" if self.loaded is None else self.loaded.round
        for key in (name, f"{name} {round}"):
            if key in self.fails:
                raise self.fails[key]

    def load(self, message: bytes) -> None:
        self.loaded = ModelMessage.from_bytes(message, d=2)
        self._called("load")

    def receive(self, request: bytes) -> bytes | View | None:
        kind, _, body = request.partition(b" ")
        self._called(kind.decode())
        if kind == b"open":
            return view_of(json.loads(body))
        return f"key of {self.client}".encode() if kind == b"hello" else None

    def begin(self) -> None:
        self._called("begin")

    def train(self) -> ClientUpdate:
        self._called("train")
        assert self.loaded is not None
        return ClientUpdate(
            torch.tensor(self.delta),
            self.weight,
            None,
            vector.model_hash(LAYOUT, self.loaded.weights),
        )

    def submit(self, update: ClientUpdate) -> bytes:
        self._called("submit")
        return pack(self.client, update) if self.message is None else self.message

    def confirm(self, round: int) -> None:
        self.confirmed.append(round)


def view_of(updates: Sequence[tuple[int, int, Sequence[float]]]) -> View:
    """One row a client, ascending."""
    ordered = sorted(updates)
    return View(
        torch.tensor([delta for _, _, delta in ordered]),
        torch.tensor([float(weight) for _, weight, _ in ordered]),
        tuple((client,) for client, _, _ in ordered),
    )


@dataclass
class FakeServer:
    """A channel of one stage; messages that are not JSON are dropped."""

    min_cohort: int = 1
    began: list[tuple[int, Sequence[int], bytes]] = field(default_factory=list)
    updates: list[tuple[int, int, Sequence[float]]] = field(default_factory=list)
    stage: int = 0
    observer: Observer = UNWATCHED

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        self.began.append((round, cohort, model_hash))
        self.updates, self.stage, self.observer = [], 0, observer

    def requests(self) -> Mapping[int, bytes]:
        return dict.fromkeys(self.began[-1][1], b"update")

    def absorb(self, client: int, message: Packet) -> bool:
        try:
            sender, weight, delta = json.loads(bytes(message))
        except ValueError:
            return False
        self.updates.append((sender, weight, delta))
        self.observer.observe(Observation("server", Seen.CLEAR_UPDATE, (client,), (2,), 8))
        return bool(sender == client)

    def close_stage(self) -> View | None:
        self.stage += 1
        if len(self.updates) < self.min_cohort:
            raise RoundAbandoned(f"{len(self.updates)} came")
        return view_of(self.updates)


@dataclass
class GreetingServer(FakeServer):
    """Two stages: keys, then updates from those whose key came."""

    keys: dict[int, bytes] = field(default_factory=dict)

    def requests(self) -> Mapping[int, bytes]:
        return (
            dict.fromkeys(self.began[-1][1], b"hello")
            if self.stage == 0
            else dict.fromkeys(self.keys, b"update")
        )

    def absorb(self, client: int, message: Packet) -> bool:
        if self.stage == 1:
            return super().absorb(client, message)
        if message != f"key of {client}".encode():
            return False
        self.keys[client] = bytes(message)
        return True

    def close_stage(self) -> View | None:
        if self.stage == 1:
            return super().close_stage()
        self.stage = 1
        return None


@dataclass
class SealedServer(FakeServer):
    """Two stages: updates, then client 0 opens them; the server itself never shows a view."""

    def requests(self) -> Mapping[int, bytes]:
        if self.stage == 0:
            return super().requests()
        return {0: b"open " + json.dumps(self.updates).encode()}

    def close_stage(self) -> View | None:
        self.stage += 1
        return None


@dataclass
class FarewellServer(FakeServer):
    """Two stages: updates, then a goodbye; the round succeeds without replies to it."""

    def requests(self) -> Mapping[int, bytes]:
        return super().requests() if self.stage == 0 else dict.fromkeys(self.began[-1][1], b"bye")

    def close_stage(self) -> View | None:
        self.stage += 1
        return None if self.stage == 1 else view_of(self.updates)


def add(weights: Tensor, estimate: Tensor, state: Mapping[str, Tensor]) -> StepResult:
    """Adds the estimate to the weights and counts its steps."""
    return StepResult(weights + estimate, {"steps": state.get("steps", torch.zeros(1)) + 1})


def weighted(rows: Tensor, weights: Tensor) -> Tensor:
    return mean(rows, weights=weights)


def accuracy_is_the_first_weight(state: State) -> Metrics:
    return Metrics(1, float(state.weights[0]), None, None, None)


def federation(
    *clients: FakeClient,
    server: FakeServer | None = None,
    min_cohort: int = 1,
    adversary: Adversary = NOBODY,
    rule: Rule = weighted,
    invite: Callable[[int], tuple[int, ...]] | None = None,
) -> Federation:
    server = FakeServer() if server is None else server
    server.min_cohort = min_cohort
    everyone = tuple(client.client for client in clients)
    return Federation(
        clients={client.client: client for client in clients},
        server=server,
        session=SESSION,
        layout=LAYOUT,
        invite=invite or (lambda round: everyone),
        min_cohort=min_cohort,
        adversary=adversary,
        screen=screen,
        rule=rule,
        weigh=None,
        step=add,
        evaluate=accuracy_is_the_first_weight,
    )


def play(setup: Federation, *, round: int = 0, observer: Observer = UNWATCHED) -> Played:
    return engine.play_round(setup, State(START, round=round), observer)


def two_clients() -> tuple[FakeClient, FakeClient]:
    """Clients whose weighted mean is (2.5, -3).

    By hand: ((1 + 3 * 3) / 4, (0 - 3 * 4) / 4). Without weights it would be (2, -2).
    """
    return FakeClient(0, (1.0, 0.0), weight=1), FakeClient(1, (3.0, -4.0), weight=3)


def three_clients() -> tuple[FakeClient, FakeClient, FakeClient]:
    return FakeClient(0, (1.0, 0.0)), FakeClient(1, (2.0, 0.0)), FakeClient(2, (6.0, 0.0))


def test_a_round_adds_the_weighted_mean_to_the_model() -> None:
    played = play(federation(*two_clients()), round=4)
    assert played.state.weights.tolist() == [12.5, 17.0]
    assert played.state.step_state == {"steps": torch.ones(1)}
    assert played.state.round == 5


def test_a_record_describes_its_round() -> None:
    first, second = two_clients()
    second.head = "abc"
    record = play(federation(first, second), round=4).record
    assert 0 <= record.seconds < 60
    assert (record.round, record.abandoned, record.reason) == (4, False, "")
    assert (record.cohort, record.survivors) == ((0, 1), (0, 1))
    assert (record.absent, record.screened) == ({}, ())
    assert record.accuracy == 12.5
    assert record.ledger_heads == {1: "abc"}
    assert record.rejected == 0


def test_nobody_evaluates_a_round_that_is_not_to_be_evaluated() -> None:
    asked = []

    def even(round: int) -> bool:
        asked.append(round)
        return round % 2 == 0

    setup = replace(federation(*two_clients()), evaluate=refused, is_evaluated=even)
    record = play(setup, round=5).record
    assert asked == [5]
    assert (record.evaluated, record.accuracy, record.rmse) == (False, None, None)
    with pytest.raises(RuntimeError, match="nobody asked"):
        play(setup, round=4)
    assert play(replace(setup, evaluate=accuracy_is_the_first_weight), round=4).record.evaluated


def refused(state: State) -> Metrics:
    raise RuntimeError("nobody asked for it")


def test_bytes_are_counted_in_both_directions() -> None:
    first, second = two_clients()
    record = play(federation(first, second)).record
    assert record.bytes_down == 2 * MODEL_BYTES + 2 * len(b"update")
    assert record.bytes_up == len(b"[0, 1, [1.0, 0.0]]") + len(b"[1, 3, [3.0, -4.0]]")


def test_no_bytes_are_counted_for_requests_and_replies_of_an_absent_client() -> None:
    first, second = two_clients()
    second.fails = {"load": ClientFailure("off")}
    record = play(federation(first, second)).record
    assert record.bytes_down == 2 * MODEL_BYTES + len(b"update")  # the model was on its way to both
    assert record.bytes_up == len(b"[0, 1, [1.0, 0.0]]")


def test_every_invited_client_gets_the_model_and_the_channel_its_hash() -> None:
    clients, server = two_clients(), FakeServer()
    play(federation(*clients, server=server), round=3)
    for client in clients:
        assert client.loaded is not None
        assert (client.loaded.session, client.loaded.round) == (SESSION, 3)
        assert client.loaded.weights.tolist() == START.tolist()
    assert server.began == [(3, (0, 1), vector.model_hash(LAYOUT, START))]


HOLDERS = ("server", "network", "client 0", "client 1")


def test_a_transcript_lists_models_then_the_channel_then_what_clients_sent() -> None:
    played = play(federation(*two_clients()))
    models = [Header(party, Seen.GLOBAL_MODEL, (), (2,), 8) for party in HOLDERS]
    updates = [Header("server", Seen.CLEAR_UPDATE, (client,), (2,), 8) for client in (0, 1)]
    own = [Header(f"client {client}", Seen.OWN_UPDATE, (client,), (2,), 8) for client in (0, 1)]
    assert list(played.observed) == [*models, *updates, *own]


def test_an_observer_is_given_what_each_party_sees_when_it_sees_it() -> None:
    recorder = Recorder()
    play(federation(*two_clients()), observer=recorder)
    models = [(party, Seen.GLOBAL_MODEL, (10.0, 20.0)) for party in HOLDERS]
    numbers = [
        (o.party, o.kind, None if o.values is None else tuple(o.values.tolist()))
        for o in recorder.observations
    ]
    assert numbers == [
        *models,
        ("client 0", Seen.OWN_UPDATE, (1.0, 0.0)),
        ("server", Seen.CLEAR_UPDATE, None),
        ("client 1", Seen.OWN_UPDATE, (3.0, -4.0)),
        ("server", Seen.CLEAR_UPDATE, None),
    ]


def test_the_transcript_ends_with_the_sums_that_clients_opened() -> None:
    recorder = Recorder()
    adversary = Adversary(frozenset({1}), lambda own, known, round: 2 * own, omniscient=True)
    setup = federation(*two_clients(), server=SealedServer(), adversary=adversary)
    played = play(setup, observer=recorder)
    assert [(o.party, o.kind, o.about) for o in played.observed[4:]] == [
        ("server", Seen.CLEAR_UPDATE, (0,)),
        ("server", Seen.CLEAR_UPDATE, (1,)),
        ("client 0", Seen.OWN_UPDATE, (0,)),
        ("adversary", Seen.OWN_HONEST_UPDATES, (1,)),
        ("adversary", Seen.OTHERS_HONEST_UPDATES, (0,)),
        ("client 1", Seen.OWN_UPDATE, (1,)),
        ("client 0", Seen.OPENED_SUM, (0,)),
        ("client 0", Seen.OPENED_SUM, (1,)),
    ]
    opened = [o.values for o in recorder.observations if o.kind == Seen.OPENED_SUM]
    assert [row.tolist() for row in opened if row is not None] == [[1.0, 0.0], [6.0, -8.0]]


def test_where_the_server_does_not_hold_the_model_neither_it_nor_the_network_sees_it() -> None:
    observed = play(replace(federation(*two_clients()), server_holds_model=False)).observed
    assert {header.party for header in observed if header.kind == Seen.GLOBAL_MODEL} == {
        "client 0",
        "client 1",
    }


def test_each_round_has_its_own_cohort_and_other_clients_are_not_called() -> None:
    clients = three_clients()
    for client in clients:
        client.head = f"head {client.client}"
    cohorts = {0: (0, 2), 1: (1, 2)}
    setup = federation(*clients, invite=cohorts.__getitem__)
    played = list(engine.run(setup, State(START), rounds=2))
    assert [p.record.cohort for p in played] == [(0, 2), (1, 2)]
    assert [p.record.survivors for p in played] == [(0, 2), (1, 2)]
    assert [p.state.weights.tolist() for p in played] == [[13.5, 20.0], [17.5, 20.0]]
    assert [client.confirmed for client in clients] == [[0], [1], [0, 1]]
    assert clients[0].calls == ["load", "update", "begin", "train", "submit"]
    assert played[0].record.ledger_heads == {0: "head 0", 1: "head 1", 2: "head 2"}


def test_a_run_continues_from_its_state_and_ends_after_its_rounds() -> None:
    setup = federation(*two_clients())
    state = State(START, {"steps": torch.tensor([7.0])}, round=2)
    played = list(engine.run(setup, state, rounds=4))
    assert [p.record.round for p in played] == [2, 3]
    assert played[-1].state.weights.tolist() == [15.0, 14.0]
    assert played[-1].state.step_state == {"steps": torch.tensor([9.0])}
    assert list(engine.run(setup, State(START, round=4), rounds=4)) == []


def test_an_abandoned_round_leaves_model_and_server_state_untouched_and_is_recorded() -> None:
    clients = two_clients()
    clients[0].fails = {"train": ClientFailure("unplugged")}
    before = State(START.clone(), {"steps": torch.tensor([7.0])}, round=3)
    played = engine.play_round(federation(*clients, min_cohort=2), before)
    assert played.state == replace(before, round=4)
    assert before.weights.tolist() == START.tolist()
    assert before.step_state["steps"].tolist() == [7.0]
    assert (played.record.abandoned, played.record.reason) == (True, "1 came")
    assert played.record.survivors == ()
    assert played.record.absent == {0: "unplugged"}
    assert played.record.accuracy == 10.0
    assert [client.confirmed for client in clients] == [[], []]
    assert played.record.bytes_up == len(b"[1, 3, [3.0, -4.0]]")


def test_a_pair_of_a_round_whose_aggregate_is_refused_is_not_in_doubt_for_good() -> None:
    # The record of an abandoned round bars its pairs from the whole run.
    clients = two_clients()
    setup = federation(*clients)
    view = replace(view_of([(0, 1, [1.0, math.nan]), (1, 1, [1.0, 2.0])]), paired=((0, 1),))
    log = RoundLog(UNWATCHED)
    log.note_choice(view)
    state = State(START)
    setup = replace(setup, rule=lambda rows, weights: rows.mean(dim=0))
    assert engine.aggregated(setup, view, state, log) is state
    assert (log.reason != "", log.paired) == (True, ())


def test_the_round_after_an_abandoned_one_starts_from_the_last_good_model() -> None:
    clients = two_clients()
    clients[0].fails = {"train 1": ClientFailure("unplugged")}
    played = list(engine.run(federation(*clients, min_cohort=2), State(START), rounds=3))
    assert [p.record.abandoned for p in played] == [False, True, False]
    assert [p.state.weights.tolist() for p in played] == [[12.5, 17.0], [12.5, 17.0], [15.0, 14.0]]
    assert played[-1].state.step_state == {"steps": torch.tensor([2.0])}
    assert [client.confirmed for client in clients] == [[0, 2], [0, 2]]


@pytest.mark.parametrize("call", ["load", "update", "begin", "train", "submit"])
@pytest.mark.parametrize(
    "failure", [ClientFailure("unplugged"), ProtocolError("unplugged"), BudgetExceeded("unplugged")]
)
def test_a_client_that_fails_is_absent_with_its_reason_and_the_others_go_on(
    call: str, failure: Exception
) -> None:
    clients = three_clients()
    clients[1].fails = {call: failure}
    played = play(federation(*clients))
    assert played.record.absent == {1: "unplugged"}
    assert played.record.survivors == (0, 2)
    assert played.state.weights.tolist() == [13.5, 20.0]
    assert [client.confirmed for client in clients] == [[0], [], [0]]
    assert played.out_of_budget == ({1} if isinstance(failure, BudgetExceeded) else set())


def test_a_client_that_failed_to_load_gets_no_request() -> None:
    clients = two_clients()
    clients[0].fails = {"load": ProtocolError("bad model")}
    play(federation(*clients))
    assert clients[0].calls == ["load"]


@pytest.mark.parametrize("failure", [LedgerError("edited"), OSError("disk"), KeyError("bug")])
def test_other_failures_end_the_round(failure: Exception) -> None:
    clients = two_clients()
    clients[0].fails = {"train": failure}
    with pytest.raises(type(failure), match=r"edited|disk|bug"):
        play(federation(*clients))


def test_a_dropped_message_is_counted_and_its_client_absent() -> None:
    clients = three_clients()
    clients[1].message = b"garbage"
    record = play(federation(*clients)).record
    assert record.rejected == 1
    assert record.absent == {1: "its message was dropped: malformed, foreign or late"}
    assert record.survivors == (0, 2)
    assert record.bytes_up == len(b"garbage") + 2 * len(b"[0, 1, [1.0, 0.0]]")
    assert clients[1].confirmed == []


def out_of_budget(client: FakeClient) -> FakeClient:
    client.fails = {"train 1": BudgetExceeded(f"client {client.client} is out")}
    return client


def test_the_run_ends_when_fewer_than_the_minimum_cohort_may_spend() -> None:
    first, second, third = three_clients()
    rounds = engine.run(
        federation(first, out_of_budget(second), out_of_budget(third), min_cohort=2),
        State(START),
        rounds=9,
    )
    assert next(rounds).record.abandoned is False
    last = next(rounds)
    assert last.record.abandoned is True
    assert last.state.weights.tolist() == [13.0, 20.0]
    with pytest.raises(
        BudgetExceeded,
        match="round 1: 1 of 3 clients may still spend: client 1 is out; client 2 is out",
    ) as e:
        next(rounds)
    assert e.value.exit_code == 3


def test_the_run_ends_when_nobody_may_spend() -> None:
    first, second = two_clients()
    with pytest.raises(BudgetExceeded, match="round 1: 0 of 2 clients may still spend"):
        list(
            engine.run(
                federation(out_of_budget(first), out_of_budget(second)), State(START), rounds=9
            )
        )


def test_the_run_goes_on_while_the_minimum_cohort_may_spend() -> None:
    first, second, third = three_clients()
    second.fails = {"train": BudgetExceeded("out")}
    played = list(
        engine.run(federation(first, second, third, min_cohort=2), State(START), rounds=2)
    )
    assert [p.record.survivors for p in played] == [(0, 2), (0, 2)]


def test_a_round_abandoned_for_another_reason_does_not_end_the_run_while_enough_may_spend() -> None:
    first, second, third = three_clients()
    second.fails = {"train": BudgetExceeded("out")}
    third.fails = {"train 0": ClientFailure("unplugged")}
    played = list(
        engine.run(federation(first, second, third, min_cohort=2), State(START), rounds=2)
    )
    assert [p.record.abandoned for p in played] == [True, False]


def test_a_cohort_out_of_budget_does_not_end_the_run_while_others_may_spend() -> None:
    clients = four_clients()
    for client in clients[:2]:
        client.fails = {"train": BudgetExceeded("out")}
    cohorts = {0: (0, 1), 1: (2, 3), 2: (0, 1)}
    setup = federation(*clients, min_cohort=2, invite=cohorts.__getitem__)
    played = list(engine.run(setup, State(START), rounds=3))
    assert [p.record.abandoned for p in played] == [True, False, True]


def test_a_client_out_of_budget_in_an_earlier_round_still_counts_as_out() -> None:
    first, second, third = three_clients()
    first.fails = second.fails = {"train": BudgetExceeded("out")}
    cohorts = {0: (0, 2), 1: (1, 2)}
    rounds = engine.run(
        federation(first, second, third, min_cohort=2, invite=cohorts.__getitem__),
        State(START),
        rounds=9,
    )
    assert [next(rounds).record.abandoned for _ in range(2)] == [True, True]
    with pytest.raises(BudgetExceeded, match=r"round 1: 1 of 3 clients may still spend: out$"):
        next(rounds)


def test_an_empty_round_does_not_end_the_run_while_others_were_not_invited() -> None:
    first, second, third = three_clients()
    first.fails = {"load": ClientFailure("unplugged")}
    cohorts = {0: (0,), 1: (1, 2)}
    setup = federation(first, second, third, invite=cohorts.__getitem__)
    assert [p.record.abandoned for p in engine.run(setup, State(START), rounds=2)] == [True, False]


def test_the_run_fails_when_no_clients_are_left() -> None:
    clients = three_clients()
    for client in clients:
        client.fails = {"train 1": ClientFailure("unplugged" if client.client else "flooded")}
    rounds = engine.run(federation(*clients), State(START), rounds=9)
    assert [next(rounds).record.abandoned for _ in range(2)] == [False, True]
    with pytest.raises(RunFailed, match=r"round 1: no clients left: flooded; unplugged$") as e:
        next(rounds)
    assert e.value.exit_code == 1


def test_the_last_round_may_end_the_run_too() -> None:
    clients = two_clients()
    for client in clients:
        client.fails = {"load": ClientFailure("unplugged")}
    with pytest.raises(RunFailed, match="round 0: no clients left: unplugged"):
        list(engine.run(federation(*clients), State(START), rounds=1))


@pytest.mark.parametrize("rule", [weighted, lambda rows, weights: median(rows)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_recorded_and_never_averaged(bad: float, rule: Rule) -> None:
    first, second, third = three_clients()
    second.delta = (bad, 1.0)
    played = play(federation(first, second, third, rule=rule))
    assert played.record.screened == (1,)
    assert played.record.survivors == (0, 1, 2)  # it took part, so its release is settled
    assert played.state.weights.tolist() == [13.5, 20.0]
    assert second.confirmed == [0]


def test_a_round_of_nothing_but_bad_rows_is_abandoned() -> None:
    clients = two_clients()
    for client in clients:
        client.delta = (math.nan, 0.0)
    played = play(federation(*clients))
    assert played.record.abandoned
    assert "mean needs a finite row" in played.record.reason
    assert played.record.screened == (0, 1)
    assert played.record.survivors == ()
    assert played.state.weights.tolist() == START.tolist()
    assert [client.confirmed for client in clients] == [[], []]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_abandons_the_round(value: float) -> None:
    def overflow(weights: Tensor, estimate: Tensor, state: Mapping[str, Tensor]) -> StepResult:
        return StepResult(torch.tensor([0.0, value]), {"steps": torch.zeros(1)})

    clients = two_clients()
    played = play(replace(federation(*clients), step=overflow))
    assert played.record.reason == "the step would leave a model that is not finite"
    assert played.record.abandoned
    assert played.state.weights.tolist() == START.tolist()
    assert played.state.step_state == {}
    assert played.record.survivors == ()
    assert [client.confirmed for client in clients] == [[], []]


@dataclass
class Spy:
    """An attack that notes its input, spoils it in place, and sends tens."""

    inputs: list[tuple[list[list[float]], int]] = field(default_factory=list)  # known rows, round

    def __call__(self, own: Tensor, known: Tensor, round: int) -> Tensor:
        self.inputs.append((known.tolist(), round))
        own[:] = known[:] = math.nan
        return torch.full_like(own, 10.0) * torch.arange(1, 1 + len(own)).unsqueeze(1)


def four_clients() -> list[FakeClient]:
    return [FakeClient(client, (float(client), 1.0)) for client in range(4)]


def test_the_adversary_sees_its_own_clients_honest_rows_and_nothing_else() -> None:
    spy = Spy()
    play(federation(*four_clients(), adversary=Adversary(frozenset({2, 0}), spy)), round=6)
    assert spy.inputs == [([[0.0, 1.0], [2.0, 1.0]], 6)]


def test_an_omniscient_adversary_sees_the_others_updates_and_cannot_change_them() -> None:
    spy = Spy()
    played = play(
        federation(*four_clients(), adversary=Adversary(frozenset({0, 2}), spy, omniscient=True)),
        round=6,
    )
    assert spy.inputs == [([[1.0, 1.0], [3.0, 1.0]], 6)]
    assert torch.isfinite(played.state.weights).all()


def test_an_omniscient_adversary_does_not_see_an_update_that_the_server_dropped() -> None:
    spy, clients = Spy(), four_clients()
    clients[3].message = b"garbage"
    play(federation(*clients, adversary=Adversary(frozenset({0, 2}), spy, omniscient=True)))
    assert spy.inputs == [([[1.0, 1.0]], 0)]


def test_honest_rows_reach_the_server_unchanged_and_corrupt_rows_come_last() -> None:
    server = FakeServer()
    play(federation(*four_clients(), server=server, adversary=Adversary(frozenset({0, 2}), Spy())))
    assert server.updates == [
        (1, 1, [1.0, 1.0]),
        (3, 1, [3.0, 1.0]),
        (0, 1, [10.0, 10.0]),
        (2, 1, [20.0, 20.0]),
    ]


def test_a_corrupt_client_that_fails_is_absent_and_unseen_if_it_did_not_train() -> None:
    spy, clients = Spy(), four_clients()
    clients[0].fails = {"train": BudgetExceeded("out")}
    clients[3].fails = {"submit": ClientFailure("too late")}
    record = play(federation(*clients, adversary=Adversary(frozenset({0, 2, 3}), spy))).record
    assert spy.inputs == [([[2.0, 1.0], [3.0, 1.0]], 0)]
    assert record.absent == {0: "out", 3: "too late"}
    assert record.survivors == (1, 2)


def test_an_adversary_with_nobody_in_the_round_does_nothing() -> None:
    spy = Spy()
    play(
        federation(
            *four_clients(), adversary=Adversary(frozenset({0}), spy), invite=lambda round: (1, 2)
        )
    )
    assert spy.inputs == []


def test_a_channel_of_two_stages_works_with_the_same_engine() -> None:
    clients, server = three_clients(), GreetingServer()
    played = play(federation(*clients, server=server))
    assert played.state.weights.tolist() == [13.0, 20.0]
    assert [client.calls for client in clients] == [
        ["load", "hello", "update", "begin", "train", "submit"]
    ] * 3
    assert played.record.bytes_down == 3 * (MODEL_BYTES + len(b"hello") + len(b"update"))
    assert played.record.bytes_up == 3 * (len(b"key of 0") + len(b"[0, 1, [1.0, 0.0]]"))


def test_a_client_that_drops_out_in_one_stage_gets_no_request_in_the_next() -> None:
    first, second, third = three_clients()
    second.fails = {"hello": ClientFailure("unplugged")}
    server = GreetingServer(keys={1: b"remembered from another day"})
    played = play(federation(first, second, third, server=server))
    assert second.calls == ["load", "hello"]
    assert played.record.survivors == (0, 2)


def test_the_adversary_moves_in_the_stage_of_the_updates_only() -> None:
    spy, clients = Spy(), three_clients()
    played = play(
        federation(*clients, server=GreetingServer(), adversary=Adversary(frozenset({1}), spy))
    )
    assert spy.inputs == [([[2.0, 0.0]], 0)]
    assert played.state.weights.tolist() == [START[0] + 17 / 3, START[1] + 10 / 3]


def test_a_view_that_opens_at_a_client_works_with_the_same_engine() -> None:
    clients, server = two_clients(), SealedServer()
    played = play(federation(*clients, server=server))
    assert played.state.weights.tolist() == [12.5, 17.0]
    assert played.record.survivors == (0, 1)
    assert clients[0].calls == ["load", "update", "begin", "train", "submit", "open"]
    assert server.stage == 2
    # The two updates travel, the view does not.
    assert played.record.bytes_up == len(b"[0, 1, [1.0, 0.0]]") + len(b"[1, 3, [3.0, -4.0]]")


def test_the_adversary_moves_once_a_round_however_many_stages_follow() -> None:
    spy, server = Spy(), SealedServer()
    played = play(
        federation(*two_clients(), server=server, adversary=Adversary(frozenset({1}), spy))
    )
    assert spy.inputs == [([[3.0, -4.0]], 0)]
    assert server.updates == [(0, 1, [1.0, 0.0]), (1, 3, [10.0, 10.0])]
    assert played.state.weights.tolist() == [17.75, 27.5]


def test_a_round_with_all_updates_succeeds_even_if_everyone_falls_silent_afterwards() -> None:
    clients = two_clients()
    for client in clients:
        client.fails = {"bye": ClientFailure("unplugged")}
    played = list(engine.run(federation(*clients, server=FarewellServer()), State(START), rounds=2))
    assert [p.record.abandoned for p in played] == [False, False]
    assert played[0].record.absent == {0: "unplugged", 1: "unplugged"}
    assert played[0].record.survivors == (0, 1)
    assert [client.confirmed for client in clients] == [[0, 1], [0, 1]]
    assert played[-1].state.weights.tolist() == [15.0, 14.0]


def test_a_forged_packet_before_or_after_the_honest_one_excludes_nobody() -> None:
    setup, log = federation(*two_clients()), RoundLog(UNWATCHED)
    setup.server.begin(0, (0, 1), b"")
    honest = pack(0, ClientUpdate(torch.tensor([1.0, 0.0]), 1, None, b""))
    for packets in ([b"junk", honest], [honest, b"junk"], [b"junk", honest, b"junk"]):
        log.answered.clear()
        for packet in packets:
            stages.deliver(setup.server, 0, packet, log)
        assert log.absent == {}
    stages.deliver(setup.server, 1, b"junk", log)
    assert log.absent == {1: "its message was dropped: malformed, foreign or late"}
    assert log.rejected == 5


def test_a_client_whose_message_is_dropped_is_absent_though_it_answered_an_earlier_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, setup = RoundLog(UNWATCHED), federation(*two_clients(), server=GreetingServer())
    monkeypatch.setattr(setup.clients[1], "submit", lambda update: b"junk")
    setup.server.begin(0, (0, 1), b"")
    for client in (0, 1):
        setup.clients[client].load(
            ModelMessage(SESSION, 0, vector.model_hash(LAYOUT, START), START).to_bytes()
        )
    engine.exchange(setup, 0, log)
    assert log.absent == {1: "its message was dropped: malformed, foreign or late"}


@dataclass
class TracedClient(FakeClient):
    """Notes its calls in a list that all clients share."""

    trace: list[str] = field(default_factory=list)

    def _called(self, name: str) -> None:
        self.trace.append(f"{name} {self.client}")
        super()._called(name)


def traced(*, ahead: int, **fails: Exception) -> tuple[list[str], Played]:
    """The order of calls in a round of four clients; client 1 fails in the named call."""
    trace: list[str] = []
    crowd = [TracedClient(client, (1.0, float(client)), trace=trace) for client in range(4)]
    crowd[1].fails = fails
    played = play(replace(federation(*crowd), ahead=ahead))
    return [call for call in trace if not call.startswith("load")], played


def test_clients_take_turns_where_one_trains_at_a_time() -> None:
    calls, _ = traced(ahead=1)
    assert calls == [
        f"{call} {client}" for client in range(4) for call in ("update", "begin", "train", "submit")
    ]


def test_a_window_of_clients_begins_before_the_first_of_them_submits() -> None:
    calls, _ = traced(ahead=3)
    assert [call for call in calls if not call.startswith(("update", "train"))] == [
        "begin 0",
        "begin 1",
        "begin 2",
        "submit 0",
        "begin 3",
        "submit 1",
        "submit 2",
        "submit 3",
    ]


@pytest.mark.parametrize("call", ["update", "begin", "train", "submit"])
def test_a_record_does_not_depend_on_how_many_clients_train_at_once(call: str) -> None:
    records = []
    for ahead in (1, 2, 3, 9):
        _, played = traced(ahead=ahead, **{call: BudgetExceeded("out")})
        records.append((replace(played.record, seconds=0.0), played.out_of_budget, played.observed))
    assert records[0][0].absent == {1: "out"}
    assert records == [records[0]] * 4


def test_absent_clients_are_noted_in_their_order_however_early_they_fail() -> None:
    # Client 2 fails at once, client 1 only when it has trained.
    for ahead in (1, 4):
        crowd = three_clients()
        crowd[1].fails = {"train": ClientFailure("out of memory")}
        crowd[2].fails = {"update": ClientFailure("unplugged")}
        played = play(replace(federation(*crowd), ahead=ahead))
        assert list(played.record.absent) == [1, 2]


def test_what_breaks_the_round_of_a_later_client_waits_for_its_turn() -> None:
    server = FakeServer()
    crowd = three_clients()
    crowd[2].fails = {"begin": LedgerError("edited")}
    with pytest.raises(LedgerError, match="edited"):
        play(replace(federation(*crowd, server=server), ahead=3))
    assert [sender for sender, _, _ in server.updates] == [0, 1]
