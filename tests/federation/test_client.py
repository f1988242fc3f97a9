"""A client pays before it trains, never releases a round twice, and lets nothing unpaid leave."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl import vector
from securefl.channels.messages import ModelMessage, UpdateRequest
from securefl.channels.plain import PlainClient
from securefl.channels.protocol import ClientUpdate, View
from securefl.errors import BudgetExceeded, ClientFailure, ProtocolError
from securefl.federation.client import Client
from securefl.federation.reader import ModelReader
from securefl.learning.protocol import Trained
from securefl.privacy.events import ReleaseId, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.terms import Terms

SESSION, OTHER_SESSION = b"s" * 16, b"t" * 16
LAYOUT = "w(2,)"
WEIGHTS = torch.tensor([1.0, 2.0])
DELTA = torch.tensor([0.5, -0.5])
EVENT = SampledGaussian(sample_rate=1.0, noise_multiplier=2.0, steps=1)
CHEAPER = SampledGaussian(sample_rate=1.0, noise_multiplier=3.0, steps=1)
# One, two and three EVENTs cost 1.99, 2.94 and 3.71.
TWO_RELEASES = Terms("example", "add_remove", delta=1e-5, budget=3.1)


@dataclass
class FakeTrainer:
    """Returns DELTA, and notes its calls and the reservations in the ledger's file at each."""

    cost: SampledGaussian | None = EVENT
    spent: SampledGaussian | None = EVENT
    ledger: Path | None = None
    rounds: list[int] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    weights: Tensor | None = None

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        self.rounds.append(round)
        self.weights = weights.clone()
        if self.ledger is not None and self.ledger.exists():
            self.reserved.append(self.ledger.read_text().count('"kind":"reserve"'))
        return Trained(DELTA, self.spent)


@dataclass
class FakeChannel:
    """Gives a fixed answer to every request."""

    answer: bytes | View | None = None
    refuses_model: bool = False
    requests: list[bytes] = field(default_factory=list)
    checked: list[tuple[int, bytes]] = field(default_factory=list)
    submitted: list[ClientUpdate] = field(default_factory=list)

    def receive(self, request: bytes) -> bytes | View | None:
        self.requests.append(request)
        return self.answer

    def check_model(self, round: int, name: bytes) -> None:
        self.checked.append((round, name))
        if self.refuses_model:
            raise ProtocolError("another model was asked for")

    def submit(self, update: ClientUpdate) -> bytes:
        self.submitted.append(update)
        return b"submitted"


def make_client(
    trainer: FakeTrainer,
    ledger: Ledger | None,
    *,
    channel: FakeChannel | None = None,
    repeatable: bool = False,
    client: int = 4,
    run: str = "run",
    layout: str | None = LAYOUT,
) -> Client:
    return Client(
        client,
        trainer=trainer,
        channel=FakeChannel() if channel is None else channel,
        weight=7,
        reader=ModelReader(layout=layout, d=2, session=SESSION),
        run=run,
        ledger=ledger,
        repeatable=repeatable,
    )


def model(round: int = 0, weights: Tensor = WEIGHTS, session: bytes = SESSION) -> bytes:
    return ModelMessage(session, round, vector.model_hash(LAYOUT, weights), weights).to_bytes()


def train(client: Client, *, round: int = 0) -> ClientUpdate:
    client.load(model(round))
    return client.train()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "4.jsonl"


def test_an_update_carries_delta_weight_cost_and_the_hash_of_its_model(
    path: Path,
) -> None:
    trainer = FakeTrainer()
    update = train(make_client(trainer, Ledger(path, TWO_RELEASES)), round=3)
    assert update.delta is DELTA
    assert (update.weight, update.spent) == (7, EVENT)
    assert update.model_hash == vector.model_hash(LAYOUT, WEIGHTS)
    assert trainer.rounds == [3]
    assert trainer.weights is not None
    assert trainer.weights.tolist() == [1, 2]


def test_a_client_neither_pays_for_nor_trains_a_model_that_was_not_requested(
    path: Path,
) -> None:
    channel, trainer = FakeChannel(refuses_model=True), FakeTrainer()
    client = make_client(trainer, Ledger(path, TWO_RELEASES), channel=channel)
    with pytest.raises(ProtocolError, match="another model was asked for"):
        train(client, round=3)
    assert channel.checked == [(3, vector.model_hash(LAYOUT, WEIGHTS))]
    assert trainer.rounds == []
    assert not path.exists()


