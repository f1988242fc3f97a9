"""The rounds of a deployment: their trips, and what a lost site costs in which of them.

Set-up takes trips 1 to 3. Round 0 takes trips 4 to 8: two to open it, then A, B and C. B and C open
round 1, which takes trips 9 to 11. Round 2 takes trips 12 to 14.
"""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

from securefl.errors import BudgetExceeded, ProtocolError
from securefl.federation.record import RoundRecord
from securefl.runs.deployed.envelope import Direction, Envelope, Kind, Part, Sealed, opened
from tests.runs.deployed.parties import DP, MASKED, SGD, Deployment, deployment

SET_UP = 3
ROUNDS = 4
LONG = SGD.replace("rounds = 2", f"rounds = {ROUNDS}") + MASKED


def silenced(parties: Deployment, silences: Mapping[int, tuple[int, ...]]) -> None:
    """Makes sites silent: number of the trip, from 1 -> sites whose reply does not arrive."""

    def tamper(site: int, reply: bytes) -> list[bytes]:
        return [] if site in silences.get(len(parties.link.trips), ()) else [reply]

    parties.link.tamper = tamper


def played(text: str, folder: Path, silences: Mapping[int, tuple[int, ...]]) -> Deployment:
    parties = deployment(text, folder)
    silenced(parties, silences)
    parties.play()
    return parties


def survivors(records: list[RoundRecord]) -> list[tuple[int, ...]]:
    return [record.survivors for record in records]


def requests(parties: Deployment) -> list[set[tuple[Kind, int]]]:
    """Returns kind and round of the models and requests in each envelope to site 0."""
    to_site: list[set[tuple[Kind, int]]] = []
    for data in parties.link.passed:
        try:
            envelope = opened(
                data,
                parties.charter.server_key,
                charter=parties.charter.digest,
                direction=Direction.TO_SITE,
                site=0,
                limit=100_000,
            )
        except ProtocolError:  # another site's, or a reply
            continue
        parts = {(part.kind, part.round) for part in envelope.parts}
        to_site.append({part for part in parts if part[0] in (Kind.MODEL, Kind.REQUEST)})
    return to_site


def test_three_trips_a_round_and_five_in_the_first(tmp_path: Path) -> None:
    parties = played(LONG, tmp_path, {})
    parties.desk.finish()
    assert parties.desk.counts.trips == SET_UP + 5 + 3 * (ROUNDS - 1) + 1
    assert survivors(parties.cell.rounds()) == [(0, 1, 2, 3)] * ROUNDS


def test_each_trip_carries_what_the_table_says_and_nobody_is_invited_past_the_last_round(
    tmp_path: Path,
) -> None:
    parties = played(SGD + MASKED, tmp_path, {})
    model, request = Kind.MODEL, Kind.REQUEST
    assert requests(parties)[SET_UP:] == [
        {(request, 0)},
        {(request, 0)},
        {(model, 0), (request, 0)},
        {(request, 0), (request, 1)},
        {(request, 0), (request, 1)},
        {(model, 1), (request, 1)},
        {(request, 1)},
        {(request, 1)},
    ]


def test_a_plain_round_takes_one_trip_whoever_falls_silent(tmp_path: Path) -> None:
    parties = played(SGD.replace("rounds = 2", "rounds = 3"), tmp_path, {2: (0, 1)})
    assert parties.desk.counts.trips == 3
    assert survivors(parties.cell.rounds()) == [(0, 1, 2, 3), (2, 3), (0, 1, 2, 3)]


@pytest.mark.parametrize(
    ("trip", "abandoned", "trips"),
    [
        # Too few advertise or share: the round is over, and the next one opens by itself.
        (4, [0], 1 + 5 + 3 + 3),
        (5, [0], 2 + 5 + 3 + 3),
        # Too few uploads: nobody was invited to the next round yet.
        (6, [0], 3 + 5 + 3 + 3),
        # Too few consents: the invitation has gone out, and its keys come in a trip of their own.
        (7, [0, 1], 4 + 5 + 3),
        # Too few help to open the sum.
        (8, [0, 1], 5 + 5 + 3),
    ],
)
def test_a_trip_that_loses_too_many_sites_ends_the_rounds_whose_stages_it_carried(
    trip: int, abandoned: list[int], trips: int, tmp_path: Path
) -> None:
    parties = played(LONG, tmp_path, {trip: (0, 1)})
    records = parties.cell.rounds()
    assert [record.round for record in records if record.abandoned] == abandoned
    assert all(len(record.survivors) == 4 for record in records if not record.abandoned)
    assert parties.desk.counts.trips == SET_UP + trips


