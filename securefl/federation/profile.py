"""The cost of a run's rounds by stages: seconds on two clocks, and bytes.

    profile = Profile()
    federation = profiled(federation, profile)  # plays as before, through wrappers that measure
    ...
    profile.costs["train"].cpu

The engine knows nothing of it, and a run that nobody profiles pays nothing for it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from securefl.channels.protocol import (
    UNWATCHED,
    ChannelServer,
    ClientUpdate,
    Observer,
    Packet,
    View,
)
from securefl.federation.values import Federation, Participant, Reply

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass
class Cost:
    """Wall and CPU seconds that a stage took in this process, and the bytes that it carried."""

    wall: float = 0.0
    cpu: float = 0.0
    bytes: int = 0


class Profile:
    """Adds up the costs of stages.

    Attributes:
        costs: stage -> its cost, in the order in which the stages were first met.
    """

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Cost]:
        """Times a stage, and yields its cost, for the bytes to be added."""
        cost = self.costs.setdefault(name, Cost())
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield cost
        finally:
            cost.wall += time.perf_counter() - wall
            cost.cpu += time.process_time() - cpu

    def timed(self, name: str, call: Callable[_P, _T]) -> Callable[_P, _T]:
        """Returns a function that does the same, and is timed as a stage."""

        def measured(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with self.stage(name):
                return call(*args, **kwargs)

        return measured


def profiled(federation: Federation, profile: Profile) -> Federation:
    """Returns a federation that does the same, and notes what its stages cost."""
    weigh, noisy_mean = federation.weigh, federation.noisy_mean
    return replace(
        federation,
        clients={
            client: _ProfiledClient(participant, profile)
            for client, participant in federation.clients.items()
        },
        server=_ProfiledServer(federation.server, profile),
        screen=profile.timed("rule", federation.screen),
        rule=profile.timed("rule", federation.rule),
        weigh=None if weigh is None else profile.timed("rule", weigh),
        noisy_mean=None if noisy_mean is None else profile.timed("rule", noisy_mean),
        step=profile.timed("step", federation.step),
        evaluate=profile.timed("evaluate", federation.evaluate),
        regions={
            number: profiled(region, profile) for number, region in federation.regions.items()
        },
    )


class _ProfiledClient:
    """A client whose stages are timed."""

    def __init__(self, participant: Participant, profile: Profile) -> None:
        self._participant = participant
        self._profile = profile

    def load(self, message: bytes) -> None:
        """As `Participant.load`."""
        with self._profile.stage("load model") as cost:
            cost.bytes += len(message)
            self._participant.load(message)

    def receive(self, request: bytes) -> Reply:
        """As `Participant.receive`."""
        with self._profile.stage("channel, clients") as cost:
            cost.bytes += len(request)
            reply = self._participant.receive(request)
            cost.bytes += len(reply) if isinstance(reply, bytes) else 0
            return reply

    def begin(self) -> None:
        """As `Participant.begin`."""
        with self._profile.stage("pay"):
            self._participant.begin()

    def train(self) -> ClientUpdate:
        """As `Participant.train`."""
        with self._profile.stage("train"):
            return self._participant.train()

    def submit(self, update: ClientUpdate) -> Packet:
        """As `Participant.submit`."""
        with self._profile.stage("channel, clients") as cost:
            packet = self._participant.submit(update)
            cost.bytes += len(packet)
            return packet

    def confirm(self, round: int) -> None:
        """As `Participant.confirm`."""
        with self._profile.stage("settle"):
            self._participant.confirm(round)

    @property
    def ledger_head(self) -> str | None:
        """As `Participant.ledger_head`."""
        return self._participant.ledger_head


class _ProfiledServer:
    """The server's side of a channel, with its stages timed."""

    def __init__(self, server: ChannelServer, profile: Profile) -> None:
        self._server = server
        self._profile = profile

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        """As `ChannelServer.begin`."""
        with self._profile.stage("channel, server"):
            self._server.begin(round, cohort, model_hash, observer)

    def requests(self) -> Mapping[int, bytes]:
        """As `ChannelServer.requests`."""
        with self._profile.stage("channel, server"):
            return self._server.requests()

    def absorb(self, client: int, message: Packet) -> bool:
        """As `ChannelServer.absorb`."""
        with self._profile.stage("channel, server"):
            return self._server.absorb(client, message)

    def close_stage(self) -> View | None:
        """As `ChannelServer.close_stage`."""
        with self._profile.stage("channel, server"):
            return self._server.close_stage()
