"""The set-up: all members draw one number together, whoever drops out or lies."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.beacon import opened_secret, with_beacon
from securefl.channels.masking.keys import open_signed
from securefl.channels.masking.reading import OpenedTable, SetupReader
from securefl.channels.masking.setup import SetupClient, SetupServer, hold
from securefl.channels.masking.setup_messages import SetupReply, SetupTable
from securefl.channels.monotonic import MemoryMonotonic, Monotonic
from securefl.errors import ProtocolError, RoundAbandoned
from tests.channels.masking.parties import SESSION, agreement, identity

TERMS = agreement(5)
Secret = Callable[[int, int], bytes]


def secret_of(client: int, attempt: int) -> bytes:
    return hashlib.sha256(b"secret %d %d" % (client, attempt)).digest()


def commitment_by_hand(
    client: int, attempt: int, secret: bytes, *, session: bytes = SESSION
) -> bytes:
    label = b"securefl masking 1, set-up commitment"
    return hashlib.sha256(label + session + struct.pack("<II", attempt, client) + secret).digest()


def digest_by_hand(commitments: Mapping[int, bytes]) -> bytes:
    listed = [struct.pack("<I", client) + commitments[client] for client in sorted(commitments)]
    return hashlib.sha256(struct.pack("<I", len(listed)) + b"".join(listed)).digest()


def beacon_by_hand(
    secrets: Mapping[int, bytes], *, attempt: int = 0, session: bytes = SESSION
) -> bytes:
    members = hashlib.sha256(
        b"".join(struct.pack("<I", client) for client in sorted(secrets))
    ).digest()
    drawn = b"".join(secrets[client] for client in sorted(secrets))
    label = b"securefl masking 1, beacon"
    return hashlib.sha256(label + session + struct.pack("<I", attempt) + members + drawn).digest()


def member(
    client: int,
    terms: Agreement = TERMS,
    secret: Secret = secret_of,
    monotonic: Monotonic | None = None,
    reader: SetupReader | None = None,
) -> SetupClient:
    """Returns a member that has answered nothing, or what `monotonic` holds.

    It has a reader of its own, as in a deployment, unless one is given.
    """
    return SetupClient(
        client,
        identity(client),
        terms,
        draw=lambda attempt: secret(client, attempt),
        monotonic=monotonic or MemoryMonotonic(),
        reader=reader,
    )


def table_request(
    step: int,
    table: Mapping[int, bytes],
    *,
    attempt: int = 0,
    terms: Agreement = TERMS,
    session: bytes | None = None,
    by: int = -1,
) -> bytes:
    """Returns a request as the server signs it."""
    body = SetupTable(session or terms.session, attempt, step, table).to_bytes()
    return body + identity(by).signature(body, terms=terms.digest)


def members(*clients: int) -> dict[int, bytes]:
    return dict.fromkeys(clients or TERMS.roster, b"")


def reply_of(
    client: int,
    content: bytes,
    *,
    attempt: int = 0,
    session: bytes = SESSION,
    by: int | None = None,
) -> bytes:
    """Returns a reply as its sender signs it."""
    body = SetupReply(session, attempt, client, content).to_bytes()
    return body + identity(client if by is None else by).signature(body, terms=TERMS.digest)


def content_of(reply: bytes | None) -> bytes:
    assert reply is not None
    return reply[25 + 4 : -64]


class SetUp:
    """One set-up, step after step by hand."""

    def __init__(self, terms: Agreement = TERMS, secret: Secret = secret_of) -> None:
        self.terms = terms
        self.server = SetupServer(identity(-1), terms)
        reader = SetupReader()
        self.clients = {
            client: member(client, terms, secret, reader=reader) for client in terms.roster
        }

    def replies(self, *, silent: Iterable[int] = ()) -> dict[int, bytes]:
        answers = {
            client: self.clients[client].receive(request)
            for client, request in self.server.requests().items()
            if client not in silent
        }
        return {client: reply for client, reply in answers.items() if reply is not None}

    def step(self, *, silent: Iterable[int] = ()) -> Agreement | None:
        for client, reply in self.replies(silent=silent).items():
            assert self.server.absorb(client, reply)
        return self.server.close_stage()

    def finish(self) -> Agreement:
        while (agreed := self.step()) is None:
            pass
        return agreed


class Corrupt:
    """A server that shows each member any table, and a corrupt member 4 that signs anything."""

    honest = (0, 1, 2, 3)

    def __init__(self) -> None:
        reader = SetupReader()
        self.clients = {client: member(client, reader=reader) for client in self.honest}
        self.commitments = {
            client: content_of(self.clients[client].receive(table_request(0, members())))
            for client in self.honest
        }
        self.secret = b"s" * 32
        self.table = self.commitments | {4: commitment_by_hand(4, 0, self.secret)}

    def reveals(self, tables: Mapping[int, Mapping[int, bytes]] | None = None) -> dict[int, bytes]:
        """Returns the honest members' reveals of the tables they are shown, and member 4's.

        Member 4 reveals the true table.
        """
        signed = {}
        for client in self.honest:
            shown = self.table if tables is None else tables[client]
            reply = self.clients[client].receive(table_request(1, shown))
            assert reply is not None
            signed[client] = reply
        return signed | {4: reply_of(4, self.secret + digest_by_hand(self.table))}


# Agreement.


def test_everyone_agrees_on_one_beacon() -> None:
    setup = SetUp()
    agreed = setup.finish()
    assert agreed == setup.server.agreed == replace(TERMS, beacon=agreed.beacon)
    assert all(client.agreed == agreed for client in setup.clients.values())
    assert agreed.digest != TERMS.digest
    assert setup.server.left_out == {}


def test_the_beacon_is_the_hash_by_hand() -> None:
    assert SetUp().finish().beacon == beacon_by_hand(
        {client: secret_of(client, 0) for client in range(5)}
    )


def test_nothing_is_agreed_before_the_last_step() -> None:
    setup = SetUp()
    for _ in range(2):
        assert setup.step() is None
        assert setup.server.agreed is None
        assert all(client.agreed is None for client in setup.clients.values())
    replies = setup.replies()
    assert replies == {}
    assert all(client.agreed for client in setup.clients.values())
    assert setup.server.close_stage() == setup.clients[0].agreed


@pytest.mark.parametrize("changed", range(5))
def test_the_beacon_depends_on_every_members_secret(changed: int) -> None:
    def other(client: int, attempt: int) -> bytes:
        secret = secret_of(client, attempt)
        return secret[:31] + bytes([secret[31] ^ 1]) if client == changed else secret

    assert SetUp(secret=other).finish().beacon != SetUp().finish().beacon


def test_the_beacon_depends_on_session_attempt_and_members() -> None:
    secrets = {client: secret_of(client, 0) for client in range(5)}
    moved = dict(zip((0, 1, 2, 3, 6), secrets.values(), strict=True))
    wide = agreement(7)
    beacons = {
        with_beacon(wide, 0, secrets).beacon,
        with_beacon(replace(wide, session=b"another session!"), 0, secrets).beacon,
        with_beacon(wide, 1, secrets).beacon,
        with_beacon(wide, 256, secrets).beacon,
        with_beacon(wide, 0, moved).beacon,
    }
    assert len(beacons) == 5


def test_the_beacon_does_not_depend_on_the_order_of_arrival() -> None:
    secrets = {client: secret_of(client, 0) for client in range(5)}
    assert with_beacon(TERMS, 0, dict(reversed(secrets.items()))) == with_beacon(TERMS, 0, secrets)


def test_replies_in_any_order_give_the_same_agreement() -> None:
    setup = SetUp()
    for _ in range(2):
        for client, reply in reversed(setup.replies().items()):
            assert setup.server.absorb(client, reply)
        setup.server.close_stage()
    assert setup.finish() == SetUp().finish()
    assert setup.clients[3].agreed == setup.server.agreed


def test_the_two_kinds_of_replies_are_the_contents_by_hand() -> None:
    setup = SetUp()
    committed = {client: content_of(reply) for client, reply in setup.replies().items()}
    assert committed == {
        client: commitment_by_hand(client, 0, secret_of(client, 0)) for client in range(5)
    }
    setup = SetUp()
    setup.step()
    revealed = {client: content_of(reply) for client, reply in setup.replies().items()}
    assert revealed == {
        client: secret_of(client, 0) + digest_by_hand(committed) for client in range(5)
    }


@pytest.mark.parametrize(
    ("client", "attempt", "session"), [(1, 0, SESSION), (0, 1, SESSION), (0, 0, b"\1" * 16)]
)
def test_a_commitment_depends_on_client_attempt_and_session(
    client: int, attempt: int, session: bytes
) -> None:
    terms = agreement(5, session=session)
    mine = content_of(member(0, secret=lambda *_: b"s" * 32).receive(table_request(0, members())))
    request = table_request(0, members(), attempt=attempt, terms=terms)
    assert content_of(member(client, terms, secret=lambda *_: b"s" * 32).receive(request)) != mine


def test_every_message_of_the_server_is_signed_and_the_same_for_all() -> None:
    setup = SetUp()
    for step, expected in enumerate((0, 32, 157)):
        requests = setup.server.requests()
        assert list(requests) == [0, 1, 2, 3, 4]
        assert len(set(requests.values())) == 1
        body = open_signed(requests[0], identity(-1).public, terms=TERMS.digest)
        table = SetupTable.from_bytes(body, most=5)
        assert (table.session, table.round, table.step) == (SESSION, 0, step)
        assert [len(entry) for entry in table.table.values()] == [expected] * 5
        setup.step()


# Members of one process share a reader.


def tables_of(setup: SetUp, reader: SetupReader) -> tuple[OpenedTable, OpenedTable]:
    """Returns the tables of commitments and of reveals."""
    setup.step()
    commitments = reader.opened(setup.server.requests()[0], TERMS)
    setup.step()
    return commitments, reader.opened(setup.server.requests()[0], TERMS)


def test_reveals_that_open_some_commitments_are_refused_with_others() -> None:
    reader = SetupReader()

    def other(client: int, attempt: int) -> bytes:
        return b"o" * 32 if client == 4 else secret_of(client, attempt)

    commitments, reveals = tables_of(SetUp(), reader)
    other_commitments, other_reveals = tables_of(SetUp(secret=other), reader)
    agreed = reader.agreed(reveals, commitments, TERMS)
    assert reader.agreed(reveals, commitments, TERMS) is agreed
    for revealed, committed in ((reveals, other_commitments), (other_reveals, commitments)):
        with pytest.raises(ProtocolError, match="saw other commitments"):
            reader.agreed(revealed, committed, TERMS)
    assert reader.agreed(reveals, commitments, TERMS) is agreed
    with pytest.raises(ProtocolError, match="does not verify"):
        reader.agreed(reveals, commitments, replace(TERMS, rounds=9))
    assert reader.agreed(other_reveals, other_commitments, TERMS).beacon != agreed.beacon


def test_members_of_one_process_are_held_to_their_own_earlier_attempts() -> None:
    reader = SetupReader()

    def naming(*clients: int) -> OpenedTable:
        return reader.opened(table_request(0, members(*clients)), TERMS)

    latest = naming(0, 1, 2)
    wide = naming(0, 1, 2, 3)
    other = naming(0, 1, 2, 4)
    assert reader.is_within(latest, wide, TERMS)
    assert reader.is_within(wide, None, TERMS)
    assert not reader.is_within(wide, other, TERMS)
    assert reader.is_within(wide, None, TERMS)
    assert not reader.is_within(naming(0, 1, 9), None, TERMS)
    assert reader.is_within(wide, wide, TERMS)
    assert not reader.is_within(wide, latest, TERMS)


# Drop-outs.


@pytest.mark.parametrize(("silent_at", "answer"), [(0, "commitment"), (1, "reveal")])
@pytest.mark.parametrize("gone", [{2}, {0, 4}])
def test_who_is_missing_is_left_out_recorded_and_the_others_agree(
    silent_at: int, answer: str, gone: set[int]
) -> None:
    setup = SetUp()
    for _ in range(silent_at):
        setup.step()
    assert setup.step(silent=gone) is None
    assert setup.server.left_out == {client: f"no {answer} in attempt 0" for client in gone}
    assert set(setup.server.requests()) == set(range(5)) - gone
    agreed = setup.finish()
    stayed = [client for client in range(5) if client not in gone]
    assert list(agreed.roster) == stayed
    assert agreed.beacon == beacon_by_hand(
        {client: secret_of(client, 1) for client in stayed}, attempt=1
    )
    assert all(setup.clients[client].agreed == agreed for client in stayed)
    assert all(setup.clients[client].agreed is None for client in gone)
    assert {client: TERMS.roster[client] for client in stayed} == agreed.roster


def test_one_can_go_in_each_attempt_and_each_is_recorded_with_its_own() -> None:
    terms = agreement(6)
    setup = SetUp(terms)
    setup.step(silent=[5])
    setup.step()
    setup.step(silent=[3])
    setup.step(silent=[0])
    agreed = setup.finish()
    assert setup.server.left_out == {
        5: "no commitment in attempt 0",
        3: "no reveal in attempt 1",
        0: "no commitment in attempt 2",
    }
    assert list(agreed.roster) == [1, 2, 4]
    assert agreed.beacon == beacon_by_hand(
        {client: secret_of(client, 3) for client in (1, 2, 4)}, attempt=3
    )


@pytest.mark.parametrize("silent_at", [0, 1])
def test_too_few_left_abandons_the_set_up(silent_at: int) -> None:
    setup = SetUp()
    for _ in range(silent_at):
        setup.step()
    with pytest.raises(RoundAbandoned, match=r"^2 members are left after the set-up's drop-outs"):
        setup.step(silent=[0, 1, 2])
    assert set(setup.server.left_out) == {0, 1, 2}


def test_a_client_that_was_left_out_is_not_heard_again() -> None:
    setup = SetUp()
    setup.step(silent=[2])
    assert not setup.server.absorb(2, reply_of(2, commitment_by_hand(2, 1, b"s" * 32), attempt=1))
    assert 2 not in setup.finish().roster


# What a client refuses.


def test_a_client_left_out_of_the_members_refuses() -> None:
    with pytest.raises(ProtocolError, match="leaves this client out, or too few"):
        member(3).receive(table_request(0, members(0, 1, 2, 4)))


def test_a_client_refuses_fewer_members_than_the_minimum() -> None:
    with pytest.raises(ProtocolError, match="leaves this client out, or too few"):
        member(1).receive(table_request(0, members(0, 1)))
    assert member(1).receive(table_request(0, members(0, 1, 2))) is not None


def test_members_may_not_come_back_nor_be_strangers() -> None:
    client = member(1)
    with pytest.raises(ProtocolError, match="each but the first loses members"):
        client.receive(table_request(0, members(0, 1, 2, 9)))
    assert client.receive(table_request(0, members(0, 1, 2, 3)))
    with pytest.raises(ProtocolError, match="each but the first loses members"):
        client.receive(table_request(0, members(0, 1, 2, 4), attempt=1))
    assert client.receive(table_request(0, members(0, 1, 2), attempt=1))


def test_an_attempt_may_not_go_back_nor_be_repeated() -> None:
    client = member(1)
    assert client.receive(table_request(0, members(0, 1, 2, 3, 4), attempt=3))
    for attempt in (0, 2, 3):
        with pytest.raises(ProtocolError, match="newer than the last"):
            client.receive(table_request(0, members(0, 1, 2), attempt=attempt))
    assert client.receive(table_request(0, members(0, 1, 2), attempt=4))


def test_a_refused_attempt_leaves_the_one_in_hand() -> None:
    corrupt = Corrupt()
    with pytest.raises(ProtocolError, match="each but the first loses members"):
        corrupt.clients[0].receive(table_request(0, members(0, 1, 2, 9), attempt=1))
    assert corrupt.clients[0].receive(table_request(1, corrupt.table)) is not None


def test_steps_out_of_order_are_refused() -> None:
    corrupt, fresh = Corrupt(), member(0)
    with pytest.raises(ProtocolError, match="out of order"):
        fresh.receive(table_request(1, corrupt.table))
    client = corrupt.clients[0]
    reveals = corrupt.reveals()
    with pytest.raises(ProtocolError, match="out of order"):
        fresh.receive(table_request(2, reveals))
    other = corrupt.table | {4: commitment_by_hand(4, 0, b"t" * 32)}
    with pytest.raises(ProtocolError, match="out of order"):
        client.receive(table_request(1, other))
    with pytest.raises(ProtocolError, match="out of order"):
        client.receive(table_request(2, reveals, attempt=1))
    assert client.receive(table_request(2, reveals)) is None
    assert client.agreed is not None
    for step, table in ((1, other), (2, reveals | {4: reveals[3]})):
        with pytest.raises(ProtocolError, match="out of order"):
            client.receive(table_request(step, table))


def test_a_repeated_step_gets_the_same_bytes_and_the_secret_is_shown_with_one_table_only() -> None:
    corrupt = Corrupt()
    client = corrupt.clients[0]
    commitment = client.receive(table_request(0, members()))
    assert commitment is not None
    assert content_of(commitment) == corrupt.commitments[0]
    reveals = corrupt.reveals()
    assert client.receive(table_request(1, corrupt.table)) == reveals[0]
    for _ in range(2):
        assert client.receive(table_request(2, reveals)) is None
    assert client.agreed is not None
    assert client.receive(table_request(0, members())) == commitment


def test_a_reveal_is_not_asked_for_with_another_attempts_commitments() -> None:
    corrupt = Corrupt()
    with pytest.raises(ProtocolError, match="out of order"):
        corrupt.clients[0].receive(table_request(1, corrupt.table, attempt=1))


def test_the_reveal_waits_for_the_commitments_of_all_members() -> None:
    corrupt = Corrupt()
    for table in (
        corrupt.commitments,
        {client: corrupt.table[client] for client in (0, 1, 2)},
        {0: corrupt.table[0]},
    ):
        with pytest.raises(ProtocolError, match="goes on with other members"):
            corrupt.clients[0].receive(table_request(1, table))
    assert corrupt.clients[0].receive(table_request(1, corrupt.table)) is not None


def test_the_last_step_takes_the_reveals_of_all_members() -> None:
    corrupt = Corrupt()
    reveals = corrupt.reveals()
    with pytest.raises(ProtocolError, match="goes on with other members"):
        corrupt.clients[0].receive(
            table_request(2, {client: reveals[client] for client in corrupt.honest})
        )
    assert corrupt.clients[0].agreed is None


def test_a_client_refuses_commitments_without_its_own() -> None:
    corrupt = Corrupt()
    with pytest.raises(ProtocolError, match="do not hold this client's own"):
        corrupt.clients[1].receive(
            table_request(1, corrupt.table | {1: commitment_by_hand(1, 0, b"s" * 32)})
        )


def test_requests_that_are_forged_foreign_or_of_other_terms_are_refused() -> None:
    for forged in (
        table_request(0, members(), by=0),
        table_request(0, members(), terms=replace(TERMS, d=4)),
        b"",
        b"x" * 64,
    ):
        with pytest.raises(ProtocolError, match="does not verify"):
            member(1).receive(forged)
    with pytest.raises(ProtocolError, match="belongs to another session"):
        member(1).receive(table_request(0, members(), session=b"another session!"))


def test_only_hashes_of_secrets_leave_before_all_commitments_were_seen() -> None:
    corrupt = Corrupt()
    secrets = [secret_of(client, 0) for client in corrupt.honest]
    client = member(0)
    reply = client.receive(table_request(0, members()))
    assert reply is not None
    assert len(content_of(reply)) == 32
    assert not any(secret in reply for secret in secrets)
    for table in (
        corrupt.commitments,
        corrupt.table | {0: b"c" * 32},
        corrupt.table | {9: b"c" * 32},
    ):
        with pytest.raises(
            ProtocolError, match=r"other members|this client's own|entries, the most is"
        ):
            client.receive(table_request(1, table))


def test_a_server_that_shows_two_tables_of_commitments_is_found_out_by_everyone() -> None:
    corrupt = Corrupt()
    other = corrupt.table | {4: commitment_by_hand(4, 0, b"t" * 32)}
    reveals = corrupt.reveals({0: corrupt.table, 1: corrupt.table, 2: other, 3: corrupt.table})
    for client in corrupt.honest:
        with pytest.raises(ProtocolError, match=r"client \d saw other commitments"):
            corrupt.clients[client].receive(table_request(2, reveals))
        assert corrupt.clients[client].agreed is None


def test_swapped_reveals_are_refused() -> None:
    corrupt = Corrupt()
    reveals = corrupt.reveals()
    with pytest.raises(ProtocolError, match="does not verify"):
        corrupt.clients[0].receive(table_request(2, reveals | {1: reveals[2], 2: reveals[1]}))
    assert corrupt.clients[0].receive(table_request(2, reveals)) is None


@pytest.mark.parametrize(
    ("signed", "message"),
    [
        (
            lambda digest: reply_of(4, b"t" * 32 + digest),
            "client 4 reveals something else than it committed to",
        ),
        (lambda digest: reply_of(4, b"s" * 32 + digest[::-1]), "client 4 saw other commitments"),
        (
            lambda digest: reply_of(4, b"s" * 32 + digest, attempt=1),
            "another session, attempt or sender",
        ),
        (
            lambda digest: reply_of(4, b"s" * 32 + digest, session=b"\1" * 16),
            "another session, attempt or sender",
        ),
        (
            lambda digest: reply_of(3, b"s" * 32 + digest, by=4),
            "another session, attempt or sender",
        ),
        (lambda digest: reply_of(4, b"s" * 32), "is too short for its table"),
        (lambda digest: reply_of(4, b"s" * 32 + digest, by=3), "does not verify"),
    ],
    ids=["late-chosen", "other commitments", "attempt", "session", "sender", "too short", "forged"],
)
def test_a_reveal_that_does_not_fit_is_refused_by_client_and_server(
    signed: Callable[[bytes], bytes], message: str
) -> None:
    corrupt = Corrupt()
    digest = digest_by_hand(corrupt.table)
    wrong = signed(digest)
    with pytest.raises(ProtocolError, match=message):
        corrupt.clients[0].receive(table_request(2, corrupt.reveals() | {4: wrong}))
    server = SetupServer(identity(-1), TERMS)
    for client, content in corrupt.table.items():
        assert server.absorb(client, reply_of(client, content))
    assert server.close_stage() is None
    assert not server.absorb(4, wrong)
    assert server.absorb(4, reply_of(4, b"s" * 32 + digest))


def test_a_reveal_of_the_earlier_attempt_is_refused() -> None:
    corrupt = Corrupt()
    old = corrupt.reveals()[1]
    remaining = (0, 1, 2)
    table = {
        client: content_of(
            corrupt.clients[client].receive(table_request(0, members(*remaining), attempt=1))
        )
        for client in remaining
    }
    reveals = {}
    for client in remaining:
        reply = corrupt.clients[client].receive(table_request(1, table, attempt=1))
        assert reply is not None
        reveals[client] = reply
    with pytest.raises(ProtocolError, match="another session, attempt or sender"):
        corrupt.clients[0].receive(table_request(2, reveals | {1: old}, attempt=1))
    assert corrupt.clients[0].agreed is None
    assert corrupt.clients[2].receive(table_request(2, reveals, attempt=1)) is None


def test_a_reveal_is_bound_to_session_attempt_and_sender_when_it_is_opened() -> None:
    commitments = {4: commitment_by_hand(4, 0, b"s" * 32)}
    content = b"s" * 32 + digest_by_hand(commitments)
    here = SetupTable(SESSION, 0, 2, {})
    digest = content[32:]
    assert (
        opened_secret(SetupReply(SESSION, 0, 4, content), 4, commitments[4], here, digest=digest)
        == b"s" * 32
    )
    for reply in (
        SetupReply(b"\1" * 16, 0, 4, content),
        SetupReply(SESSION, 1, 4, content),
        SetupReply(SESSION, 0, 3, content),
    ):
        with pytest.raises(
            ProtocolError, match="the reveal of client 4 is of another session, attempt or sender"
        ):
            opened_secret(reply, 4, commitments[4], here, digest=digest)


def test_what_was_agreed_stands_against_a_new_attempt() -> None:
    corrupt = Corrupt()
    corrupt.clients[0].receive(table_request(2, corrupt.reveals()))
    agreed = corrupt.clients[0].agreed
    assert agreed is not None
    with pytest.raises(ProtocolError, match="this session's set-up is over"):
        corrupt.clients[0].receive(table_request(0, members(0, 1, 2), attempt=1))
    assert corrupt.clients[0].agreed is agreed


def test_an_attempt_with_the_same_members_is_refused_or_the_server_could_choose() -> None:
    client = member(1)
    assert client.receive(table_request(0, members()))
    with pytest.raises(ProtocolError, match="each but the first loses members"):
        client.receive(table_request(0, members(), attempt=1))
    assert client.receive(table_request(0, members(0, 1, 2, 3), attempt=1))


def test_a_client_draws_one_fresh_secret_for_each_attempt() -> None:
    drawn: list[int] = []

    def draw(attempt: int) -> bytes:
        drawn.append(attempt)
        return secret_of(0, attempt)

    client = SetupClient(0, identity(0), TERMS, draw=draw, monotonic=MemoryMonotonic())
    assert drawn == []
    first = content_of(client.receive(table_request(0, members())))
    assert content_of(client.receive(table_request(0, members()))) == first
    with pytest.raises(ProtocolError, match="newer than the last"):
        client.receive(table_request(0, members(0, 1, 2, 3)))
    second = content_of(client.receive(table_request(0, members(0, 1, 2, 3), attempt=1)))
    assert drawn == [0, 1]
    assert first == commitment_by_hand(0, 0, secret_of(0, 0))
    assert second == commitment_by_hand(0, 1, secret_of(0, 1))


# What the server drops.


@pytest.mark.parametrize("step", [0, 1])
def test_replies_that_are_forged_foreign_late_or_second_change_nothing(step: int) -> None:
    setup = SetUp()
    for _ in range(step):
        setup.step()
    replies = setup.replies()
    good = content_of(replies[1])
    earlier = setup.terms.session[::-1]
    for sender, wrong in [
        (1, b""),
        (1, replies[1][:-1]),
        (1, replies[1] + b"\0"),
        (1, replies[1][:-1] + bytes([replies[1][-1] ^ 1])),
        (1, replies[0]),
        (0, replies[1]),
        (9, replies[1]),
        (1, reply_of(1, good, by=0)),
        (1, reply_of(2, good, by=1)),
        (1, reply_of(1, good, attempt=1)),
        (1, reply_of(1, good, session=earlier)),
        (1, reply_of(1, good + b"\0")),
        (1, reply_of(1, good[:-1])),
        (1, reply_of(1, good + good)),
    ]:
        assert setup.server.absorb(sender, wrong) is False
    for client, reply in replies.items():
        assert setup.server.absorb(client, reply) is True
        assert setup.server.absorb(client, reply) is False
    second = reply_of(
        1, commitment_by_hand(1, 0, b"t" * 32) if step == 0 else b"t" * 32 + good[32:]
    )
    assert setup.server.absorb(1, second) is False
    assert setup.server.close_stage() is None
    assert setup.server.left_out == {}
    assert setup.finish() == SetUp().finish()


def test_the_last_step_takes_no_replies() -> None:
    setup = SetUp()
    setup.step()
    replies = setup.replies()
    for client, reply in replies.items():
        assert setup.server.absorb(client, reply)
    setup.server.close_stage()
    assert not any(setup.server.absorb(client, reply) for client, reply in replies.items())
    assert setup.finish() == SetUp().finish()


def test_a_commitment_of_the_attempt_before_is_dropped() -> None:
    setup = SetUp()
    old = setup.replies()
    setup.server.absorb(0, old[0])
    setup.server.absorb(1, old[1])
    setup.server.absorb(2, old[2])
    assert setup.server.close_stage() is None
    assert not any(setup.server.absorb(client, reply) for client, reply in old.items())
    assert list(setup.finish().roster) == [0, 1, 2]


def test_a_reveal_is_passed_on_as_it_was_signed_even_if_its_buffer_is_used_again() -> None:
    setup = SetUp()
    setup.step()
    for client, reply in setup.replies().items():
        buffer = bytearray(reply)
        assert setup.server.absorb(client, buffer)
        buffer[:] = bytes(len(buffer))
    setup.server.close_stage()
    assert setup.finish().beacon == SetUp().finish().beacon


# The whole set-up in one process.


def test_held_in_one_process_the_set_up_gives_what_it_gives_by_hand() -> None:
    clients = {client: member(client) for client in range(5)}
    agreed = hold(SetupServer(identity(-1), TERMS), clients)
    assert agreed == SetUp().finish()
    assert all(client.agreed == agreed for client in clients.values())


def impostor(client: int) -> SetupClient:
    """A member that signs with a key that is not its own."""
    return SetupClient(
        client, identity(77), TERMS, draw=lambda attempt: b"s" * 32, monotonic=MemoryMonotonic()
    )


def test_holding_ends_without_those_whose_replies_do_not_verify() -> None:
    server = SetupServer(identity(-1), TERMS)
    clients = {client: member(client) for client in range(5)}
    clients[2] = impostor(2)
    assert list(hold(server, clients).roster) == [0, 1, 3, 4]
    assert server.left_out == {2: "no commitment in attempt 0"}


def test_holding_ends_when_too_few_replies_verify() -> None:
    clients = {client: member(client) for client in range(2)}
    clients |= {client: impostor(client) for client in (2, 3, 4)}
    with pytest.raises(RoundAbandoned, match="2 members are left"):
        hold(SetupServer(identity(-1), TERMS), clients)


def test_a_member_that_was_told_of_other_terms_is_left_out() -> None:
    clients = {client: member(client) for client in range(5)}
    clients[3] = member(3, replace(TERMS, corrupt=2, min_cohort=4, cohort=4))
    server = SetupServer(identity(-1), TERMS)
    agreed = hold(server, clients)  # it refuses what it is told, and is missing
    assert set(agreed.roster) == {0, 1, 2, 4}
    assert set(server.left_out) == {3}
