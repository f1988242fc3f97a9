"""A server that puts an imprint in front of the model, against the masked channel.

The tests show what it reads, and what stops it. Attacks of a server on the protocol itself,
whatever the model, are in `test_survivors.py`, `test_tampered_keys.py` and `test_replays.py`.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from attacks.reconstruction.imprint import Imprint, imprint, imprinted
from attacks.reconstruction.pictures import best_match
from securefl import vector
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.requests import ShareDelivery
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate
from securefl.data.digits import TASK, load_digits
from securefl.data.task import Examples, FederatedData
from securefl.errors import ProtocolError
from securefl.federation.client import Client
from securefl.federation.reader import ModelReader
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models.linear import mlp
from securefl.learning.plan import DpPlan
from securefl.learning.sgd import SgdTrainer
from securefl.rng import Keystream, seeded_keystream
from tests.channels.masking.parties import HASH, SESSION, Session, agreement, identity, make_client

BINS, CLIENTS, EACH, LR = 512, 10, 4, 0.1
GOOD = 30.0  # dB
OTHER = b"o" * 32  # the hash of another model
FALSE_ALARM = 1e-6


class Federation(NamedTuple):
    """Digits dealt to clients, and the server's model with an imprint in front."""

    data: FederatedData
    front: Imprint
    model: nn.Sequential
    start: Tensor
    parts: list[Examples]

    def read(self, update: Tensor) -> Tensor:
        """Returns the records that the server reads off an update, or off a sum of updates."""
        weight, bias = self.front.front.weight, self.front.front.bias
        return imprinted(
            update[: weight.numel()].view_as(weight), update[weight.numel() :][: bias.numel()]
        )


def federation(*, clients: int = CLIENTS, each: int = EACH, seed: int = 7) -> Federation:
    """Deals test records to the clients; the server knows the training records."""
    data = load_digits(partition="pooled", split_seed=0)
    draws = seeded_keystream(seed, "imprint").torch_generator()
    front = imprint(data.sites[0].train.features, torch.randn(64, generator=draws), bins=BINS)
    model = nn.Sequential(front, mlp(TASK, generator=draws))
    order = torch.randperm(len(data.test), generator=draws)[: clients * each]
    parts = [
        Examples(data.test.features[part], data.test.labels[part])
        for part in torch.split(order, each)
    ]
    return Federation(data, front, model, vector.to_vector(model), parts)


def stream(purpose: str, client: int, round: int) -> Keystream:
    return seeded_keystream(1, purpose, client, round)


def honest(
    setting: Federation, parts: Sequence[Examples], *, start: Tensor | None = None
) -> dict[int, Tensor]:
    """Returns the updates of one full-batch step of SGD at every client."""
    weights = setting.start if start is None else start
    return {
        client: SgdTrainer(
            setting.model,
            TASK,
            part,
            client=client,
            batch=len(part),
            epochs=1,
            lr=LR,
            stream_for=stream,
        )
        .fit(weights, round=0)
        .delta
        for client, part in enumerate(parts)
    }


def noisy(
    setting: Federation, parts: Sequence[Examples], *, noise_multiplier: float
) -> dict[int, Tensor]:
    """Returns the updates of one full-batch step of DP-SGD at every client, clipped to 1."""
    machine = DpSgd(deepcopy(setting.model), TASK, lr=LR)  # Opacus leaves hooks in it
    return {
        client: machine.run(
            setting.start,
            part,
            DpPlan(
                records=len(part),
                batch=len(part),
                epochs=1,
                clip=1.0,
                noise_multiplier=noise_multiplier,
            ),
            sampling=stream("poisson", client, 0),
            noise=stream("noise", client, 0),
        ).delta
        for client, part in enumerate(parts)
    }


def session_of(updates: Mapping[int, Tensor]) -> Session:
    """Returns a masked session in its first round, ring 32, before any stage."""
    n, d = len(updates), len(updates[0])
    code = FixedPoint(ring=32, clip=4.0, rounding="stochastic", most=n)
    session = Session(agreement(n, d=d, code=code)).begin(0)
    session.updates = {
        client: ClientUpdate(delta, 1, None, HASH) for client, delta in updates.items()
    }
    return session