def test_a_round_that_fails_at_its_last_trip_leaves_the_next_one_open(tmp_path: Path) -> None:
    # Two sites' revealed shares are lost, their shares for the next round arrive.
    parties = deployment(LONG, tmp_path)

    def tamper(site: int, reply: bytes) -> list[bytes]:
        is_lost = site < 2 and len(parties.link.trips) == 8
        return [without_round(parties, site, reply, 0) if is_lost else reply]

    parties.link.tamper = tamper
    parties.play()
    records = parties.cell.rounds()
    assert [record.abandoned for record in records] == [True, False, False, False]
    assert "answered stage 5" in records[0].reason
    assert parties.desk.counts.trips == SET_UP + 5 + 3 * 3


def test_a_round_that_fails_at_the_consents_asks_for_the_next_ones_keys_in_a_trip_of_its_own(
    tmp_path: Path,
) -> None:
    parties = deployment(LONG, tmp_path)

    def tamper(site: int, reply: bytes) -> list[bytes]:
        is_lost = site < 2 and len(parties.link.trips) == 7
        return [without_round(parties, site, reply, 0) if is_lost else reply]

    parties.link.tamper = tamper
    parties.play()
    assert [record.abandoned for record in parties.cell.rounds()] == [True, False, False, False]
    assert parties.desk.counts.trips == SET_UP + 4 + 4 + 3 * 2


def without_round(parties: Deployment, site: int, reply: bytes, round: int) -> bytes:
    """Returns a site's reply without its answer in one round, sealed again."""
    envelope = opened(
        reply,
        parties.charter.keys[site],
        charter=parties.charter.digest,
        direction=Direction.TO_COORDINATOR,
        site=site,
        limit=100_000,
    )
    parts = tuple(part for part in envelope.parts if part.round != round)
    there = Direction.TO_COORDINATOR
    return Envelope(envelope.charter, there, site, envelope.number, parts).sealed(
        parties.keys[site]
    )


@pytest.mark.parametrize(
    ("trip", "in_sums"),
    [
        (6, [False, True, True, True]),  # A: not in this sum; B invites it to the next
        (7, [True, False, True, True]),  # B: in this sum, and not invited to the next
        (8, [True, False, True, True]),  # C: the same
    ],
)
def test_a_site_that_misses_one_trip_is_back_as_soon_as_it_is_invited(
    trip: int, in_sums: list[bool], tmp_path: Path
) -> None:
    parties = played(LONG, tmp_path, {trip: (3,)})
    assert [3 in record.survivors for record in parties.cell.rounds()] == in_sums
    assert not any(record.abandoned for record in parties.cell.rounds())


def test_a_site_that_refuses_one_round_still_answers_in_the_other(tmp_path: Path) -> None:
    parties = deployment(LONG, tmp_path)
    left_out = parties.link.agents[3]
    answer = left_out.answer

    def refusing(data: bytes) -> bytes | None:
        # In trip B the survivors' list gets lost on its way, as if the server had left it out.
        reply = answer(data)
        if len(parties.link.trips) == 7 and reply is not None:
            return without_round(parties, 3, reply, 0)
        return reply

    object.__setattr__(left_out, "answer", refusing)
    parties.play()
    assert survivors(parties.cell.rounds()) == [(0, 1, 2, 3)] * ROUNDS
    assert parties.cell.rounds()[0].absent == {3: "its site did not answer"}


