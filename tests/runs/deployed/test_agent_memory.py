"""What an agent remembers: numbers before it acts, replies before they leave, across restarts."""

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from securefl import vector
from securefl.channels.messages import ModelMessage, UpdateRequest
from securefl.channels.monotonic import FileMonotonic
from securefl.errors import LedgerError, RunFolderError
from securefl.federation.policy import Policy, RoundRules
from securefl.privacy.chain import GENESIS
from securefl.privacy.ledger import Ledger
from securefl.runs.deployed.agent import Agent
from securefl.runs.deployed.audit_log import Event, Line, verified
from securefl.runs.deployed.envelope import Direction, Kind, Part, opened
from securefl.runs.deployed.receipts import Receipt
from tests.runs.deployed.parties import DP, Deployment, agent_of, deployment, free_policy
from tests.runs.deployed.test_agent import replies_of, sealed


class Killed(BaseException):
    """Ends an agent as kill -9 does, at a chosen place."""


def training(parties: Deployment, *, round: int = 0, number: int = 1, header: int = -1) -> bytes:
    """Returns an envelope that asks site 0 to train; `header` is the round that its parts name."""
    public = parties.parts[0].public
    weights = vector.to_vector(public.model)
    name = vector.model_hash(vector.layout(public.model), weights)
    model = ModelMessage(public.session, round, name, weights).to_bytes()
    request = UpdateRequest(public.session, round, name).to_bytes()
    shown = round if header == -1 else header
    parts = (Part(Kind.MODEL, shown, model), Part(Kind.REQUEST, shown, request))
    return sealed(parties, *parts, number=number)


def restarted(parties: Deployment, folder: Path, policy: Policy | None = None) -> Agent:
    """Returns the agent of site 0 as a new process would find it."""
    home = folder / "site-0"
    path = home / "answered.json"
    monotonic = FileMonotonic(path)
    parts = parties.parts[0]
    assert parts.ledger is not None
    parts = replace(parts, ledger=Ledger(folder / "0.jsonl", parts.ledger.terms))
    return agent_of(parties.charter, 0, parties.keys[0], parts, home, policy, monotonic)


def first(parties: Deployment, folder: Path, policy: Policy | None = None) -> Agent:
    """Returns the agent of site 0, with its numbers on disk."""
    (folder / "site-0").mkdir(parents=True, exist_ok=True)
    FileMonotonic.create(folder / "site-0/answered.json")
    return restarted(parties, folder, policy)


def log_of(folder: Path) -> list[Line]:
    return verified(folder / "site-0/audit.jsonl")


def kinds(parties: Deployment, reply: bytes | None) -> list[Kind]:
    assert reply is not None
    return [part.kind for part in replies_of(parties, reply)]


def receipt_in(parties: Deployment, reply: bytes | None) -> bytes:
    assert reply is not None
    envelope = opened(
        reply,
        parties.charter.keys[0],
        charter=parties.charter.digest,
        direction=Direction.TO_COORDINATOR,
        site=0,
        limit=100_000,
    )
    return bytes(envelope.parts[-1].content)


def reserved(folder: Path) -> int:
    return (folder / "0.jsonl").read_text().count('"reserve"')