def opened(session: Session) -> Tensor:
    """Returns all numbers that the server saw: one sum over all clients."""
    opened_sums = [o for o in session.observed if o.values is not None]
    assert {(o.party, o.kind, o.about) for o in opened_sums if o.party == "server"} == {
        ("server", "sum of updates", tuple(session.clients))
    }
    (values,) = [o.values for o in opened_sums if o.party == "server"]
    assert values is not None
    return values.double()


def opened_sum(updates: Mapping[int, Tensor]) -> Tensor:
    """Returns the sum that the masked channel opens for honest clients' updates."""
    session = session_of(updates).until(5)
    assert session.stage() is not None
    return opened(session)


def share(true: Tensor, recovered: Tensor) -> float:
    """Returns the share of the records that are recovered above 30 dB."""
    return float((best_match(recovered, true, bounds=(0, 1)).psnr > GOOD).double().mean())


def is_no_better_than_the_mean_image(setting: Federation, true: Tensor, recovered: Tensor) -> bool:
    """Whether no best match is good, and their mean is at most 1 dB above the mean record's."""
    blind = best_match(
        setting.data.sites[0].train.features.mean(dim=0, keepdim=True), true, bounds=(0, 1)
    ).psnr
    return (
        share(true, recovered) == 0
        and float(best_match(recovered, true, bounds=(0, 1)).psnr.mean()) <= float(blind.mean()) + 1
    )


def everything(parts: Sequence[Examples]) -> Tensor:
    return torch.cat([part.features for part in parts])


# --- what a sum does not hide


def test_an_imprint_reads_the_records_of_ten_clients_off_their_masked_sum() -> None:
    # Of 40 records in 512 equally likely bins, .927 are alone on average.
    setting = federation()
    recovered = setting.read(opened_sum(honest(setting, setting.parts)))
    assert share(everything(setting.parts), recovered) >= 0.8
    assert len(recovered) <= CLIENTS * EACH


def test_the_sum_does_not_tell_whose_a_record_is() -> None:
    setting = federation()
    everyone = Examples(
        everything(setting.parts), torch.cat([part.labels for part in setting.parts])
    )
    order = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(1))
    dealt = [
        Examples(everyone.features[part], everyone.labels[part])
        for part in torch.split(order, EACH)
    ]
    first, second = (
        setting.read(opened_sum(honest(setting, parts))) for parts in (setting.parts, dealt)
    )
    assert len(first) == len(second) > 30
    assert float((first - second).abs().max()) < 0.01


# --- what stops it


@pytest.mark.parametrize("noise_multiplier", [0.0, 0.5, 1.0])
def test_noise_of_the_clients_own_leaves_no_record_in_the_sum_and_clipping_alone_leaves_all(
    noise_multiplier: float,
) -> None:
    setting = federation()
    recovered = setting.read(
        opened_sum(noisy(setting, setting.parts, noise_multiplier=noise_multiplier))
    )
    true = everything(setting.parts)
    if noise_multiplier:
        assert is_no_better_than_the_mean_image(setting, true, recovered)
    else:
        assert share(true, recovered) >= 0.8


def configured(plain: nn.Module, examples: Examples, client: int) -> Client:
    """A client that agreed to train a plain model, on a channel of its own."""
    start = vector.to_vector(plain)
    return Client(
        client,
        trainer=SgdTrainer(
            plain,
            TASK,
            examples,
            client=client,
            batch=len(examples),
            epochs=1,
            lr=LR,
            stream_for=stream,
        ),
        channel=make_client(client, agreement(5, d=len(start))),
        weight=1,
        reader=ModelReader(layout=vector.layout(plain), d=len(start), session=SESSION),
        run="run",
        ledger=None,
        repeatable=True,
    )


def test_a_client_takes_no_model_with_an_imprint_in_front_of_the_one_agreed_on() -> None:
    setting = federation(clients=1)
    client = configured(setting.model[1], setting.parts[0], 0)
    with pytest.raises(ProtocolError, match=r"takes \d+ bytes here, got \d+"):
        client.load(ModelMessage(SESSION, 0, bytes(32), setting.start).to_bytes())
    with pytest.raises(ProtocolError, match="no model was loaded"):
        client.train()


