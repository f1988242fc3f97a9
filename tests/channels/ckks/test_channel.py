"""The CKKS channel: the contract of all channels and its own rules.

Weights are public or private.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import tenseal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.ckks.cipher import Ciphertexts, KeyHolder
from securefl.channels.ckks.client import CkksClient
from securefl.channels.ckks.messages import EncryptedSum, EncryptedUpdate
from securefl.channels.ckks.names import next_name
from securefl.channels.ckks.server import CkksServer
from securefl.channels.ckks.terms import HEADROOM, SLOTS, CkksTerms
from securefl.channels.ckks.wire import CIPHERTEXT_BYTES
from securefl.channels.messages import UpdateRequest
from securefl.channels.protocol import ClientUpdate, View
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.rng import seeded_keystream
from tests.channels.contract import (
    EVERYONE,
    HASH,
    MIN_COHORT,
    OTHER_SESSION,
    SESSION,
    WEIGHTS,
    ChannelContract,
    D,
    MakeSides,
    Sides,
    Stages,
    mean_of,
    mean_of_updates,
    play,
    until_asked,
    updates_for,
)
from tests.recorder import Recorder

TERMS = CkksTerms(
    session=SESSION,
    clients=EVERYONE,
    d=D,
    clip=128.0,
    cohort=5,
    min_cohort=MIN_COHORT,
    weights=WEIGHTS,
    max_weight=10,
)
HOLDER = KeyHolder.generate()
OTHER_HOLDER = KeyHolder.generate()


def sides_of(terms: CkksTerms, holder: KeyHolder = HOLDER) -> Sides:
    server = CkksServer(terms, key_id=holder.key_id, public_parameters=holder.public_parameters())
    return Sides(server, {client: CkksClient(client, terms, holder) for client in terms.clients})


def maker(terms: CkksTerms) -> MakeSides:
    def make(*, session: bytes = SESSION) -> Sides:
        return sides_of(replace(terms, session=session))

    return make


class TestCkksChannel(ChannelContract):
    tolerance = 1e-5  # the row is float32
    grain = 10_000
    bad_request = r"a message of|not a message|another session|expected a message"

    @pytest.fixture
    def make(self) -> MakeSides:
        return maker(TERMS)


class TestCkksChannelWithReportedWeights(TestCkksChannel):
    @pytest.fixture
    def make(self) -> MakeSides:
        return maker(replace(TERMS, weights=None))


def update_of(client: int, delta: torch.Tensor, weight: int | None = None) -> ClientUpdate:
    return ClientUpdate(delta, WEIGHTS[client] if weight is None else weight, None, HASH)


def opened(sides: Sides, updates: Mapping[int, ClientUpdate], *, round: int = 0) -> dict[int, View]:
    """Returns the view of every key holder after a round of these updates."""
    sides.server.begin(round, tuple(updates), HASH)
    for client, request in sides.server.requests().items():
        assert sides.clients[client].receive(request) is None
        assert sides.server.absorb(client, sides.clients[client].submit(updates[client])) is True
    assert sides.server.close_stage() is None
    views = {
        client: sides.clients[client].receive(request)
        for client, request in sides.server.requests().items()
    }
    return {client: view for client, view in views.items() if isinstance(view, View)}


# Precision and packing


@given(
    seed=st.integers(0, 2**32),
    d=st.sampled_from([1, SLOTS - 1, SLOTS, SLOTS + 1, 3 * SLOTS]),
    clients=st.integers(2, 5),
)
@settings(max_examples=20, deadline=None)
def test_the_mean_of_any_clients_is_within_the_error_bound(seed: int, d: int, clients: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cohort = tuple(range(clients))
    terms = replace(TERMS, d=d, clip=4.0, min_cohort=2)
    deltas = {client: 3 * torch.randn(d, generator=generator) for client in cohort}
    view = opened(
        sides_of(terms), {client: update_of(client, deltas[client]) for client in cohort}
    )[0]
    total = sum(WEIGHTS[client] for client in cohort)
    exact = (
        sum((deltas[c].double().clamp(-4, 4) * WEIGHTS[c] for c in cohort), torch.zeros(d).double())
        / total
    )
    assert view.rows.shape == (1, d)
    assert (view.rows[0].double() - exact).abs().max() <= terms.error_bound(clients, total)


def test_the_error_bound_is_near_what_happens_and_would_notice_a_tenth_of_the_scale_lost() -> None:
    zeros = np.zeros(20 * SLOTS)
    loader = HOLDER.ciphertexts()
    total = [loader.load(ciphertext) for ciphertext in HOLDER.encrypt(zeros)]
    for _ in range(4):
        loader.add(total, HOLDER.encrypt(zeros))
    errors = HOLDER.open(total)
    bound = replace(TERMS, clip=1e-6).sum_bound(5)
    assert (
        bound / 3 < np.abs(errors).max() < bound
    )  # 40,960 draws reach 4 of the bound's 8 deviations
    assert errors.std() == pytest.approx(
        bound / 8, rel=0.05
    )  # the formula's deviation, to 9 standard errors


def test_all_key_holders_see_the_same_numbers_bit_for_bit() -> None:
    views = opened(
        sides_of(replace(TERMS, d=3000)), {c: update_of(c, torch.randn(3000)) for c in EVERYONE}
    )
    assert sorted(views) == list(EVERYONE)
    assert all(torch.equal(view.rows, views[0].rows) for view in views.values())
    assert all(view.weights.tolist() == [21.0] for view in views.values())


def test_opened_numbers_leave_the_channel_as_float32() -> None:
    # The last digits of the float64 sum are the noise of its ciphertext.
    view = opened(sides_of(TERMS), {c: update_of(c, torch.randn(D)) for c in EVERYONE})[0]
    assert view.rows.dtype == torch.float32


def test_an_update_travels_in_7_times_the_bytes_of_float32() -> None:
    d = 8 * SLOTS
    sides = sides_of(replace(TERMS, d=d))
    sides.server.begin(0, EVERYONE, HASH)
    sides.clients[0].receive(sides.server.requests()[0])
    message = sides.clients[0].submit(update_of(0, torch.randn(d)))
    assert 7.0 < len(message) / (4 * d) < 7.01
    assert sides.server.absorb(0, message) is True


def test_the_weight_is_not_a_coordinate_of_the_row_and_reported_weights_are_used() -> None:
    terms = replace(TERMS, weights=None, max_weight=1000, d=SLOTS)
    updates = {
        c: update_of(c, torch.full((SLOTS,), float(c)), weight=(1, 10, 100, 1000, 500)[c])
        for c in EVERYONE
    }
    view = opened(sides_of(terms), updates)[0]
    expected = (10 + 200 + 3000 + 2000) / 1611
    assert view.rows.shape == (1, SLOTS)
    assert float(view.weights) == pytest.approx(1611, abs=1e-4)
    assert view.rows[0].tolist() == pytest.approx(
        [expected] * SLOTS, abs=terms.error_bound(5, 1611)
    )


# The headroom


def test_five_clients_of_2000_wrap_around_in_silence_which_is_why_they_are_refused() -> None:
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[54, 55])
    context.global_scale = 2**40
    total = tenseal.ckks_vector(context, [2000.0] * SLOTS)
    for _ in range(4):
        total += tenseal.ckks_vector(context, [2000.0] * SLOTS)
    assert total.decrypt()[:2] == pytest.approx([-6384.0, -6384.0], abs=1e-3)
    with pytest.raises(
        ValueError, match=r"5 clients x 2000 could wrap around; use a clip of at most 1638\.39$"
    ):
        replace(TERMS, clip=2000.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sum_allowed_is_right_with_every_slot_full_and_one_step_more_is_refused(
    sign: float,
) -> None:
    """Slots full of one value put it all into one coefficient, where a sum wraps around first."""
    top = float(np.nextafter(HEADROOM / 4, 0))
    terms = replace(
        TERMS,
        d=SLOTS,
        clients=(0, 1, 2, 3),
        cohort=4,
        clip=top,
        weights=dict.fromkeys(range(4), 10),
    )
    updates = {c: update_of(c, torch.full((SLOTS,), sign * 1e6), weight=10) for c in range(4)}
    assert opened(sides_of(terms), updates)[2].rows[0].tolist() == pytest.approx(
        [sign * top] * SLOTS, rel=1e-6
    )
    with pytest.raises(ValueError, match=r"could wrap around; use a clip of at most 2047\.99"):
        replace(terms, clip=HEADROOM / 4)


def test_what_the_refusal_advises_is_accepted() -> None:
    for cohort in (2, 3, 5, 7, 100, 8191):
        many = tuple(range(cohort))
        with pytest.raises(ValueError, match="use a clip of at most") as refusal:
            replace(TERMS, clients=many, cohort=cohort, min_cohort=2, clip=1e6)
        advice = float(str(refusal.value).rpartition(" ")[2])
        assert replace(TERMS, clients=many, cohort=cohort, min_cohort=2, clip=advice).clip == advice


def test_a_reported_weight_counts_towards_the_headroom() -> None:
    many = tuple(range(2**13))
    replace(TERMS, clients=many, cohort=2**13, clip=0.5)
    with pytest.raises(ValueError, match="8192 clients x 1 could wrap"):
        replace(TERMS, clients=many, cohort=2**13, clip=0.5, weights=None)


def test_a_sum_that_would_be_one_update_is_refused() -> None:
    assert replace(TERMS, min_cohort=2).min_cohort == 2
    with pytest.raises(
        ValueError, match="min_cohort must be at least 2 with ckks, or the sum would be one client"
    ):
        replace(TERMS, min_cohort=1)


@pytest.mark.parametrize(
    ("bad", "sent"), [(float("nan"), 0.0), (float("inf"), 128.0), (-float("inf"), -128.0)]
)
def test_an_update_that_is_not_finite_is_sent_clipped_and_with_zeros_for_nans(
    bad: float, sent: float
) -> None:
    updates = {client: update_of(client, torch.zeros(D)) for client in EVERYONE}
    updates[0] = update_of(0, torch.tensor([1.0, bad, 2.0]))
    row = opened(sides_of(TERMS), updates)[1].rows[0]
    expected = [value * WEIGHTS[0] / sum(WEIGHTS.values()) for value in (1.0, sent, 2.0)]
    assert row.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_reported_weight_out_of_range_is_held_to_the_range() -> None:
    terms = replace(TERMS, weights=None, max_weight=10)
    updates = {
        c: update_of(c, torch.zeros(D), weight=w)
        for c, w in zip(EVERYONE, (0, 11, 2**40, 5, 1), strict=True)
    }
    assert float(opened(sides_of(terms), updates)[0].weights) == pytest.approx(
        1 + 10 + 10 + 5 + 1, abs=1e-4
    )


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (update_of(0, torch.zeros(D + 1)), r"has 3 coordinates here, got shape \(4,\)"),
        (update_of(0, torch.zeros(D), weight=0), "the weight is not the public one"),
        (update_of(0, torch.zeros(D), weight=4), "the weight is not the public one"),
    ],
)
def test_an_update_that_does_not_fit_the_terms_is_refused(
    update: ClientUpdate, message: str
) -> None:
    stages = until_asked(sides_of(TERMS), 0, round=0)
    with pytest.raises(ProtocolError, match=message):
        stages.sides.clients[0].submit(update)


# Keys


def test_the_server_cannot_decrypt_by_any_door_of_the_library() -> None:
    sides = sides_of(TERMS)
    stages = until_asked(sides, 0, round=0)
    message = sides.clients[0].submit(stages.updates[0])
    context = tenseal.context_from(HOLDER.public_parameters())
    assert not context.has_secret_key()
    ours = Ciphertexts.without_key(HOLDER.public_parameters())
    ciphertext = ours.load(EncryptedUpdate.from_bytes(message, chunks=1).ciphertexts[0])
    with pytest.raises(ValueError, match="doesn't hold a secret_key"):
        ciphertext.decrypt()
    with pytest.raises(ValueError, match="doesn't support encryption"):
        tenseal.ckks_vector(context, [1.0])
    with pytest.raises(ValueError, match="hold a Secret key"):
        context.secret_key()
    wrong = np.array(ciphertext.decrypt(tenseal.context_from(OTHER_HOLDER.to_bytes()).secret_key()))
    assert np.abs(wrong[:D] - stages.updates[0].delta.numpy()).min() > 1  # another key opens noise


def test_the_public_parameters_hold_no_key_material() -> None:
    public, secret = HOLDER.public_parameters(), HOLDER.to_bytes()
    assert len(public) < 200 < 50_000 < len(secret)
    assert KeyHolder.generate().public_parameters()[:8] == public[:8]
    with pytest.raises(ProtocolError, match="not the bytes of a CKKS key"):
        KeyHolder.from_bytes(public)


def test_one_key_holder_who_talks_opens_every_update_which_masking_does_not_allow() -> None:
    """The limit of this channel, as docs/threat-model.md states it."""
    sides = sides_of(TERMS)
    stages = Stages(sides, round=0)
    messages = stages.answers()
    traitor = KeyHolder.from_bytes(HOLDER.to_bytes())
    for client, message in messages.items():
        (ciphertext,) = EncryptedUpdate.from_bytes(message, chunks=1).ciphertexts
        numbers = traitor.open([traitor.ciphertexts().load(ciphertext)])[:D] * 10 / WEIGHTS[client]
        assert numbers == pytest.approx(stages.updates[client].delta.numpy(), abs=1e-5)


def test_a_secret_is_shown_by_no_repr_and_ids_of_two_keys_differ() -> None:
    assert HOLDER.to_bytes()[40:60].hex() not in repr(HOLDER)
    assert "secret" not in repr(HOLDER)
    assert "context" not in repr(HOLDER)
    assert HOLDER.key_id == KeyHolder.from_bytes(HOLDER.to_bytes()).key_id != OTHER_HOLDER.key_id


def key_of(
    bits: tuple[int, int] = (54, 55),
    scale: float = 2.0**40,
    kind: tenseal.ENCRYPTION_TYPE = tenseal.ENCRYPTION_TYPE.SYMMETRIC,
    secret: bool = True,
) -> bytes:
    """Returns a key of a context as TenSEAL writes it."""
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=list(bits), encryption_type=kind
    )
    context.global_scale = scale
    data: bytes = context.serialize(save_public_key=False, save_secret_key=secret)
    return data


FOREIGN = {
    "none": b"",
    "junk": b"junk",
    "both moduli": key_of(bits=(50, 50)),
    "the special modulus": key_of(bits=(54, 40)),
    "scale": key_of(scale=2.0**39),
    "public-key encryption, with five times the noise": key_of(
        kind=tenseal.ENCRYPTION_TYPE.ASYMMETRIC
    ),
    "no secret": key_of(secret=False),
    "too long": key_of() + b"\x7a\x80\x80\x10" + bytes(2**18),  # a field that Protocol Buffers skip
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_key_of_other_parameters_is_refused(foreign: bytes) -> None:
    assert KeyHolder.from_bytes(key_of()).key_id != HOLDER.key_id
    with pytest.raises(ProtocolError, match="not the bytes of a CKKS key of our parameters"):
        KeyHolder.from_bytes(foreign)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_update_with_one_bad_ciphertext_leaves_no_trace_in_the_sum(place: int) -> None:
    d = 3 * SLOTS
    sides, deltas = sides_of(replace(TERMS, d=d)), {c: torch.full((d,), 2.0**c) for c in EVERYONE}
    stages = Stages(sides, round=0, updates={c: update_of(c, delta) for c, delta in deltas.items()})
    messages = stages.answers()
    parts = [
        bytes(ciphertext)
        for ciphertext in EncryptedUpdate.from_bytes(messages[4], chunks=3).ciphertexts
    ]
    parts[place] = b"\xff" * CIPHERTEXT_BYTES
    bad = EncryptedUpdate(SESSION, 0, 4, HOLDER.key_id, parts).to_bytes()
    assert sides.server.absorb(4, bad) is False  # as the first to come
    stages.deliver({client: messages[client] for client in (0, 1, 2, 3)})
    assert sides.server.absorb(4, bad) is False  # and as the last
    stages.close()
    stages.answers(silent=(4,))
    assert stages.view is not None
    assert stages.view.clients == (0, 1, 2, 3)
    exact = sum(2.0**c * WEIGHTS[c] for c in range(4)) / 18
    assert torch.allclose(stages.view.rows, torch.full((1, d), exact), atol=1e-5)


def test_a_message_under_another_key_is_dropped_by_the_server_and_refused_by_key_holders() -> None:
    ours, theirs = sides_of(TERMS), sides_of(TERMS, OTHER_HOLDER)
    here, there = Stages(ours, round=0), Stages(theirs, round=0)
    messages, foreign = here.answers(), there.answers()
    assert ours.server.absorb(0, foreign[0]) is False
    here.deliver(messages)
    there.deliver(foreign)
    here.close()
    there.close()
    with pytest.raises(ProtocolError, match="the sum is under another key"):
        ours.clients[0].receive(theirs.server.requests()[0])
    assert isinstance(ours.clients[0].receive(ours.server.requests()[0]), View)


def test_no_ciphertext_and_no_key_is_the_same_twice() -> None:
    assert HOLDER.encrypt(np.zeros(1)) != HOLDER.encrypt(np.zeros(1))
    assert KeyHolder.generate().to_bytes() != KeyHolder.generate().to_bytes()


# Opening


def sum_for(sides: Sides, *, round: int = 0) -> EncryptedSum:
    stages = Stages(sides, round)
    stages.deliver(stages.answers())
    stages.close()
    return EncryptedSum.from_bytes(sides.server.requests()[0], chunks=1, most=5)


@pytest.mark.parametrize("survivors", [(), (0, 1), (0, 1, 7)])
def test_a_sum_of_too_few_or_of_strangers_is_not_opened(survivors: tuple[int, ...]) -> None:
    sides = sides_of(TERMS)
    honest = sum_for(sides)
    with pytest.raises(ProtocolError, match="a sum takes 3 or more clients of this session"):
        sides.clients[0].receive(replace(honest, survivors=survivors).to_bytes())
    assert isinstance(sides.clients[0].receive(honest.to_bytes()), View)


def test_a_sum_names_every_client_once_and_in_order() -> None:
    sides = sides_of(TERMS)
    honest = sum_for(sides)
    for survivors in ((0, 1, 1), (2, 1, 0), (0, 1, 2, 3, 4, 5)):
        with pytest.raises(
            ProtocolError, match=r"names clients out of order or twice|4 a client here"
        ):
            sides.clients[0].receive(replace(honest, survivors=survivors).to_bytes())


def test_a_sum_is_opened_once_and_nothing_is_submitted_after_it() -> None:
    sides = sides_of(TERMS)
    stages = Stages(sides, 0)
    messages = stages.answers(hold=[0])
    stages.deliver(messages)
    stages.close()
    request = sides.server.requests()[0]
    assert isinstance(sides.clients[0].receive(request), View)
    with pytest.raises(
        ProtocolError, match="round 0 is not in progress; its sum was asked for before"
    ):
        sides.clients[0].receive(request)
    with pytest.raises(ProtocolError, match="no update was asked for"):
        sides.clients[0].submit(stages.updates[0])


@pytest.mark.parametrize("round", [0, 2])
def test_a_sum_of_another_round_is_refused(round: int) -> None:
    sides = sides_of(TERMS)
    honest = sum_for(sides, round=1)
    with pytest.raises(ProtocolError, match=f"round {round} is not in progress"):
        sides.clients[0].receive(replace(honest, round=round).to_bytes())


def test_a_sum_of_another_session_or_a_broken_one_is_refused() -> None:
    sides = sides_of(TERMS)
    honest = sum_for(sides)
    with pytest.raises(ProtocolError, match="another session"):
        sides.clients[0].receive(replace(honest, session=OTHER_SESSION).to_bytes())
    with pytest.raises(ProtocolError, match="not a ciphertext of our parameters"):
        sides.clients[0].receive(
            replace(honest, ciphertexts=[b"\xff" * CIPHERTEXT_BYTES]).to_bytes()
        )
    with pytest.raises(ProtocolError, match="4 a client here"):
        sides.clients[0].receive(replace(honest, ciphertexts=[b"\0" * 60_000]).to_bytes())
    assert isinstance(sides.clients[0].receive(honest.to_bytes()), View)


def test_when_no_key_holder_opens_the_sum_the_round_is_abandoned() -> None:
    sides = sides_of(TERMS)
    sum_for(sides)
    assert sides.server.close_stage() is None
    assert sides.server.requests() == {}
    with pytest.raises(RoundAbandoned, match="no key holder opened the sum"):
        sides.server.close_stage()
    assert torch.allclose(
        mean_of(play(sides, round=1)), mean_of_updates(EVERYONE, round=1), atol=1e-5
    )


def test_a_client_that_was_silent_still_opens_what_the_others_sent() -> None:
    sides = sides_of(TERMS)
    stages = Stages(sides, 0)
    messages = stages.answers(hold=[4])
    stages.deliver(messages)
    stages.close()
    view = sides.clients[4].receive(sides.server.requests()[4])
    assert isinstance(view, View)
    assert view.members == ((0, 1, 2, 3),)


# Messages


def test_lengths_are_checked_before_anything_is_copied() -> None:
    first, second = b"1" * CIPHERTEXT_BYTES, b"2" * CIPHERTEXT_BYTES
    update = EncryptedUpdate(SESSION, 3, 2, HOLDER.key_id, [first, second])
    assert EncryptedUpdate.from_bytes(update.to_bytes(), chunks=2) == update
    for data in (update.to_bytes()[:-1], update.to_bytes() + b"\0", b""):
        with pytest.raises(ProtocolError, match="takes 114749 bytes here, got"):
            EncryptedUpdate.from_bytes(data, chunks=2)
    message = EncryptedSum(SESSION, 3, HOLDER.key_id, (0, 3), [first])
    assert EncryptedSum.from_bytes(message.to_bytes(), chunks=1, most=2) == message
    for data in (
        message.to_bytes()[:-1],
        message.to_bytes()[:-12],
        message.to_bytes() + b"\0\0\0\0",
        message.to_bytes()[:CIPHERTEXT_BYTES],
        b"",
    ):
        with pytest.raises(ProtocolError, match="bytes and 4 a client here, got"):
            EncryptedSum.from_bytes(data, chunks=1, most=2)
    with pytest.raises(ProtocolError, match="bytes and 4 a client here, got"):
        EncryptedSum.from_bytes(message.to_bytes(), chunks=1, most=1)


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_broken_messages_never_do_more_than_being_dropped(seed: int) -> None:
    """Random damage to honest messages: they are dropped, or taken as another ciphertext.

    The latter happens where only a bit of a coefficient changed.
    """
    stream = seeded_keystream(seed, "ckks fuzzing")
    sides = sides_of(TERMS)
    stages = until_asked(sides, 0, round=0)
    honest = bytes(sides.clients[0].submit(stages.updates[0]))
    accepted_count = 0
    for _ in range(300 if seed == 0 else 20_000):
        message = bytearray(honest)
        reach = len(message) if stream.bytes(1)[0] < 128 else 300
        for place in (stream.uniform(4) * reach).astype(int).tolist():
            message[place] = stream.bytes(1)[0]
        cut = int(stream.uniform(1)[0] * len(message)) if stream.bytes(1)[0] < 32 else len(message)
        whole = cut == len(message) and message[:-CIPHERTEXT_BYTES] == honest[:-CIPHERTEXT_BYTES]
        accepted = sides.server.absorb(0, bytes(message[:cut]))
        assert whole or not accepted
        accepted_count += accepted
        sides.server.begin(0, EVERYONE, HASH)
    assert accepted_count > 0
    request = UpdateRequest(SESSION, 1, HASH).to_bytes()
    assert sides.clients[0].receive(request) is None
    assert torch.allclose(
        mean_of(play(sides, round=2)), mean_of_updates(EVERYONE, round=2), atol=1e-5
    )


# What is seen


def test_server_and_network_see_ciphertexts_and_never_a_value() -> None:
    recorder = Recorder()
    play(sides_of(TERMS), round=0, observer=recorder)
    seen = recorder.observations
    assert {o.kind for o in seen} == {"encrypted update", "encrypted sum"}
    assert all(o.values is None for o in seen)
    assert [o.about for o in seen if o.kind == "encrypted sum"] == [EVERYONE, EVERYONE]
    assert all(o.shape == (1,) for o in seen)
    assert updates_for(0)[0].delta.numel() == D


def test_a_holder_without_the_model_that_was_asked_for_opens_nothing() -> None:
    # Otherwise the step would be added to another model, under the same name as at the holders
    # that have the right one.
    sides = sides_of(TERMS)
    sides.server.begin(0, EVERYONE, HASH)
    for client, request in sides.server.requests().items():
        sides.clients[client].receive(request)
        if client == 4:
            with pytest.raises(
                ProtocolError, match="trained on another model than the one asked for"
            ):
                sides.clients[4].check_model(0, b"o" * 32)
        else:
            assert sides.server.absorb(
                client, sides.clients[client].submit(update_of(client, torch.ones(D)))
            )
    sides.server.close_stage()
    request = sides.server.requests()[4]
    with pytest.raises(
        ProtocolError, match="this holder does not have the model that was asked for"
    ):
        sides.clients[4].receive(request)
    view = sides.clients[0].receive(request)
    assert isinstance(view, View)
    assert view.model_name == next_name(HASH, 0, request)