def test_a_forged_model_costs_a_client_nothing_and_the_honest_one_still_counts(path: Path) -> None:
    # Model messages are not signed: an attacker on the network can send further ones.
    ledger, trainer = Ledger(path, TWO_RELEASES), FakeTrainer()
    channel = PlainClient(4, SESSION)
    client = make_client(trainer, ledger, channel=channel)  # type: ignore[arg-type]
    for weights in (WEIGHTS + 2, WEIGHTS, WEIGHTS + 1):
        client.load(model(0, weights))
    client.receive(UpdateRequest(SESSION, 0, vector.model_hash(LAYOUT, WEIGHTS)).to_bytes())
    with pytest.raises(ProtocolError, match="another model than the one asked for"):
        client.train()
    client.load(model(1))
    with pytest.raises(
        ProtocolError, match="the model is of round 1, an update of round 0 was asked for"
    ):
        client.train()
    assert (ledger.count(EVENT), trainer.rounds) == (0, [])
    client.load(model(0))
    assert client.submit(client.train())
    assert ledger.count(EVENT) == 1


@pytest.mark.parametrize("other", ["forged", "old"])
@pytest.mark.parametrize("honest_first", [True, False])
def test_a_forged_or_old_model_before_or_after_the_honest_one_keeps_no_client_out(
    other: str, honest_first: bool
) -> None:
    trainer, channel = FakeTrainer(), PlainClient(4, SESSION)
    client = make_client(trainer, None, channel=channel)  # type: ignore[arg-type]
    packets = [model(1), model(1, WEIGHTS + 1) if other == "forged" else model(0)]
    for packet in packets if honest_first else packets[::-1]:
        client.load(packet)
    client.receive(UpdateRequest(SESSION, 1, vector.model_hash(LAYOUT, WEIGHTS)).to_bytes())
    assert client.submit(client.train())
    assert trainer.rounds == [1]


def test_a_model_of_a_later_round_replaces_all_earlier_ones() -> None:
    trainer, channel = FakeTrainer(), PlainClient(4, SESSION)
    client = make_client(trainer, None, channel=channel)  # type: ignore[arg-type]
    # Two packets of round 0, in which the client did not train, must leave room for round 1's.
    for packet in (model(0), model(0), model(1), model(1, WEIGHTS + 1)):
        client.load(packet)
    client.receive(UpdateRequest(SESSION, 1, vector.model_hash(LAYOUT, WEIGHTS)).to_bytes())
    client.train()
    assert trainer.rounds == [1]


def test_a_model_whose_weights_are_secret_may_be_infinite() -> None:
    client = make_client(FakeTrainer(), None, layout=None)
    client.load(ModelMessage(SESSION, 0, b"n" * 32, torch.tensor([0.0, math.inf])).to_bytes())
    assert client.train().model_hash == b"n" * 32


def test_a_model_with_another_name_than_that_of_its_weights_is_refused() -> None:
    client = make_client(FakeTrainer(), None)
    with pytest.raises(
        ProtocolError, match="the model of round 2 is not the one that its message names"
    ):
        client.load(ModelMessage(SESSION, 2, bytes(32), WEIGHTS).to_bytes())