@pytest.mark.parametrize(
    ("trip", "in_sums"),
    [
        (4, [False, True, True, True]),  # before it advertised
        (5, [False, True, True, True]),  # before it shared
        (6, [False, True, True, True]),  # after it shared, before its update
        (7, [True, False, True, True]),  # after its update: in the sum, not invited to the next
        (8, [True, False, True, True]),  # before it unmasks, with the invitation answered
        (9, [True, False, True, True]),
        (11, [True, True, False, True]),
    ],
)
def test_a_site_that_is_killed_and_started_again_joins_the_round_after_those_it_had_begun(
    trip: int, in_sums: list[bool], tmp_path: Path
) -> None:
    text = DP.replace("rounds = 2", f"rounds = {ROUNDS}").replace("2.0", "9.0") + MASKED
    parties = deployment(text, tmp_path)
    agents = {**parties.link.agents}
    parties.link.agents = agents
    carry = parties.link.carry

    def carry_and_kill(
        envelopes: Mapping[int, Sealed], seconds: float
    ) -> Generator[tuple[int, bytes], None, None]:
        if len(parties.link.trips) == trip - 1:
            agents[3] = parties.started(3, tmp_path)
            # The envelope came while it was down.
            agents[3].answer = lambda data: None  # type: ignore[method-assign]
        elif len(parties.link.trips) == trip:
            agents[3] = parties.started(3, tmp_path)
        yield from carry(envelopes, seconds)

    parties.link.carry = carry_and_kill  # type: ignore[method-assign]
    parties.play()
    records = parties.cell.rounds()
    assert [3 in record.survivors for record in records] == in_sums
    assert not any(record.abandoned for record in records)
    paid = (tmp_path / "3.jsonl").read_text()
    rounds = [number for number in range(ROUNDS) if in_sums[number]]
    assert paid.count('"reserve"') == len(rounds)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"beacon": "', '"beacon": "00'),
        lambda text: text.replace("[0, 1, 2, 3]", "[0, 1, 3]"),
        lambda text: text.replace("[0, 1, 2, 3]", "[0, 1, 3, 9]"),
        lambda text: text[:-3],
        lambda text: "[]",
    ],
)
def test_a_restarted_site_takes_no_terms_but_those_that_its_set_up_ended_with(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    parties = played(SGD + MASKED, tmp_path, {})
    terms = tmp_path / "site-3" / "terms.0.json"
    parties.started(3, tmp_path)
    terms.write_text(change(terms.read_text()))
    with pytest.raises(ProtocolError, match="not the terms that this session's set-up ended with"):
        parties.started(3, tmp_path)


def test_answers_are_taken_by_round_whatever_their_order(tmp_path: Path) -> None:
    parties = deployment(LONG, tmp_path)

    def tamper(site: int, reply: bytes) -> list[bytes]:
        envelope = opened(
            reply,
            parties.charter.keys[site],
            charter=parties.charter.digest,
            direction=Direction.TO_COORDINATOR,
            site=site,
            limit=100_000,
        )
        # Turned round, with a stranger's lane, a round that nobody asked about, and each twice.
        parts = (*reversed(envelope.parts), *envelope.parts)
        parts = (Part(Kind.ANSWER, 0, b"x", lane=1), Part(Kind.ANSWER, 99, b"x"), *parts)
        there = Direction.TO_COORDINATOR
        other = Envelope(envelope.charter, there, site, envelope.number, parts[:8])
        return [other.sealed(parties.keys[site])]

    parties.link.tamper = tamper
    parties.play()
    records = parties.cell.rounds()
    assert survivors(records) == [(0, 1, 2, 3)] * ROUNDS
    assert [(record.absent, record.rejected) for record in records] == [({}, 0)] * ROUNDS


def test_a_late_reply_changes_nothing(tmp_path: Path) -> None:
    parties = deployment(LONG, tmp_path)
    late: list[bytes] = []

    def tamper(site: int, reply: bytes) -> list[bytes]:
        if site == 3 and len(parties.link.trips) == 6:
            late.append(reply)
            return []
        return [*late, reply] if site == 3 else [reply]

    parties.link.tamper = tamper
    parties.play()
    records = parties.cell.rounds()
    assert survivors(records) == [(0, 1, 2), *[(0, 1, 2, 3)] * 3]
    assert parties.desk.counts.dropped == parties.desk.counts.trips - 6


def test_a_site_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    # The link of this test would wait for ever: it ends with the last site's reply.
    parties = deployment(LONG, tmp_path)
    parties.link.tamper = lambda site, reply: [reply] if site != 2 else [b""]
    parties.play()
    assert survivors(parties.cell.rounds()) == [(0, 1, 3)] * ROUNDS


def test_sites_pay_once_a_round_until_too_few_may_and_nobody_is_invited_after_that(
    tmp_path: Path,
) -> None:
    text = DP.replace("noise_multiplier = 2.0", "noise_multiplier = 1.5") + MASKED
    parties = deployment(text.replace("rounds = 2", "rounds = 300"), tmp_path)
    with pytest.raises(BudgetExceeded, match="round 6: 2 of 4 clients may still spend"):
        parties.play()
    assert survivors(parties.cell.rounds()) == [(0, 1, 2, 3)] * 4 + [(0, 1, 2)] * 2 + [()]
    paid = [(tmp_path / f"{site}.jsonl").read_text().count('"reserve"') for site in range(4)]
    assert paid == [7, 7, 6, 4]
    assert parties.desk.counts.trips == SET_UP + 5 + 3 * 5 + 1
    assert requests(parties)[-1] == {(Kind.MODEL, 6), (Kind.REQUEST, 6)}
