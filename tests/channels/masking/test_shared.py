"""Members of one process share verified bytes: how much it spares, and that it weakens nothing."""

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.build import masked_sides
from securefl.channels.masking.reading import OpenedTable, RoundReader, SetupReader
from securefl.channels.masking.replies import Advertisement, Consent
from securefl.channels.masking.requests import Invitation, KeyTable, UnmaskRequest
from securefl.channels.masking.setup_messages import SetupTable
from securefl.channels.masking.shared import Kept
from securefl.channels.masking.wire import SEALED_BYTES
from securefl.channels.protocol import ClientUpdate, Plan
from securefl.errors import ProtocolError
from securefl.rng import seeded_keystream
from tests.channels.contract import HASH as CONTRACT_HASH
from tests.channels.contract import Sides, Stages
from tests.channels.masking.parties import SESSION, Session, agreement, identity, make_client
from tests.channels.masking.puppeteer import SERVER_KEY, signed

BLOCK = b"b" * 32
STATEMENT = b"s" * 32
TERMS = agreement(5)


def counted(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, counts: Counter[str]
) -> None:
    """Counts the calls of a function."""
    function = getattr(owner, name)

    def counting(*arguments: object, **options: object) -> object:
        counts[name] += 1
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, counting)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts signatures that are verified, under "from_public_bytes"."""
    counts = Counter[str]()
    counted(monkeypatch, Ed25519PublicKey, "from_public_bytes", counts)
    return counts


def sides(clients: int | tuple[int, ...], *, missing: frozenset[int] = frozenset()) -> Sides:
    ids = tuple(range(clients)) if isinstance(clients, int) else clients
    plan = Plan(
        session=SESSION,
        d=3,
        clients=ids,
        cohort=len(ids),
        rounds=2,
        min_cohort=3,
        weights=dict.fromkeys(ids, 1),
        max_weight=1,
        stream_for=lambda purpose, client, round: seeded_keystream(0, purpose, client, round),
        missing=missing,
    )
    built = masked_sides(plan, ring=32, clip=4.0, rounding="nearest", corrupt=1)
    return Sides(built.server, built.clients)


# How much is spared.


@pytest.mark.parametrize("clients", [6, 12, 24])
def test_a_set_up_in_one_process_verifies_three_signatures_a_member(
    verified: Counter[str], clients: int
) -> None:
    sides(clients)
    # The server: a commitment and a reveal of each. The members together: every reveal once more,
    # and the server's three requests.
    assert verified.total() == 3 * clients + 3


@pytest.mark.parametrize("clients", [6, 12, 24])
def test_a_set_up_with_drop_outs_verifies_a_constant_number_a_member(
    verified: Counter[str], clients: int
) -> None:
    sides(clients, missing=frozenset({0, 3}))
    # Attempt 0 ends with the commitments; attempt 1 is a whole set-up of the others.
    remaining = clients - 2
    assert verified.total() == (remaining + 1) + (3 * remaining + 3)


@pytest.mark.parametrize("clients", [6, 24])
def test_a_set_up_in_one_process_reads_each_table_once(
    monkeypatch: pytest.MonkeyPatch, clients: int
) -> None:
    counts = Counter[str]()
    counted(monkeypatch, SetupTable, "from_bytes", counts)
    counted(monkeypatch, Agreement, "__post_init__", counts)
    digests = Counter[str]()
    counted(monkeypatch, OpenedTable.members, "func", digests)
    sides(clients)
    assert counts["from_bytes"] == 3
    # The terms, the members' agreement and the server's.
    assert counts["__post_init__"] == 3
    assert digests.total() <= 3


class Compared(int):
    """A client's id that counts its comparisons with others, also those within a tuple."""

    __hash__ = int.__hash__
    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        Compared.count += 1
        return int.__ne__(self, other)


def comparisons_in_a_set_up(clients: int) -> int:
    ids = tuple(map(Compared, range(300, 300 + clients)))
    Compared.count = 0
    sides(ids, missing=frozenset(ids[::4]))
    return Compared.count


def test_a_set_up_looks_for_no_client_in_a_list() -> None:
    few, more, most = (comparisons_in_a_set_up(clients) for clients in (12, 24, 48))
    assert most - more <= 2 * (more - few)
    assert 1 in (Compared(2), Compared(1))
    assert Compared.count > most  # a scan counts


