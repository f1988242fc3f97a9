"""A CKKS server without any key that uses the key holders as a decryption oracle.

The attack: the server keeps a victim's ciphertext and sends crafted ciphertexts as the sum. It can
add multiples of the victim's ciphertext and constants without a key. So every coordinate of the
opened mean is held to the clip, and the side of one coordinate says whether the victim's number is
above a guess. A second crafted sum takes the step back everywhere else.

If the name of a model, which the server carries, depended on the model's weights, an old name would
come back exactly where the number is above the guess.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl import vector
from securefl.channels.ckks.cipher import Ciphertexts, KeyHolder
from securefl.channels.ckks.messages import EncryptedSum, EncryptedUpdate
from securefl.channels.ckks.names import first_name, next_name
from securefl.channels.ckks.server import CkksServer
from securefl.channels.ckks.terms import SLOTS
from securefl.channels.protocol import UNWATCHED, Observer, Packet
from securefl.federation import engine
from securefl.federation.values import State
from securefl.learning.protocol import StepResult
from securefl.scenario.assemble.assemble import Assembled, assemble
from securefl.scenario.scenario import parse_scenario

HEART = """
seed = 5
rounds = 1000
data = { name = "heart", partition = "natural" }
training = { kind = "sgd", batch = 32, epochs = 1, lr = 0.5 }
channel = { kind = "ckks", clip = 1.0 }
weights = "equal"
"""
CLIENTS, VICTIM = 4, 0
DOUBLINGS = 6  # of the victim's numbers
GAIN = 2.0**DOUBLINGS
FAR = 4000.0  # beyond the clip, below what wraps around
TRIALS = 16

Numbers = NDArray[np.float64]


@dataclass
class Oracle:
    """A CKKS server that sends any ciphertext as the sum, and records all that it receives."""

    inner: CkksServer
    crafted: bytes | None = None  # one ciphertext, in place of the sum's
    names: list[bytes] = field(default_factory=list)  # of the models, a round each
    replies: list[tuple[int, int, int]] = field(default_factory=list)  # round, client, length
    sums: list[bytes] = field(default_factory=list)  # what was sent to be opened, a round each
    stolen: bytes = b""  # the victim's latest ciphertext
    _round: int = 0

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        self._round = round
        self.names.append(model_hash)
        self.inner.begin(round, cohort, model_hash, observer)

    def requests(self) -> Mapping[int, bytes]:
        requests = self.inner.requests()
        if not requests or len(next(iter(requests.values()))) < 10_000:
            return requests  # for updates, not to open a sum
        sum_ = next(iter(requests.values()))
        if self.crafted is not None:
            parsed = EncryptedSum.from_bytes(sum_, chunks=1, most=CLIENTS)
            sum_ = replace(parsed, ciphertexts=[self.crafted]).to_bytes()
        self.sums.append(sum_)
        return dict.fromkeys(requests, sum_)

    def absorb(self, client: int, message: Packet) -> bool:
        self.replies.append((self._round, client, len(message)))
        if client == VICTIM:
            self.stolen = bytes(EncryptedUpdate.from_bytes(message, chunks=1).ciphertexts[0])
        return self.inner.absorb(client, message)

    def close_stage(self) -> None:
        self.inner.close_stage()


@dataclass
class Attack:
    """The federation of the oracle, round after round, and the key, which only the test reads."""

    assembled: Assembled
    oracle: Oracle
    key: KeyHolder
    state: State

    def play(self, values: Numbers | None = None, *, of: bytes = b"", doublings: int = 0) -> None:
        """Plays one round with a crafted sum: 2^doublings times `of`, plus values (k,).

        Without values the sum is the honest one.
        """
        self.oracle.crafted = None
        if values is not None:
            public = Ciphertexts.without_key(self.key.public_parameters())
            sum_ = public.load(of or self.oracle.stolen)
            for _ in range(doublings):
                sum_ = sum_ + sum_
            padded = np.zeros(SLOTS)
            padded[: len(values)] = values
            (self.oracle.crafted,) = Ciphertexts.dump([sum_ + padded.tolist()])
        self.state = engine.play_round(self.assembled.federation, self.state).state


@pytest.fixture
def attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attack:
    """Returns the attack after one honest round."""
    keys: list[KeyHolder] = []
    generate: Callable[[], KeyHolder] = KeyHolder.generate

    def recorded() -> KeyHolder:
        keys.append(generate())
        return keys[-1]

    monkeypatch.setattr(KeyHolder, "generate", staticmethod(recorded))
    assembled = assemble(parse_scenario(HEART), run="r", ledgers=tmp_path)
    server = assembled.federation.server
    assert isinstance(server, CkksServer)
    oracle = Oracle(server)
    assembled = replace(assembled, federation=replace(assembled.federation, server=oracle))
    attack = Attack(assembled, oracle, keys[0], assembled.start)
    attack.play()
    return attack


def test_a_server_that_sends_crafted_sums_learns_no_number_of_an_update(attack: Attack) -> None:
    """Eight numbers, a guess below and above each: model names once gave 16 right answers."""
    stolen, d = attack.oracle.stolen, len(attack.state.weights)
    far = np.full(d, FAR)
    truth = attack.key.open([attack.key.ciphertexts().load(stolen)])[:d]
    for sign in [-1] * 8 + [1] * 8:  # onto a grid on which a step and its reverse cancel
        attack.play(sign * far)
    begun = len(attack.oracle.names)
    for trial in range(TRIALS):
        coordinate, is_above = trial // 2, trial % 2 == 0
        margin = 1.5 * CLIENTS / GAIN  # the sum over four clients is held to four clips
        guess = truth[coordinate] + (-margin if is_above else margin)
        crafted = far.copy()
        crafted[coordinate] = -GAIN * guess
        attack.play(crafted, of=stolen, doublings=DOUBLINGS)
        attack.play(-far)
    attack.play()  # its request names the model after the last trial
    names = attack.oracle.names[begun::2]
    answers = [before == after for before, after in pairwise(names)]
    assert len(answers) == TRIALS
    assert (
        sum(is_above == (trial % 2 == 0) for trial, is_above in enumerate(answers)) == TRIALS // 2
    )


def test_the_server_can_compute_every_name_of_a_model_from_what_it_has_itself(
    attack: Attack,
) -> None:
    for sign in (1, -1, 1):
        attack.play(np.full(len(attack.state.weights), sign * FAR))
    name = first_name(attack.assembled.federation.session, attack.key.key_id)
    for round, (sent_name, sum_) in enumerate(
        zip(attack.oracle.names, attack.oracle.sums, strict=True)
    ):
        assert sent_name == name
        name = next_name(name, round, sum_)
    assert attack.assembled.federation.name_of(attack.state) == name


def test_names_differ_by_session_key_round_and_all_that_was_opened_before() -> None:
    session, key, sums = b"s" * 16, b"k" * 32, (b"sum", b"other")
    first = first_name(session, key)
    names = {first, first_name(b"t" * 16, key), first_name(session, b"l" * 32)}
    names |= {next_name(first, round, sum_) for round in (0, 1) for sum_ in sums}
    names |= {next_name(next_name(first, 0, sum_), 1, sums[0]) for sum_ in sums}
    assert len(names) == 3 + 4 + 2
    assert all(len(name) == 32 for name in names)


def test_what_the_server_sees_is_the_same_whatever_a_crafted_sum_holds(attack: Attack) -> None:
    """Every crafted sum leads to a model; all clients train on it and answer at equal length."""
    d, views = len(attack.state.weights), []
    for values in (np.full(d, FAR), np.full(d, 0.0), np.where(np.arange(d) % 2 == 0, FAR, -FAR)):
        attack.play(values)
        before = len(attack.oracle.replies)
        attack.play()
        replies = attack.oracle.replies[before:]
        views.append([(client, length) for _, client, length in replies])
    assert views[0] == views[1] == views[2]
    assert [client for client, _ in views[0]] == list(range(CLIENTS))


def test_a_step_that_would_leave_no_finite_model_shows_nowhere_outside(attack: Attack) -> None:
    """The holders keep their model; the name goes on and the clients answer, as after any sum."""

    def explode(weights: Tensor, estimate: Tensor, state: Mapping[str, Tensor]) -> StepResult:
        return StepResult(weights + estimate * torch.inf, state)

    federation = attack.assembled.federation
    before = attack.state.weights
    played = engine.play_round(replace(federation, step=explode), attack.state)
    assert played.record.abandoned
    assert torch.equal(played.state.weights, before)
    assert played.state.name == next_name(
        federation.name_of(attack.state), 1, attack.oracle.sums[-1]
    )
    after = engine.play_round(federation, played.state)
    assert after.record.survivors == tuple(range(CLIENTS))
    assert attack.oracle.names[-1] == played.state.name


def test_a_name_tells_no_guess_at_the_weights(attack: Attack) -> None:
    """The hash of the weights, with the layout that everybody knows, is among no names."""
    layout = vector.layout(attack.assembled.model)
    weights = [attack.assembled.start.weights, attack.state.weights]
    attack.play()
    assert not {vector.model_hash(layout, values) for values in weights} & set(attack.oracle.names)


def test_holders_that_were_sent_different_sums_name_different_models(attack: Attack) -> None:
    """Otherwise a holder could train on a model that it did not open."""
    attack.play()
    sums = attack.oracle.sums
    assert next_name(b"n" * 32, 1, sums[0]) != next_name(b"n" * 32, 1, sums[1])
