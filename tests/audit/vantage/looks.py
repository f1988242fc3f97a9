"""What an adversary knows of a client of a topology, next to what its trainer really did."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from securefl.audit.inquiry import Inquiry
from securefl.audit.knowledge import Knowledge, Sight
from securefl.audit.replay import Replay, replay
from securefl.channels.protocol import Observation, Seen
from securefl.federation.record import RoundRecord
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import Scenario
from tests.values import present


@dataclass
class Oracle:
    """Keeps the update of each training of each client, and what every party saw."""

    target: int = 0
    updates: dict[int, list[Tensor]] = field(default_factory=dict)
    seen: list[Observation] = field(default_factory=list)
    records: list[RoundRecord] = field(default_factory=list)

    def begin(self, start: Tensor) -> None:
        self.start = start

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)
        if observation.kind == Seen.OWN_UPDATE and observation.party.startswith("client"):
            client = int(observation.party.removeprefix("client "))
            self.updates.setdefault(client, []).append(present(observation.values))

    def finish(self, record: RoundRecord) -> None:
        self.records.append(record)

    def known(self, final: Tensor) -> Knowledge:
        return Knowledge((), final, final)


@dataclass(frozen=True)
class Looked:
    """What one adversary knows, and the oracle that saw everything."""

    inquiry: Inquiry
    knowledge: Knowledge
    oracle: Oracle
    played: Replay

    @property
    def moves(self) -> list[Sight]:
        return self.knowledge.moves

    def real(self, client: int, training: int) -> Tensor:
        return self.oracle.updates[client][training]


def look(
    scenario: Scenario,
    adversary: str,
    *,
    colluders: int = 1,
    target: int = 0,
    client: int | None = None,
) -> Looked:
    """Plays a scenario as an audit does, with the adversary and the oracle watching."""
    inquiry = Inquiry(scenario, adversary, colluders, target)
    oracle = Oracle(target)
    watchers = [inquiry.watcher(load_data(scenario), client), oracle]
    played = replay(scenario, watchers, on_round=lambda record: None)
    return Looked(inquiry, played.knowledge[0], oracle, played)


def equal(seen: Tensor | None, real: Tensor) -> None:
    """Checks that two updates agree up to the rounding of float32 models."""
    torch.testing.assert_close(present(seen), real, rtol=0, atol=1e-6)


def differ(seen: Tensor | None, real: Tensor) -> bool:
    """Whether two updates differ by far more than rounding."""
    return float((present(seen) - real).norm()) > 1e-2 * float(real.norm())