@pytest.mark.parametrize("clients", [5, 10, 20])
def test_a_round_in_one_process_verifies_ten_signatures_a_client(
    verified: Counter[str], clients: int
) -> None:
    built = sides(clients)
    ids = tuple(built.clients)
    updates = {client: ClientUpdate(torch.zeros(3), 1, None, CONTRACT_HASH) for client in ids}
    verified.clear()
    stages = Stages(built, 0, ids, updates)
    while stages.view is None:
        stages.deliver(stages.answers())
        stages.close()
    # The server: four signed replies of each. The clients: four requests of their own each, and
    # together the invitation, every advertisement and every consent.
    assert verified.total() == 10 * clients + 1


def test_clients_of_several_blocks_that_take_turns_share_the_keys_of_each(
    verified: Counter[str],
) -> None:
    built = sides(140)
    stages = Stages(built, 0, tuple(built.clients))
    stages.deliver(stages.answers())
    stages.close()
    verified.clear()
    for client, request in built.server.requests().items():
        assert built.clients[client].receive(request)
    assert verified.total() == 2 * 140  # a request of its own, and every advertisement


def test_the_blocks_of_a_cohort_are_dealt_once_for_all_its_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = Counter[str]()
    counted(monkeypatch, Agreement, "blocks", counts)
    counted(monkeypatch, Invitation, "from_bytes", counts)
    session = Session(agreement(140, cohort=140, beacon=b"b" * 32)).begin(0)
    assert counts["blocks"] == 1
    for client, request in session.server.requests().items():
        assert session.clients[client].receive(request)
    assert counts == {"blocks": 2, "from_bytes": 1}


def test_a_member_alone_verifies_every_signature_itself(verified: Counter[str]) -> None:
    alone = {client: make_client(client, TERMS) for client in TERMS.roster}
    session = Session(TERMS)
    session.clients = alone
    verified.clear()
    session.play(0)
    # Server as above; each client: five requests, five advertisements, five consents.
    assert verified.total() == 4 * 5 + 15 * 5


def test_requests_of_a_stage_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(agreement(20)).begin(0).until(2)
    counts = Counter[str]()
    counted(monkeypatch, KeyTable, "to_bytes", counts)
    requests = session.server.requests()
    assert list(requests) == list(range(20))
    assert len(requests) == 20
    assert not counts
    assert requests[7] != requests[8]
    assert counts.total() == 2


def boxes_held_by(root: object) -> int:
    """Sealed boxes that an object leads to."""
    visited: set[int] = set()
    waiting = [root]
    boxes = 0
    while waiting:
        reached = waiting.pop()
        if id(reached) in visited or isinstance(reached, type | ModuleType):
            continue
        visited.add(id(reached))
        boxes += isinstance(reached, bytes) and len(reached) == SEALED_BYTES
        waiting.extend(gc.get_referents(reached))
    return boxes


def test_the_server_forgets_the_boxes_that_it_has_delivered() -> None:
    session = Session(agreement(6)).begin(0).until(3)
    assert boxes_held_by(session.server) == 6 * 5
    session.stage()
    assert boxes_held_by(session.server) == 0


# Nothing is weakened.


def advertisements(round: int = 0, block: bytes = BLOCK) -> dict[int, bytes]:
    """Signed advertisements of all clients, whose keys are their ids."""
    return {
        client: signed(
            Advertisement(
                SESSION,
                round,
                client,
                bytes([client, 1]) * 16,
                bytes([client, 2]) * 16,
                b"c" * 32,
                block,
                b"p" * 16,
            ),
            TERMS,
            identity(client),
        )
        for client in TERMS.roster
    }


def consents(statement: bytes = STATEMENT) -> dict[int, bytes]:
    return {
        client: signed(Consent(SESSION, 0, client, statement), TERMS, identity(client))
        for client in TERMS.roster
    }


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def read_keys(
    table: KeyTable | None = None,
    *,
    block: bytes = BLOCK,
    terms: Agreement = TERMS,
) -> Callable[[RoundReader], object]:
    shown = table or KeyTable(SESSION, 0, 0, advertisements())
    return lambda reader: reader.keys(shown, block=block, terms=terms)


