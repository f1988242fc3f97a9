"""What a lint looks at, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from securefl.privacy.events import SampledGaussian

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """What there is to look at: pure values, as the files of a run folder hold them.

    Args:
        scenario: the resolved scenario.
        state: "new", "running", "done", "out of budget" or "failed".
        ledgers: client -> the lines of its ledger.
        broken: client -> why its ledger cannot be read.
        rounds: the records of the rounds.
        metrics: the final metrics; None before there are some.
        seeded_before: earlier runs, that this one goes on from, whose noise came from a seed.
        others: resolved scenarios that were run in the same folder; this one may be among them.
    """

    scenario: Table
    state: str = "new"
    ledgers: Mapping[int, Sequence[Table]] = field(default_factory=dict)
    broken: Mapping[int, str] = field(default_factory=dict)
    rounds: Sequence[Table] = ()
    metrics: Table | None = None
    seeded_before: Sequence[str] = ()
    others: Sequence[Table] = ()

    @property
    def ended(self) -> bool:
        """Whether the run came to an end and has metrics to show."""
        return self.state in ("done", "out of budget")

    @property
    def claims(self) -> bool:
        """Whether a finite epsilon is claimed."""
        return bool((self.scenario.get("privacy") or {}).get("epsilon", "inf") != "inf")

    @property
    def records(self) -> Sequence[int]:
        """Declared records of each client; empty where none are."""
        return (self.scenario.get("privacy") or {}).get("records") or ()

    def booked(self, client: int) -> dict[int, SampledGaussian]:
        """Round -> event, of the reservations of a client."""
        lines = [line for line in self.ledgers.get(client, ()) if line["event"]]
        return {line["release"][2]: SampledGaussian(**line["event"]) for line in lines}


class Finding(NamedTuple):
    """A mistake that was found: its name, what shows it, and whether the claim falls with it."""

    name: str
    told: str
    grave: bool

    @property
    def weight(self) -> str:
        """What it is called where it is printed."""
        return "MISTAKE" if self.grave else "remark"


@dataclass(frozen=True)
class Mistake:
    """A mistake with a name.

    Args:
        why: one paragraph.
        source: who described it.
        look: the sentence that shows it in a case, or None.
        grave: whether the claim falls with it; otherwise it is a remark.
    """

    why: str
    source: str
    look: Callable[[Case], str | None]
    grave: bool = True