def test_a_model_whose_weights_are_secret_has_the_name_in_its_message() -> None:
    channel = FakeChannel()
    client = make_client(FakeTrainer(), None, layout=None, channel=channel)
    client.load(ModelMessage(SESSION, 2, b"n" * 32, WEIGHTS).to_bytes())
    assert client.train().model_hash == b"n" * 32
    assert channel.checked == [(2, b"n" * 32)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_sent_and_counted_at_the_client_only(bad: float) -> None:
    trainer = FakeTrainer()
    client = make_client(trainer, None)
    assert train(client).delta is DELTA
    assert client.not_finite == 0
    trainer.fit = lambda weights, *, round: Trained(torch.tensor([0.0, bad]), EVENT)  # type: ignore[method-assign]
    assert not bool(torch.isfinite(train(client, round=1).delta).all())
    assert client.not_finite == 1


@dataclass
class FakeEarlyTrainer(FakeTrainer):
    """Notes what it is asked to start, and how much was reserved then."""

    begun: list[tuple[list[float], int]] = field(default_factory=list)

    def begin(self, weights: Tensor, *, round: int) -> None:
        self.begun.append((weights.tolist(), round))
        if self.ledger is not None:
            self.reserved.append(self.ledger.read_text().count('"kind":"reserve"'))


def test_a_training_starts_early_only_once_it_is_paid_for_and_is_paid_for_once(path: Path) -> None:
    trainer, ledger = FakeEarlyTrainer(ledger=path), Ledger(path, TWO_RELEASES)
    client = make_client(trainer, ledger)
    client.load(model(3))
    client.begin()
    assert (trainer.begun, trainer.reserved) == ([([1.0, 2.0], 3)], [1])
    update = client.train()
    assert update.model_hash == vector.model_hash(LAYOUT, WEIGHTS)
    assert (trainer.rounds, trainer.reserved) == ([3], [1, 1])
    assert ledger.count(EVENT) == 1


def test_a_trainer_that_cannot_start_early_trains_in_its_turn(path: Path) -> None:
    trainer, ledger = FakeTrainer(), Ledger(path, TWO_RELEASES)
    client = make_client(trainer, ledger)
    client.load(model(3))
    client.begin()
    assert (trainer.rounds, ledger.count(EVENT)) == ([], 1)
    client.train()
    assert (trainer.rounds, ledger.count(EVENT)) == ([3], 1)


def test_what_does_not_fit_the_budget_does_not_start(path: Path) -> None:
    trainer = FakeEarlyTrainer()
    client = make_client(trainer, Ledger(path, TWO_RELEASES))
    for round in (0, 1):
        train(client, round=round)
    client.load(model(2))
    with pytest.raises(BudgetExceeded):
        client.begin()
    assert trainer.begun == []


def test_a_training_that_nobody_collected_is_not_sent_for_a_later_request() -> None:
    trainer, channel = FakeTrainer(), PlainClient(4, SESSION)
    client = make_client(trainer, None, channel=channel)  # type: ignore[arg-type]
    for round in (0, 1):
        client.load(model(round))
        request = UpdateRequest(SESSION, round, vector.model_hash(LAYOUT, WEIGHTS))
        client.receive(request.to_bytes())
        if round == 0:
            client.begin()
    client.train()
    assert trainer.rounds == [1]


def test_the_round_is_paid_for_on_disk_before_training_begins(path: Path) -> None:
    trainer, ledger = FakeTrainer(ledger=path), Ledger(path, TWO_RELEASES)
    client = make_client(trainer, ledger)
    train(client, round=0)
    train(client, round=1)
    assert trainer.reserved == [1, 2]
    assert ledger.count(EVENT) == 2


def test_a_release_is_named_by_run_client_and_round(path: Path) -> None:
    ledger = Ledger(path, TWO_RELEASES)
    train(make_client(FakeTrainer(), ledger, client=9, run="other"), round=5)
    assert ReleaseId("other", 9, 5, attempt=0) in ledger


def test_under_fresh_noise_a_round_is_not_released_twice(path: Path) -> None:
    trainer, ledger = FakeTrainer(), Ledger(path, TWO_RELEASES)
    client = make_client(trainer, ledger)
    train(client)
    paid = path.read_bytes()
    client.load(model(0))
    with pytest.raises(
        ClientFailure,
        match="round 0 was released before; under fresh noise it is not released again",
    ):
        client.train()
    assert trainer.rounds == [0]
    assert path.read_bytes() == paid


def test_under_fresh_noise_a_round_is_not_released_again_after_a_restart(path: Path) -> None:
    train(make_client(FakeTrainer(), Ledger(path, TWO_RELEASES)))
    trainer = FakeTrainer()
    restarted = make_client(trainer, Ledger(path, TWO_RELEASES))
    with pytest.raises(ClientFailure, match="round 0 was released before"):
        train(restarted)
    assert trainer.rounds == []
    assert train(restarted, round=1).delta is DELTA


def test_under_fresh_noise_a_round_that_was_only_reserved_is_not_released_either(
    path: Path,
) -> None:
    Ledger(path, TWO_RELEASES).reserve(EVENT, release_id=ReleaseId("run", 4, 0, 0))
    with pytest.raises(ClientFailure, match="round 0 was released before"):
        train(make_client(FakeTrainer(), Ledger(path, TWO_RELEASES)))


def test_a_repeatable_round_is_trained_again_and_paid_for_once(path: Path) -> None:
    ledger = Ledger(path, TWO_RELEASES)
    client = make_client(FakeTrainer(), ledger, repeatable=True)
    for _ in range(3):
        train(client)
    assert ledger.count(EVENT) == 1
    reopened = Ledger(path, TWO_RELEASES)
    train(make_client(FakeTrainer(), reopened, repeatable=True))
    assert reopened.count(EVENT) == 1


def test_a_round_beyond_the_budget_is_neither_trained_nor_written(path: Path) -> None:
    trainer, ledger = FakeTrainer(), Ledger(path, TWO_RELEASES)
    client = make_client(trainer, ledger)
    for round in (0, 1):
        train(client, round=round)
    before, head = path.read_bytes(), client.ledger_head
    with pytest.raises(BudgetExceeded, match=r"client 4: release 3 would exceed epsilon 3\.1"):
        train(client, round=2)
    assert trainer.rounds == [0, 1]
    assert (path.read_bytes(), client.ledger_head) == (before, head)


@pytest.mark.parametrize(
    ("cost", "spent"), [(EVENT, CHEAPER), (EVENT, None), (None, EVENT), (CHEAPER, EVENT)]
)
def test_an_update_whose_cost_is_not_the_reserved_one_stays_with_the_client(
    path: Path, cost: SampledGaussian | None, spent: SampledGaussian | None
) -> None:
    client = make_client(FakeTrainer(cost, spent), Ledger(path, TWO_RELEASES))
    with pytest.raises(
        ClientFailure, match=r"training cost .*, reserved was .*; the update stays here"
    ):
        train(client)


def test_training_without_a_mechanism_costs_nothing(path: Path) -> None:
    update = train(make_client(FakeTrainer(None, None), Ledger(path, TWO_RELEASES)))
    assert update.spent is None
    assert not path.exists()


def test_a_client_without_a_ledger_refuses_no_round() -> None:
    client = make_client(FakeTrainer(), None)
    assert train(client).spent == EVENT
    assert train(client).spent == EVENT
    assert client.ledger_head is None
    client.confirm(0)


def test_a_ledger_that_cannot_be_written_fails_the_client_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    trainer = FakeTrainer()
    client = make_client(trainer, Ledger(tmp_path / "file" / "4.jsonl", TWO_RELEASES))
    with pytest.raises(ClientFailure, match="its ledger cannot be written: "):
        train(client)
    assert trainer.rounds == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_model_that_is_not_finite_is_refused(path: Path, bad: float) -> None:
    client = make_client(FakeTrainer(), Ledger(path, TWO_RELEASES))
    with pytest.raises(ProtocolError, match="the model of round 3 is not finite"):
        client.load(model(3, torch.tensor([0.0, bad])))
    with pytest.raises(ProtocolError, match="no model was loaded"):
        client.train()


def test_a_model_of_another_session_or_size_is_refused() -> None:
    client = make_client(FakeTrainer(), None)
    with pytest.raises(ProtocolError, match="the model belongs to another session"):
        client.load(model(session=OTHER_SESSION))
    with pytest.raises(ProtocolError, match="takes 65 bytes here, got 69"):
        client.load(model(weights=torch.zeros(3)))
    with pytest.raises(ProtocolError, match="no model was loaded"):
        client.train()


def test_a_model_is_trained_on_once() -> None:
    client = make_client(FakeTrainer(), None)
    train(client)
    with pytest.raises(ProtocolError, match="no model was loaded for this round"):
        client.train()


@pytest.mark.parametrize("answer", [None, b"key", View(torch.zeros(1, 2), torch.ones(1), ((0,),))])
def test_the_channel_answers_requests_and_takes_updates(answer: bytes | View | None) -> None:
    channel = FakeChannel(answer)
    client = make_client(FakeTrainer(), None, channel=channel)
    assert client.receive(b"request") is answer
    assert channel.requests == [b"request"]
    update = train(client)
    assert client.submit(update) == b"submitted"
    assert channel.submitted == [update]


def test_a_confirmed_round_is_settled_and_no_other(path: Path) -> None:
    ledger = Ledger(path, TWO_RELEASES)
    client = make_client(FakeTrainer(), ledger)
    train(client, round=0)
    train(client, round=1)
    client.confirm(1)
    assert ledger.settled == {ReleaseId("run", 4, 1, 0)}
    assert ledger.count(EVENT) == 2


def test_a_round_that_cannot_be_settled_stays_reserved(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(release_id: ReleaseId) -> None:
        raise OSError(28, "No space left on device")

    ledger = Ledger(path, TWO_RELEASES)
    client = make_client(FakeTrainer(), ledger)
    train(client)
    monkeypatch.setattr(ledger, "settle", full_disk)
    client.confirm(0)
    assert ledger.settled == set()
    assert Ledger(path, TWO_RELEASES).count(EVENT) == 1


def test_confirming_a_round_that_was_never_reserved_changes_nothing(path: Path) -> None:
    client = make_client(FakeTrainer(None, None), Ledger(path, TWO_RELEASES))
    train(client)
    client.confirm(0)
    assert not path.exists()


def test_the_head_of_the_ledger_moves_with_every_entry(path: Path) -> None:
    ledger = Ledger(path, TWO_RELEASES)
    client = make_client(FakeTrainer(), ledger)
    heads = [client.ledger_head]
    train(client)
    heads.append(client.ledger_head)
    client.confirm(0)
    heads.append(client.ledger_head)
    assert heads[-1] == ledger.head
    assert len(set(heads)) == 3