def test_weights_that_the_server_means_for_another_architecture_are_not_trained_on() -> None:
    # As many weights as were agreed on, under names and shapes that were not: the hash holds both.
    setting = federation(clients=5)
    plain = setting.model[1]
    weights = vector.to_vector(plain)
    foreign = vector.model_hash(vector.layout(setting.model), weights)
    own = vector.model_hash(vector.layout(plain), weights)
    session = Session(agreement(5, d=len(weights)))
    session.server.begin(0, range(5), foreign)
    client = configured(plain, setting.parts[0], 0)
    for _ in range(2):
        own_request = session.server.requests()[0]
        for number, message in session.answers(silent=(0,)).items():
            assert session.server.absorb(number, message)
        reply = client.receive(own_request)
        assert isinstance(reply, bytes)
        assert session.server.absorb(0, reply)
        session.server.close_stage()
    with pytest.raises(
        ProtocolError, match="the model of round 0 is not the one that its message names"
    ):
        client.load(ModelMessage(SESSION, 0, foreign, weights).to_bytes())
    assert client.receive(session.server.requests()[0]) is None
    client.load(ModelMessage(SESSION, 0, own, weights).to_bytes())
    with pytest.raises(ProtocolError, match="trained on another model than the one asked for"):
        client.train()


def stifled(setting: Federation) -> Tensor:
    """Returns weights that leave every row of the imprint inactive, without a gradient."""
    weights = setting.start.clone()
    weights[setting.front.front.weight.numel() :][:BINS] = -1e9
    return weights


def test_an_imprint_that_the_others_get_stifled_would_single_out_a_victim_and_opens_noise() -> None:
    # Pasquini et al., CCS 2022, with an imprint for the gradient: without masks bound to the model
    # the sum is the victim's. A threshold of others agrees on their model, so that the sum opens.
    setting = federation(clients=5)
    victim = setting.parts[0].features
    stifled_updates = honest(setting, setting.parts, start=stifled(setting))
    updates = {**stifled_updates, 0: honest(setting, setting.parts[:1])[0]}
    plain = torch.stack(list(updates.values())).double().sum(dim=0)
    assert len(setting.read(plain)) == EACH
    assert share(victim, setting.read(plain)) == 1
    session = session_of(updates).until(3)
    session.updates[0] = replace(session.updates[0], model_hash=OTHER)
    for client, request in session.server.requests().items():
        delivery = ShareDelivery.from_bytes(memoryview(request)[:-64], most=5)
        body = replace(delivery, model_hash=session.updates[client].model_hash).to_bytes()
        signed = body + identity(-1).signature(body, terms=session.terms.digest)
        assert session.server.absorb(client, session.answer(client, signed))
    session.server.close_stage()
    for client, packet in session.answers().items():
        assert session.server.absorb(client, packet) == (client != 0)
    session.server.close_stage()
    assert session.stage() is not None
    assert is_no_better_than_the_mean_image(setting, victim, setting.read(opened(session)))


# --- what n - 1 colluders are left with


def test_under_dp_n_minus_1_colluders_are_left_with_the_victims_noise() -> None:
    # They take their own updates off the sum and have the victim's, to within the fixed point.
    # Without noise that is its records. With noise it is the noise as it was drawn; the chi-square
    # of the variance checks its scale.
    setting = federation(clients=5)
    own = honest(setting, setting.parts)
    clean = noisy(setting, setting.parts[:1], noise_multiplier=0.0)[0]
    sent = noisy(setting, setting.parts[:1], noise_multiplier=0.5)[0]
    remainders = {}
    for name, delta in (("clean", clean), ("sent", sent)):
        rest = opened_sum({**own, 0: delta}) - sum(own[client].double() for client in range(1, 5))
        bound = FixedPoint(ring=32, clip=4.0, rounding="stochastic", most=5).bound(5)
        assert float((rest - delta.double()).abs().max()) <= bound
        remainders[name] = rest
    victim = setting.parts[0].features
    assert share(victim, setting.read(remainders["clean"])) == 1
    assert is_no_better_than_the_mean_image(setting, victim, setting.read(remainders["sent"]))
    noise = remainders["sent"] - remainders["clean"]
    assert is_the_variance(noise, LR * 0.5 / EACH)
    assert not is_the_variance(noise, 1.1 * LR * 0.5 / EACH)


def is_the_variance(values: Tensor, deviation: float) -> bool:
    """Whether Gaussian values of mean 0 have this deviation; false alarms: one in a million."""
    total = float((values / deviation).square().sum())
    return bool(
        chi2.ppf(FALSE_ALARM / 2, len(values)) < total < chi2.isf(FALSE_ALARM / 2, len(values))
    )
