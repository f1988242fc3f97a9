"""An agent answers what its coordinator sealed for it, once; it pays before it trains."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl import vector
from securefl.channels.messages import ModelMessage, UpdateRequest
from securefl.errors import ClientFailure
from securefl.runs.deployed.agent import Agent
from securefl.runs.deployed.envelope import MAX_PARTS, Direction, Envelope, Kind, Part, opened
from tests.runs.deployed.parties import DP, MASKED, SGD, Deployment, deployment


def sealed(
    parties: Deployment, *parts: Part, number: int = 1, site: int = 0, key: object = None
) -> bytes:
    envelope = Envelope(parties.charter.digest, Direction.TO_SITE, site, number, parts)
    return envelope.sealed(key if isinstance(key, Ed25519PrivateKey) else parties.server)


def replies_of(parties: Deployment, data: bytes) -> tuple[Part, ...]:
    """Returns the parts that site 0 replied, without its receipt."""
    envelope = opened(
        data,
        parties.charter.keys[0],
        charter=parties.charter.digest,
        direction=Direction.TO_COORDINATOR,
        site=0,
        limit=100_000,
    )
    assert envelope.parts[-1].kind is Kind.RECEIPT
    return envelope.parts[:-1]


def asked(agent: Agent, data: bytes) -> bytes:
    reply = agent.answer(data)
    assert reply is not None
    return reply


def test_the_same_bytes_get_the_same_reply_and_older_ones_none(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    agent = parties.link.agents[0]
    first, second = (sealed(parties, Part(Kind.CONFIRM, 0), number=number) for number in (4, 5))
    reply = asked(agent, first)
    assert agent.answer(first) == reply
    assert asked(agent, second) != reply
    assert agent.answer(first) is None
    assert (agent.answered, agent.dropped) == (2, 1)


def test_a_number_that_was_used_is_refused_under_other_content(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    agent = parties.link.agents[0]
    asked(agent, sealed(parties, Part(Kind.CONFIRM, 0)))
    assert agent.answer(sealed(parties, Part(Kind.CONFIRM, 1))) is None


def test_what_is_forged_foreign_or_not_an_envelope_gets_no_reply(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    agent = parties.link.agents[0]
    finish = Part(Kind.FINISH)
    elsewhere = replace(parties, charter=parties.charter.model_copy(update={"deadline": 9.0}))
    bad = [
        b"",
        b"garbage" * 100,
        sealed(parties, finish)[:-1],
        sealed(parties, finish, site=1),
        sealed(parties, finish, key=parties.keys[1]),
        sealed(elsewhere, finish),
        sealed(parties, Part(Kind.REQUEST, 0, bytes(10_000_000))),
        parties.link.agents[1].answer(sealed(parties, finish, site=1)) or b"",
    ]
    assert [agent.answer(data) for data in bad] == [None] * len(bad)
    assert (agent.answered, agent.dropped, agent.finished) == (0, len(bad), False)


def test_a_refused_part_gets_one_fixed_reply_without_a_reason(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    agent = parties.link.agents[0]
    early = asked(agent, sealed(parties, Part(Kind.REQUEST, 0, b"nonsense"), number=1))
    nonsense = asked(agent, sealed(parties, Part(Kind.SET_UP, 0, b"nonsense"), number=2))
    assert replies_of(parties, early) == replies_of(parties, nonsense) == (Part(Kind.DECLINED),)


def test_each_request_is_answered_by_itself_and_one_refusal_does_not_end_the_others(
    tmp_path: Path,
) -> None:
    parties = deployment(SGD, tmp_path)
    model, request = wanted(parties, 3)
    parts = (
        Part(Kind.REQUEST, 2, b"nonsense"),
        Part(Kind.CONFIRM, 2),
        model,
        request,
        Part(Kind.MODEL, 3, b"nonsense", lane=1),
        replace(request, lane=1),
    )
    replies = replies_of(parties, asked(parties.link.agents[0], sealed(parties, *parts)))
    assert [(part.kind, part.round, part.lane) for part in replies] == [
        (Kind.DECLINED, 2, 0),
        (Kind.ANSWER, 3, 0),
        (Kind.DECLINED, 3, 1),  # once: the request of a refused lane is not looked at
    ]


def wanted(parties: Deployment, round: int) -> tuple[Part, Part]:
    """Returns a model and the plain request to train on it."""
    public = parties.parts[0].public
    weights = vector.to_vector(public.model)
    name = vector.model_hash(vector.layout(public.model), weights)
    message = ModelMessage(public.session, round, name, weights).to_bytes()
    request = UpdateRequest(public.session, round, name).to_bytes()
    return Part(Kind.MODEL, round, message), Part(Kind.REQUEST, round, request)


@pytest.mark.parametrize("count", [7, 8])
def test_an_envelope_with_many_refused_parts_is_answered(count: int, tmp_path: Path) -> None:
    """A coordinator could end the agent if the refusals did not fit into a reply."""
    parties = deployment(SGD, tmp_path)
    agent = parties.link.agents[0]
    junk = [Part(Kind.MODEL, round, b"no model") for round in range(count)]
    answers = replies_of(parties, asked(agent, sealed(parties, *junk)))
    assert {part.kind for part in answers} == {Kind.DECLINED}
    assert len(answers) <= MAX_PARTS - 1
    assert asked(agent, sealed(parties, Part(Kind.CONFIRM, 0), number=2))


def test_a_site_pays_before_it_trains_and_once_whatever_happens(tmp_path: Path) -> None:
    parties = deployment(DP, tmp_path)
    paid = []

    def fit(weights: object, *, round: int) -> object:
        paid.append((tmp_path / "0.jsonl").read_text().count('"reserve"'))
        raise ClientFailure("it broke")

    object.__setattr__(parties.parts[0].trainer, "fit", fit)
    parties.play()
    assert paid == [1, 2]
    assert [record.absent for record in parties.cell.rounds()] == [{0: "its site declined"}] * 2


def test_a_channel_without_a_set_up_declines_one(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    reply = asked(parties.link.agents[0], sealed(parties, Part(Kind.SET_UP, 0, b"")))
    assert replies_of(parties, reply) == (Part(Kind.DONE),)
