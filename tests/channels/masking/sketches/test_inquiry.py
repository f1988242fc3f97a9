"""Stages 9 and 10 at the server: which replies count, and who is never blamed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from securefl.channels.masking.sketches.conflicts import CONTRADICTED, MISFIT
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.lying import LyingClient
from securefl.channels.masking.sketches.replies import Acceptance, BlameShares, bits_of
from securefl.channels.protocol import Lie, Packet
from securefl.errors import RoundAbandoned
from securefl.rng import Keystream, seeded_keystream
from tests.channels.masking.sketches.parties import (
    SketchSession,
    is_exact,
    make_sketching_client,
    resigned,
    sketch_terms,
)

LIAR = 1


def lying_session() -> SketchSession:
    session = SketchSession(sketch_terms(9, corrupt=2, liars=2))
    session.clients[LIAR] = make_sketching_client(
        LIAR, session.terms, kind=LyingClient, lie=Lie(0.0)
    )
    return session


def shifted(body: bytes) -> BlameShares:
    shares = BlameShares.from_bytes(body, most=10_000)
    return replace(shares, elements=[(x + 1) % P for x in shares.elements])


def rejecting(*places: int) -> Callable[[bytes], BlameShares]:
    """Returns what claims that these dealings of pair sketches do not fit."""

    def rejected(body: bytes) -> BlameShares:
        shares = BlameShares.from_bytes(body, most=10_000)
        remaining = 9 - len(places)
        count = remaining * (remaining - 1) // 2 + remaining * 16
        return replace(shares, rejected=bits_of(set(places)), elements=shares.elements[:count])

    return rejected


def last_stage(
    session: SketchSession, changes: dict[int, Callable[[bytes], Any]]
) -> Callable[[int, int, Packet], Packet]:
    def change(stage: int, client: int, message: Packet) -> Packet:
        if stage != 10 or client not in changes:
            return message
        return resigned(client, message, session.terms, changes[client])

    return change


def test_wrong_shares_in_the_last_stage_blame_nobody_else() -> None:
    session = lying_session()
    with pytest.raises(RoundAbandoned) as lost:
        session.play(0, change=last_stage(session, {0: shifted, LIAR: shifted}))
    assert lost.value.named == {LIAR: MISFIT}
    assert lost.value.paired == ()


def test_answers_of_clients_in_a_pair_of_this_round_do_not_count() -> None:
    session = lying_session()
    in_last_stage = last_stage(session, {0: shifted, 4: shifted, LIAR: shifted})

    def change(stage: int, client: int, message: Packet) -> Packet:
        if (stage, client) == (5, 0):
            complaint = bits_of({4})
            return resigned(
                0,
                message,
                session.terms,
                lambda b: replace(Acceptance.from_bytes(b), rejected=complaint),
            )
        return in_last_stage(stage, client, message)

    with pytest.raises(RoundAbandoned) as lost:
        session.play(0, change=change)
    # The pair of stage 5 concerns this round only.
    assert (lost.value.named, lost.value.paired) == ({LIAR: MISFIT}, ())
    assert session.play(1).clients == (0, 2, 3, 4, 5, 6, 7, 8)


def test_a_false_complaint_in_the_last_stage_ends_in_a_pair() -> None:
    session = lying_session()
    with pytest.raises(RoundAbandoned) as lost:
        session.play(0, change=last_stage(session, {0: rejecting(5)}))
    assert (lost.value.named, lost.value.paired) == ({LIAR: MISFIT}, ((0, 5),))
    assert "one of the clients 0 and 5 lied" in str(lost.value)
    assert session.play(1).clients == (2, 3, 4, 6, 7, 8)


def test_who_complains_of_too_many_in_the_last_stage_is_named() -> None:
    session = lying_session()
    with pytest.raises(RoundAbandoned) as lost:
        session.play(0, change=last_stage(session, {0: rejecting(5, 6, 7)}))
    assert lost.value.named == {LIAR: MISFIT, 0: CONTRADICTED}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda m: replace(m, elements=m.elements[:-1]), "an element too few"),
        (lambda m: replace(m, elements=[*m.elements, 0]), "an element too many"),
        (lambda m: replace(m, rejected=bits_of({5})), "elements of a rejected dealing"),
        (lambda m: replace(m, rejected=1 << 9), "a place outside the block"),
        (lambda m: rejecting(3)(m.to_bytes()), "itself"),
        (lambda m: replace(m, round=1), "another round"),
        (lambda m: replace(m, sender=4), "another sender"),
        (lambda m: replace(m, session=bytes(16)), "another session"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_answer_of_the_last_stage_is_dropped(
    change: Callable[[BlameShares], Any], name: str
) -> None:
    session = lying_session().begin(0).until(10)
    answers = session.answers()
    wrong = resigned(
        3, answers[3], session.terms, lambda b: change(BlameShares.from_bytes(b, most=10_000))
    )
    assert not session.server.absorb(3, wrong)
    for client, message in answers.items():
        assert session.server.absorb(client, message)
    with pytest.raises(RoundAbandoned) as lost:
        session.server.close_stage()
    assert lost.value.named == {LIAR: MISFIT}


def test_with_too_few_helpers_nobody_is_named() -> None:
    session = lying_session().begin(0).until(10)
    with pytest.raises(RoundAbandoned, match="only 6 clients helped to find out why") as lost:
        session.stage(silent=[6, 7, 8])
    assert (dict(lost.value.named), lost.value.paired) == ({}, ())


class Fickle(LyingClient):
    """Lies in some rounds and not in others."""

    stream: Keystream

    def _sketch(self, matrix: Any, words: Any) -> Any:
        self._lie = [Lie(1.0), Lie(0.5), Lie(-1.0, hide=True)][self.stream.bytes(1)[0] % 3]
        return super()._sketch(matrix, words)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_two_of_nine_do_no_honest_client_is_named_and_the_run_goes_on(seed: int) -> None:
    liars = (2, 6)
    session = SketchSession(sketch_terms(9, corrupt=2, liars=2))
    stream = seeded_keystream(seed, "misbehaviour")
    kind = type("Fickle", (Fickle,), {"stream": stream})
    for client in liars:
        session.clients[client] = make_sketching_client(
            client, session.terms, kind=kind, lie=Lie(1.0), liars=liars
        )

    def change(stage: int, client: int, message: Packet) -> Packet:
        """Changes every fifth message of a liar anywhere, and a quarter of its complaints."""
        if client not in liars or stream.bytes(1)[0] % 5:
            return message
        if stage == 5:
            bits = stream.bytes(1)[0] & ~(1 << client)
            return resigned(
                client,
                message,
                session.terms,
                lambda body: replace(Acceptance.from_bytes(body), rejected=bits),
            )
        place = 29 + int.from_bytes(stream.bytes(2), "little") % max(1, len(message) - 100)
        return resigned(
            client,
            message,
            session.terms,
            lambda body: body[:place] + stream.bytes(1) + body[place + 1 :],
        )

    lost = opened = 0
    for round in range(5):
        try:
            view = session.play(round, change=change)
        except RoundAbandoned:
            lost += 1
        else:
            opened += 1
            assert is_exact(session, view)
        assert set(session.server.named) <= set(liars)
        for pair in session.server._findings.paired:
            assert set(pair) & set(liars)
    assert opened >= 3
    assert lost <= 2
