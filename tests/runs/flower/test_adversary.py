"""Flower as an adversary: relays that repeat, swap, forge, lose and reorder envelopes."""

import os
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import torch

from securefl import run
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.flower import link as module
from securefl.runs.flower import sockets
from securefl.runs.flower.link import FlowerLink
from securefl.runs.flower.sockets import Frame, bound, receive, send, serve_relay
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import DP, MASKED, Deployment, deployment

LIMIT = 1_000_000
SITES = range(4)
USERS = {os.getuid()}


class Relay:
    """Stands between a coordinator's socket and the agents' sockets, and does some mischief."""

    def __init__(self, mischief: Callable[["Relay", Frame], None]) -> None:
        self._mischief = mischief
        self.asked: dict[int, list[bytes]] = defaultdict(list)
        self.said: dict[int, list[bytes]] = defaultdict(list)
        self.seen: dict[tuple[int, int], int] = defaultdict(int)
        self.held: list[Frame] = []
        self.link = socket.socket(socket.AF_UNIX)

    def run(self) -> None:
        self.link.connect("coordinator/relay")
        with self.link:
            while (frame := receive(self.link, LIMIT)) is not None:
                self.seen[frame.site, frame.tag] += 1
                self._mischief(self, frame)

    def ask(self, site: int, data: bytes) -> bytes | None:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(f"{site}/agent")
            send(agent, 0, 0, [data])
            reply = receive(agent, LIMIT)
        return None if reply is None else bytes(reply.data)

    def say(self, site: int, tag: int, reply: bytes | None) -> None:
        if reply is not None:
            send(self.link, site, tag, [reply])

    def pass_on(self, frame: Frame) -> None:
        request = bytes(frame.data)
        reply = self.ask(frame.site, request)
        assert reply is not None
        self.asked[frame.site].append(request)
        self.said[frame.site].append(reply)
        self.say(frame.site, frame.tag, reply)


def repeat(relay: Relay, frame: Frame) -> None:
    first = relay.ask(frame.site, bytes(frame.data))
    assert relay.ask(frame.site, bytes(frame.data)) == first
    relay.say(frame.site, frame.tag, first)
    relay.pass_on(frame)


def replay(relay: Relay, frame: Frame) -> None:
    for old in relay.asked[frame.site][:-1]:
        assert relay.ask(frame.site, old) is None
    for old in relay.said[frame.site]:
        relay.say(frame.site, frame.tag, old)
    relay.pass_on(frame)


def swap(relay: Relay, frame: Frame) -> None:
    neighbour = (frame.site + 1) % len(SITES)
    assert relay.ask(neighbour, bytes(frame.data)) is None
    if relay.said[neighbour]:
        relay.say(frame.site, frame.tag, relay.said[neighbour][-1])
    relay.pass_on(frame)


def forge(relay: Relay, frame: Frame) -> None:
    for place in (0, 50, len(frame.data) // 2, -1):
        other = bytearray(frame.data)
        other[place] ^= 1
        assert relay.ask(frame.site, bytes(other)) is None
        relay.say(frame.site, frame.tag, bytes(other))
    assert relay.ask(frame.site, bytes(frame.data[:-1])) is None
    relay.pass_on(frame)


def lose(relay: Relay, frame: Frame) -> None:
    turn = relay.seen[frame.site, frame.tag]
    if turn == 2:  # the request at first, then the reply
        relay.ask(frame.site, bytes(frame.data))
    elif turn > 2:
        relay.pass_on(frame)


def reorder(relay: Relay, frame: Frame) -> None:
    relay.held.append(frame)
    if len(relay.held) == len(SITES):
        while relay.held:
            relay.pass_on(relay.held.pop())


@contextmanager
def listening(parties: Deployment) -> Iterator[None]:
    """Lets every agent listen at its socket."""
    over = threading.Event()
    with ExitStack() as stack:
        for site, agent in parties.link.agents.items():
            listener = stack.enter_context(closing(bound(Path(str(site), "agent"))))
            thread = threading.Thread(
                target=serve_relay,
                args=(listener, agent.answer, over.is_set),
                kwargs={"limit": LIMIT, "users": USERS},
            )
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)
        yield


def played_through(relay: Relay, parties: Deployment) -> torch.Tensor:
    """Plays a deployment whose envelopes all pass one relay."""
    listener = bound(Path("coordinator/relay"))
    with (
        listening(parties),
        closing(FlowerLink(listener, lambda: True, limit=LIMIT, users=USERS)) as link,
    ):
        parties.desk._link = link
        parties.desk._seconds = 300.0  # of a trip that ends long before
        threading.Thread(target=relay.run, daemon=True).start()
        link.wait_for_sites(20.0)
        return parties.play().weights


@pytest.mark.parametrize("mischief", [Relay.pass_on, repeat, replay, swap, forge, lose, reorder])
def test_mischief_changes_neither_the_model_nor_who_is_in_it(
    mischief: Callable[[Relay, Frame], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_SECONDS_UNTIL_SENT_AGAIN", 0.02 if mischief is lose else 30.0)
    monkeypatch.setattr(sockets, "_SECONDS_BETWEEN_LOOKS", 0.02)
    parties = deployment(DP + MASKED, tmp_path)
    weights = played_through(Relay(mischief), parties)
    assert not any(record.absent for record in parties.cell.rounds())
    result = run(parse_scenario(DP + MASKED), tmp_path / "simulation")
    path = next(result.folder.glob("cells/*/model.safetensors"))
    expected = load_checkpoint(path).state.weights
    assert torch.equal(weights.view(torch.int32), expected.view(torch.int32))
    refused = sum(agent.dropped for agent in parties.link.agents.values())
    assert (refused > 0) == (mischief in (replay, swap, forge))
    assert (parties.desk.counts.dropped > 0) == (mischief in (replay, swap, forge))
