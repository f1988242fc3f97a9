"""The input of the lint, a case, and its output, findings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from securefl.privacy.events import FIT_ROUND, PrivacyEvent, event_from_json
from securefl.privacy.terms import Opener, Place

Table = Mapping[str, Any]
# Keys of [practice] about the inside of an update, on which a claim about clients does not rest.
_INSIDE_UPDATES = ("sampling", "normaliser", "batches")


def once_a_round(round: int) -> range:
    """Returns the number under which a client pays for a round in which it trains once."""
    return range(round, round + 1)


@dataclass(frozen=True)
class Case:
    """The content of a run folder, as pure values; or a scenario before its run.

    Args:
        scenario: the resolved scenario.
        state: "new", "running", "done", "out of budget" or "failed".
        ledgers: client -> the lines of its ledger.
        broken: client -> why its ledger cannot be read.
        rounds: the records of the rounds.
        metrics: the final metrics; None before there are any.
        seeded_before: earlier runs that this one continues, whose noise came from a seed.
        folder_scenarios: resolved scenarios that were run in the same folder; this one may be among
            them.
        has_noise: whether its way of training adds noise.
        numbers: round -> the numbers under which a client pays for its trainings in it.
        opener: who sees the sums of its channel before central noise is in them.
    """

    scenario: Table
    state: str = "new"
    ledgers: Mapping[int, Sequence[Table]] = field(default_factory=dict)
    broken: Mapping[int, str] = field(default_factory=dict)
    rounds: Sequence[Table] = ()
    metrics: Table | None = None
    seeded_before: Sequence[str] = ()
    folder_scenarios: Sequence[Table] = ()
    has_noise: bool = True
    numbers: Callable[[int], range] = once_a_round
    opener: Opener = "server"

    @property
    def has_ended(self) -> bool:
        """Whether the run came to an end and has metrics to show."""
        return self.state in ("done", "out of budget")

    @property
    def has_claim(self) -> bool:
        """Whether a finite epsilon is claimed."""
        privacy = self.scenario.get("privacy") or {}
        return bool(privacy.get("epsilon", "inf") != "inf")

    @property
    def protects_clients(self) -> bool:
        """Whether the claim is about whole clients, whose updates are clipped as a whole."""
        privacy = self.scenario.get("privacy") or {}
        return bool(privacy.get("unit") == "client")

    @property
    def tosses_coins(self) -> bool:
        """Whether each client decides by a coin of its own whether it is in a round."""
        return (self.scenario.get("cohort") or {}).get("sampling") is not None

    @property
    def has_tickets(self) -> bool:
        """Whether ledgers number trainings by tickets: a buffer takes updates across rounds."""
        return (self.scenario.get("topology") or {}).get("buffer") is not None

    @cached_property
    def trainings(self) -> int:
        """How often a client trains at most, which its noise is calibrated for."""
        if self.has_tickets:
            return int(self.scenario["topology"]["max_updates"])
        return sum(len(self.numbers(round)) for round in range(self.scenario["rounds"]))

    @property
    def records(self) -> Sequence[int]:
        """Declared records of each client; empty without, and where whole clients count."""
        if self.protects_clients:
            return ()
        return (self.scenario.get("privacy") or {}).get("records") or ()

    @property
    def place(self) -> str:
        """Where noise is added: "local", "distributed" or "central"."""
        return str((self.scenario.get("privacy") or {}).get("place") or "local")

    @property
    def claimed_place(self) -> Place:
        """Where noise is added, and how many clients may help the server."""
        if self.place == "central":
            return Place(self.place, opener=self.opener)
        if self.place != "distributed":
            return Place(self.place)
        # At least one: every client knows its own share.
        return Place(self.place, int(self.scenario["channel"].get("corrupt") or 1))

    @property
    def clients(self) -> int:
        """Clients of the federation."""
        return int(self.scenario["data"].get("clients") or len(self.records))

    @property
    def is_one_release(self) -> bool:
        """Whether a client releases once a round: one sum of gradients, or one clipped update."""
        kind = self.scenario["training"].get("kind")
        return kind == "clipped_gradient" or self.protects_clients

    def own_rate(self, client: int) -> float | None:
        """Returns the rate at which the protected unit of a client is in a release.

        Returns:
            None where it depends on a number of records that is not declared.
        """
        if self.protects_clients:
            return self.scenario["cohort"]["size"] / self.clients if self.tosses_coins else 1.0
        training = self.scenario["training"]
        if self.is_one_release:
            return float(training.get("sample_rate") or 1.0)
        if client >= len(self.records):
            return None
        return min(1.0, float(training["batch"] / self.records[client]))

    @property
    def has_noised_fit(self) -> bool:
        """Whether records are harmonised by a fit that each client pays for."""
        steps = (self.scenario.get("data") or {}).get("harmonise") or ()
        return any(step.get("noise_multiplier") is not None for step in steps)

    def has_paid_fit(self, client: int) -> bool:
        """Whether a client's ledger books the fit that precedes the rounds."""
        lines = self.ledgers.get(client, ())
        return any(line["event"] and line["release"][2] == FIT_ROUND for line in lines)

    def practice(self, key: str, usual: Any) -> Any:
        """Returns how the scenario says that training is done, or the usual way."""
        if self.protects_clients and key in _INSIDE_UPDATES:
            return usual
        value = (self.scenario.get("practice") or {}).get(key)
        return usual if value is None else value

    def events(self, client: int) -> list[PrivacyEvent]:
        """Returns the events that a client's ledger booked, each attempt at a round one."""
        lines = self.ledgers.get(client, ())
        return [event_from_json(line["event"]) for line in lines if line["event"]]

    def booked(self, client: int) -> dict[int, PrivacyEvent]:
        """Returns a training's number -> event of a client's reservations.

        Of several attempts it is the last one. A fit that precedes the rounds is no training.
        """
        lines = [line for line in self.ledgers.get(client, ()) if line["event"]]
        booked = {line["release"][2]: event_from_json(line["event"]) for line in lines}
        booked.pop(FIT_ROUND, None)
        return booked


class Finding(NamedTuple):
    """A mistake that shows in a case.

    Attributes:
        name: of the mistake.
        message: the sentence that shows it.
        grave: whether the claim falls with it; otherwise it is a remark.
    """

    name: str
    message: str
    grave: bool

    @property
    def weight(self) -> str:
        """The word for it where it is printed."""
        return "MISTAKE" if self.grave else "remark"


@dataclass(frozen=True)
class Mistake:
    """A mistake with a name.

    Args:
        why: one paragraph.
        source: who described it.
        look: returns the sentence that shows the mistake in a case, or None.
        grave: whether the claim falls with it; otherwise it is a remark.
    """

    why: str
    source: str
    look: Callable[[Case], str | None]
    grave: bool = True
