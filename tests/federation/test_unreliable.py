"""Clients that fail on purpose: silent from a stage on, or late."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from defenses import mean, screen
from securefl.channels.messages import ModelMessage
from securefl.channels.plain import PlainClient, PlainServer
from securefl.channels.protocol import ClientUpdate
from securefl.errors import ClientFailure
from securefl.federation.adversary import NOBODY
from securefl.federation.client import Client
from securefl.federation.engine import play_round
from securefl.federation.reader import ModelReader
from securefl.federation.unreliable import UnreliableClient
from securefl.federation.values import Federation, Participant, Played, State
from securefl.learning.protocol import Metrics, Trained
from securefl.learning.steps import fedavg
from securefl.privacy.events import SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.terms import Terms

SESSION = b"s" * 16
UPDATE = ClientUpdate(torch.tensor([1.0]), 1, None, b"")
EVENT = SampledGaussian(1.0, 2.0, 1)


@dataclass
class Inner:
    """A participant that answers everything and notes its calls."""

    calls: list[str] = field(default_factory=list)
    ledger_head: str | None = "head"

    def load(self, message: bytes) -> None:
        self.calls.append("load")

    def receive(self, request: bytes) -> bytes:
        self.calls.append(request.decode())
        return b"reply to " + request

    def begin(self) -> None:
        self.calls.append("begin")

    def train(self) -> ClientUpdate:
        self.calls.append("train")
        return UPDATE

    def submit(self, update: ClientUpdate) -> bytes:
        self.calls.append("submit")
        return b"update"

    def confirm(self, round: int) -> None:
        self.calls.append(f"confirm {round}")


def model(round: int) -> bytes:
    return ModelMessage(SESSION, round, bytes(32), torch.zeros(1)).to_bytes()


def stages_answered(client: UnreliableClient, *, round: int, stages: int = 4) -> list[int]:
    """The stages of a round, from 1, in which the client answers."""
    client.load(model(round))
    answered = []
    for stage in range(1, stages + 1):
        try:
            assert client.receive(b"request") == b"reply to request"
        except ClientFailure as reason:
            message = f"dropped at stage {stage} (simulated)"
            assert str(reason) == message  # noqa: PT017 - either outcome is fine here
        else:
            answered.append(stage)
    return answered


@pytest.mark.parametrize(("stage", "answered"), [(1, []), (2, [1]), (3, [1, 2]), (5, [1, 2, 3, 4])])
def test_a_client_is_silent_from_its_stage_on(stage: int, answered: list[int]) -> None:
    client = UnreliableClient(Inner(), drop={1: stage}, late=frozenset())
    assert stages_answered(client, round=1) == answered


def test_a_client_is_silent_in_its_rounds_only() -> None:
    client = UnreliableClient(Inner(), drop={1: 1, 3: 2}, late=frozenset())
    answered = {round: stages_answered(client, round=round) for round in (0, 1, 2, 3, 4)}
    assert answered == {0: [1, 2, 3, 4], 1: [], 2: [1, 2, 3, 4], 3: [1], 4: [1, 2, 3, 4]}


def test_the_inner_client_gets_no_request_that_goes_unanswered() -> None:
    inner = Inner()
    client = UnreliableClient(inner, drop={0: 2}, late=frozenset())
    client.load(model(0))
    client.receive(b"first")
    with pytest.raises(ClientFailure, match="dropped at stage 2"):
        client.receive(b"second")
    assert inner.calls == ["load", "first"]


def test_a_late_client_trains_and_submits_in_vain() -> None:
    inner = Inner()
    client = UnreliableClient(inner, drop={}, late=frozenset({2}))
    client.load(model(2))
    update = client.train()
    with pytest.raises(ClientFailure, match="its update came too late"):
        client.submit(update)
    assert inner.calls == ["load", "train", "submit"]


def test_in_other_rounds_the_inner_client_does_everything() -> None:
    inner = Inner()
    client = UnreliableClient(inner, drop={1: 1}, late=frozenset({2}))
    client.load(model(3))
    assert client.receive(b"request") == b"reply to request"
    client.begin()
    assert client.train() is UPDATE
    assert client.submit(UPDATE) == b"update"
    client.confirm(3)
    assert client.ledger_head == "head"
    assert inner.calls == ["load", "request", "begin", "train", "submit", "confirm 3"]


class PaidTrainer:
    """Returns the update 1, at the cost of one EVENT."""

    cost = EVENT

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        return Trained(torch.ones(1), EVENT)


def play_with(
    unreliable: Callable[[Participant], Participant], ledgers: Path
) -> tuple[Played, dict[int, Ledger]]:
    """Round 0 of three paying clients over the plain channel; client 1 is unreliable."""
    ledgers_of = {
        client: Ledger(ledgers / f"{client}.jsonl", Terms("example", "add_remove", 1e-5, 8.0))
        for client in range(3)
    }
    clients: dict[int, Participant] = {
        client: Client(
            client,
            trainer=PaidTrainer(),
            channel=PlainClient(client, SESSION),
            weight=1,
            reader=ModelReader(layout="", d=1, session=SESSION),
            run="run",
            ledger=ledgers_of[client],
            repeatable=False,
        )
        for client in range(3)
    }
    clients[1] = unreliable(clients[1])
    federation = Federation(
        clients=clients,
        server=PlainServer(SESSION, d=1, min_cohort=1, weights=None),
        session=SESSION,
        layout="",
        invite=lambda round: (0, 1, 2),
        min_cohort=1,
        adversary=NOBODY,
        screen=screen,
        rule=lambda rows, weights: mean(rows, weights=weights),
        weigh=None,
        step=fedavg,
        evaluate=lambda state: Metrics(0, None, None, None, None),
    )
    return play_round(federation, State(torch.zeros(1))), ledgers_of


def test_a_late_client_has_paid_and_is_absent(tmp_path: Path) -> None:
    played, ledgers = play_with(
        lambda client: UnreliableClient(client, drop={}, late=frozenset({0})), tmp_path
    )
    assert played.record.absent == {1: "its update came too late (simulated)"}
    assert played.record.survivors == (0, 2)
    assert [ledger.count(EVENT) for ledger in ledgers.values()] == [1, 1, 1]
    assert [len(ledger.settled) for ledger in ledgers.values()] == [1, 0, 1]
    heads = {client: ledger.head for client, ledger in ledgers.items()}
    assert played.record.ledger_heads == heads


def test_a_dropped_client_is_absent_and_has_not_paid(tmp_path: Path) -> None:
    played, ledgers = play_with(
        lambda client: UnreliableClient(client, drop={0: 1}, late=frozenset()), tmp_path
    )
    assert played.record.absent == {1: "dropped at stage 1 (simulated)"}
    assert played.record.survivors == (0, 2)
    assert [ledger.count(EVENT) for ledger in ledgers.values()] == [1, 0, 1]