@pytest.mark.parametrize(
    ("read", "refused"),
    [
        (read_keys(KeyTable(SESSION, 1, 0, advertisements())), "of another session, round"),
        (read_keys(KeyTable(b"t" * 16, 0, 0, advertisements())), "of another session, round"),
        (read_keys(block=b"d" * 32), "invited into another block"),
        (read_keys(terms=replace(TERMS, rounds=9)), "does not verify"),
        (
            read_keys(
                KeyTable(SESSION, 0, 0, advertisements() | {4: flipped(advertisements()[4])})
            ),
            "does not verify",
        ),
        (
            read_keys(KeyTable(SESSION, 0, 0, advertisements() | {4: advertisements()[3]})),
            "does not verify",
        ),
    ],
)
def test_keys_that_verified_for_one_member_are_refused_to_another_in_any_other_place(
    read: Callable[[RoundReader], object], refused: str
) -> None:
    reader = RoundReader(blocks=4)
    honest = read_keys()
    assert honest(reader) is honest(reader)
    for _ in range(2):  # nor is a refusal forgotten
        with pytest.raises(ProtocolError, match=refused):
            read(reader)
    honest(reader)


def test_consents_that_verified_for_one_statement_are_refused_for_another() -> None:
    reader = RoundReader(blocks=4)
    request = UnmaskRequest(SESSION, 0, 0, consents())
    reader.check_consents(request, STATEMENT, TERMS)
    for other in (
        replace(request, round=1),
        replace(request, session=b"t" * 16),
        replace(request, consents=consents() | {2: consents(b"t" * 32)[2]}),
    ):
        with pytest.raises(ProtocolError, match="agreed to other keys"):
            reader.check_consents(other, STATEMENT, TERMS)
    with pytest.raises(ProtocolError, match="agreed to other keys"):
        reader.check_consents(request, b"t" * 32, TERMS)
    with pytest.raises(ProtocolError, match="does not verify"):
        reader.check_consents(request, STATEMENT, replace(TERMS, rounds=9))
    with pytest.raises(ProtocolError, match="does not verify"):
        reader.check_consents(
            replace(request, consents=consents() | {2: flipped(consents()[2])}), STATEMENT, TERMS
        )


@pytest.mark.parametrize("reader", [RoundReader(), SetupReader()], ids=["round", "set-up"])
def test_a_request_that_verified_is_refused_with_another_byte_or_under_other_terms(
    reader: RoundReader | SetupReader,
) -> None:
    message: Invitation | SetupTable = Invitation(SESSION, 0, SERVER_KEY, (0, 1, 2))
    if isinstance(reader, SetupReader):
        message = SetupTable(SESSION, 0, 0, dict.fromkeys(TERMS.roster, b""))
    request = signed(message, TERMS)
    assert reader.opened(request, TERMS).message == message
    for place in (0, 30, len(request) - 1):
        other = bytearray(request)
        other[place] ^= 1
        with pytest.raises(ProtocolError, match="does not verify"):
            reader.opened(bytes(other), TERMS)
    with pytest.raises(ProtocolError, match="does not verify"):
        reader.opened(request, replace(TERMS, rounds=9))
    # An equal request in other memory counts as the same.
    assert reader.opened(bytes(bytearray(request)), TERMS) is reader.opened(request, TERMS)


def test_a_cohort_is_dealt_for_each_cohort_and_terms() -> None:
    terms = agreement(5)
    assert terms.block_of(1, (0, 1, 2)) == (0, 1, 2)
    assert terms.block_of(1, (1, 2, 3)) == (1, 2, 3)
    assert terms.block_of(0, (1, 2, 3)) == ()
    assert terms.lists((0, 1, 2))
    assert not terms.lists((0, 1, 9))
    assert terms.lists((0, 1, 2))
    assert not replace(terms, roster={c: terms.roster[c] for c in (2, 3, 4)}).lists((0, 1, 2))


def test_only_so_many_results_are_kept_the_latest_ones() -> None:
    kept = Kept[int](most=2)
    computed = []

    def result(key: int) -> int:
        def compute() -> int:
            computed.append(key)
            return 10 * key

        return kept.get(key, compute)

    assert [result(key) for key in (1, 2, 1, 3, 1, 2)] == [10, 20, 10, 30, 10, 20]
    assert computed == [1, 2, 3, 2]


def test_a_computation_that_raised_is_done_again() -> None:
    kept = Kept[int]()

    def fail() -> int:
        raise ProtocolError("no")

    with pytest.raises(ProtocolError, match="no"):
        kept.get(1, fail)
    assert kept.get(1, lambda: 5) == 5
    with pytest.raises(ProtocolError, match="no"):
        kept.get(2, fail)
    assert kept.get(1, fail) == 5