def test_an_agent_that_is_killed_anywhere_pays_once_and_says_one_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed at each call of fsync in turn; the same envelope then comes again."""
    parties = deployment(DP, tmp_path)
    told = []
    for place in range(30):
        folder = tmp_path / f"killed-{place}"
        agent = first(parties, folder)
        data = training(parties)
        calls = 0
        sync = os.fsync

        def kill(descriptor: int, place: int = place, sync: Callable[[int], None] = sync) -> None:
            nonlocal calls
            calls += 1
            if calls > place:
                raise Killed
            sync(descriptor)

        reply = None
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", kill)
            with suppress(Killed):
                reply = agent.answer(data)
        again = restarted(parties, folder).answer(data)
        assert (folder / "0.jsonl").exists() is False or reserved(folder) <= 1
        if again is not None:
            assert kinds(parties, again) in ([Kind.ANSWER], [Kind.DECLINED])
            assert [line for line in log_of(folder) if line.event is Event.SENT]
        if reply is not None:
            assert again == reply
            break
        told.append(None if again is None else kinds(parties, again)[0])
    else:
        pytest.fail("the agent never answered")
    # Before its number is kept it begins anew, then it is silent, and at last repeats itself.
    changes = [kind for at, kind in enumerate(told) if at == 0 or told[at - 1] != kind]
    assert changes == [Kind.ANSWER, None, Kind.ANSWER], told


def test_a_number_is_on_disk_before_the_agent_acts(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    path = tmp_path / "site-0/answered.json"
    before = path.read_bytes()
    seen: list[bool] = []

    def fit(weights: object, *, round: int) -> object:
        seen.append(path.read_bytes() != before)
        seen.append(log_of(tmp_path)[-1].event is Event.TRAINING)
        seen.append(reserved(tmp_path) == 1)
        raise ValueError("a record says 17")

    object.__setattr__(parties.parts[0].trainer, "fit", fit)
    reply = agent.answer(training(parties))
    assert seen == [True, True, True]
    assert kinds(parties, reply) == [Kind.DECLINED]
    refusal = next(line for line in log_of(tmp_path) if line.event is Event.REFUSED)
    assert refusal.reason == "ValueError"  # its sentence may quote a record


def test_what_leaves_is_in_the_log_with_size_and_digest(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    reply = agent.answer(training(parties, round=1, number=7))
    assert reply is not None
    line = log_of(tmp_path)[-1]
    assert (line.event, line.kind, line.number, line.round) == (Event.SENT, "answer", 7, 1)
    assert line.size == len(reply)
    assert agent._journal.log.has_sent(reply)


def test_an_agent_that_cannot_write_says_nothing_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert agent.answer(training(parties)) is None
    assert (agent.answered, agent.dropped) == (0, 1)
    assert kinds(parties, agent.answer(training(parties, number=2))) == [Kind.ANSWER]
    assert reserved(tmp_path) == 1
    verified(tmp_path / "site-0/audit.jsonl")


def test_an_audit_line_that_cannot_be_written_keeps_the_reply_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    data = training(parties)
    note = agent._journal.log.note

    def full(event: Event, **facts: Any) -> None:
        if event is Event.SENT:
            raise OSError(28, "No space left on device")
        note(event, **facts)

    monkeypatch.setattr(agent._journal.log, "note", full)
    assert agent.answer(data) is None
    assert agent.answer(data) is None
    # The reply was ready: an agent with space on its disk gives it, and notes it first.
    again = restarted(parties, tmp_path)
    reply = again.answer(data)
    assert kinds(parties, reply) == [Kind.ANSWER]
    assert log_of(tmp_path)[-1].kind == "kept reply"
    assert again.answer(data) == reply == restarted(parties, tmp_path).answer(data)
    assert sum(line.event is Event.SENT for line in log_of(tmp_path)) == 1


@pytest.mark.parametrize(
    "error", [LedgerError("edited"), OSError(5, "Input/output error"), MemoryError(), KeyError("x")]
)
def test_whatever_breaks_is_the_one_refusal(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)

    def broken(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Ledger, "reserve", broken)
    assert kinds(parties, agent.answer(training(parties))) == [Kind.DECLINED]
    assert any(line.event is Event.REFUSED for line in log_of(tmp_path))
    monkeypatch.undo()
    assert kinds(parties, agent.answer(training(parties, round=1, number=2))) == [Kind.ANSWER]


def test_equal_envelopes_at_once_are_answered_by_one_training(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    fit = parties.parts[0].trainer.fit
    begun, go_on = threading.Event(), threading.Event()
    trained: list[int] = []

    def slowly(weights: Any, *, round: int) -> Any:
        trained.append(round)
        begun.set()
        assert go_on.wait(10)
        return fit(weights, round=round)

    object.__setattr__(parties.parts[0].trainer, "fit", slowly)
    data = training(parties)
    replies: list[bytes | None] = []
    threads = [
        threading.Thread(target=lambda: replies.append(agent.answer(data))) for _ in range(3)
    ]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    # Garbage is dropped meanwhile, and does not wait.
    assert agent.answer(b"garbage" * 100) is None
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(replies) == 3
    assert replies[0] is not None
    assert replies[0] == replies[1] == replies[2]
    assert trained == [0]
    assert (agent.answered, agent.dropped) == (1, 1)


def test_a_copy_of_an_agent_that_went_further_silences_this_one(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    one = first(parties, tmp_path)
    two = restarted(parties, tmp_path)
    assert kinds(parties, one.answer(training(parties, number=5))) == [Kind.ANSWER]
    assert two.answer(training(parties, round=1, number=4)) is None
    assert two.answer(training(parties, round=1, number=5)) is None


def test_a_returned_receipt_that_fits_changes_nothing(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    receipt = receipt_in(parties, agent.answer(training(parties)))
    returned = Part(Kind.RETURNED_RECEIPT, content=receipt)
    for number in (2, 3):  # an old one, too
        reply = agent.answer(sealed(parties, returned, Part(Kind.CONFIRM, 0), number=number))
        assert kinds(parties, reply) == [Kind.DONE]
    assert agent.stale is None


@pytest.mark.parametrize("name", ["audit.jsonl", "answered.json", "ledger"])
def test_a_site_from_a_backup_refuses_to_train_and_names_the_file(
    name: str, tmp_path: Path
) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    agent.answer(training(parties))
    path = tmp_path / ("0.jsonl" if name == "ledger" else f"site-0/{name}")
    old = path.read_bytes()
    receipt = receipt_in(parties, agent.answer(training(parties, round=1, number=2)))
    path.write_bytes(old)
    again = restarted(parties, tmp_path)
    fresh = training(parties, round=2, number=3)
    content = opened(
        fresh,
        parties.charter.server_key,
        charter=parties.charter.digest,
        direction=Direction.TO_SITE,
        site=0,
        limit=100_000,
    ).parts
    returned = Part(Kind.RETURNED_RECEIPT, content=receipt)
    # Behind the request: the order of parts decides nothing.
    reply = again.answer(sealed(parties, *content, returned, number=3))
    assert kinds(parties, reply) == [Kind.DECLINED]
    assert isinstance(again.stale, RunFolderError)
    assert f"site-0/{name} is older than a receipt" in str(again.stale)
    assert again.finished
    assert not any(line.round == 2 and line.event is Event.TRAINING for line in log_of(tmp_path))


def test_a_forged_receipt_stops_its_envelope_and_not_the_site(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    lie = Receipt(parties.charter.digest, 0, 99, "00" * 32, "00" * 32)
    for key in (parties.server, parties.keys[1]):
        returned = Part(Kind.RETURNED_RECEIPT, content=lie.signed(key))
        number = agent._journal.last_number() + 2
        reply = agent.answer(sealed(parties, returned, Part(Kind.CONFIRM, 0), number=number))
        assert kinds(parties, reply) == [Kind.DECLINED]
    assert agent.stale is None
    assert kinds(parties, agent.answer(training(parties, number=9))) == [Kind.ANSWER]


def test_receipts_say_nothing_that_can_be_guessed(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    receipt = receipt_in(parties, agent.answer(training(parties)))
    ledger = agent._journal._ledger
    assert ledger is not None
    heads = (*ledger.heads, *agent._journal.log.heads)
    assert len(heads) >= 4
    assert not any(bytes.fromhex(head) in receipt for head in heads)


def test_receipts_do_not_show_whether_the_ledger_grew_in_between(tmp_path: Path) -> None:
    # Another federation on the same data set may have trained meanwhile.
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    data = [
        receipt_in(parties, agent.answer(sealed(parties, Part(Kind.CONFIRM, 1), number=number)))
        for number in (1, 2)
    ]
    public = parties.charter.keys[0]
    receipts = [Receipt.opened(bytes(one), public, site=0) for one in data]
    assert receipts[0].ledger != receipts[1].ledger
    other = agent._journal._blind.tag(b"d" * 32, 1, GENESIS)
    assert receipts[0].ledger != other
    for one in data:
        agent._journal.require_current(bytes(one))


@pytest.mark.parametrize(
    ("policy", "rounds", "allowed"),
    [
        (RoundRules(a_day=1), (0, 1), 1),  # one a day
        (RoundRules(), (0, 1, 2), 2),  # the charter has two rounds
        (RoundRules(), (0, 0), 1),  # none is trained twice
        (RoundRules(), (4,), 0),  # beyond its numbers
        (RoundRules(), (3, 1), 2),
    ],
)
def test_trainings_are_bounded_also_after_a_restart(
    policy: RoundRules, rounds: tuple[int, ...], allowed: int, tmp_path: Path
) -> None:
    parties = deployment(DP, tmp_path)
    rules = free_policy(parties.charter).model_copy(update={"rounds": policy})
    agent = first(parties, tmp_path, rules)
    said = []
    for number, round in enumerate(rounds, start=1):
        # Whatever round the parts claim to be of, the one that is trained counts.
        said += kinds(parties, agent.answer(training(parties, round=round, number=number)))
        agent = restarted(parties, tmp_path, rules)
    assert said.count(Kind.ANSWER) == allowed
    assert said.count(Kind.DECLINED) == len(rounds) - allowed
    trained = [line for line in log_of(tmp_path) if line.event is Event.TRAINING]
    assert len(trained) == allowed


def test_the_round_that_is_trained_counts_and_not_the_one_on_the_part(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    assert kinds(parties, agent.answer(training(parties, round=1, header=0))) == [Kind.ANSWER]
    reply = agent.answer(training(parties, round=1, header=2, number=2))
    assert kinds(parties, reply) == [Kind.DECLINED]
    (line,) = [line for line in log_of(tmp_path) if line.event is Event.TRAINING]
    assert line.round == 1


def test_outside_the_charters_validity_nothing_is_answered_with_more_than_a_refusal(
    tmp_path: Path,
) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    ready = agent.answer(training(parties))
    late = restarted(parties, tmp_path)
    late._rules._clock = lambda: 4e9
    assert late.answer(training(parties)) is None  # not even the reply that was ready
    reply = late.answer(training(parties, round=1, number=2))
    assert kinds(parties, reply) == [Kind.DECLINED]
    reasons = [line.reason or "" for line in log_of(tmp_path)]
    assert "this machine's clock says 2096" in reasons[-2]
    assert kinds(parties, ready) == [Kind.ANSWER]


def test_an_envelope_that_asks_for_too_many_answers_is_refused(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    agent = first(parties, tmp_path)
    many = [Part(Kind.REQUEST, round, b"x") for round in range(8)]
    assert kinds(parties, agent.answer(sealed(parties, *many))) == 7 * [Kind.DECLINED]
    assert "has 8 parts to answer" in json.dumps([line.reason for line in log_of(tmp_path)])
    nothing = agent.answer(sealed(parties, number=2))
    assert kinds(parties, nothing) == [Kind.DONE]


def test_the_end_of_a_run_is_the_end_also_if_it_is_repeated_after_a_restart(
    tmp_path: Path,
) -> None:
    parties = deployment(DP, tmp_path)
    finish = sealed(parties, Part(Kind.FINISH))
    reply = first(parties, tmp_path).answer(finish)
    again = restarted(parties, tmp_path)
    assert again.answer(finish) == reply
    assert again.finished
