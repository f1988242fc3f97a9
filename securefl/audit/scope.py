"""The scope of an audit: what was looked at, by whom, and everything that party saw, in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from securefl.audit.reading import number, text, texts, truth, whole


class Budget(NamedTuple):
    """The claim in numbers.

    Attributes:
        epsilon: that was promised.
        delta: of the promise.
        spent: epsilon by the ledger that the measurements are held against; None without one.
    """

    epsilon: float
    delta: float
    spent: float | None


class Onlooker(NamedTuple):
    """An adversary that there is in the topology of a scenario.

    Attributes:
        name: on the command line.
        who: in words.
        why_not: why no audit looks at this one here; "" where one can.
    """

    name: str
    who: str
    why_not: str


@dataclass(frozen=True)
class Scope:
    """What an audit looked at.

    Attributes:
        code: hash of the code that made the audit.
        scenario: what was audited, in sentences.
        cell: hash of the values in force, which tells whether two audits are of one scenario.
        of_run: whether a run that ended was replayed, instead of a scenario rehearsed.
        topology: the kind, or "server".
        channel: the kind.
        adversary: its name.
        who: the adversary in words.
        coalition: clients on its side.
        target: the client that was attacked.
        sees: kinds of what it sees.
        deviates: whether it may break the protocol.
        shadows: rehearsals that it compared with.
        exposure: whether updates were searched for the records behind them.
        budget: the claim; None without one.
        onlookers: every adversary of this topology.
    """

    code: str
    scenario: tuple[str, ...]
    cell: str
    of_run: bool
    topology: str
    channel: str
    adversary: str
    who: str
    coalition: tuple[int, ...]
    target: int
    sees: tuple[str, ...]
    deviates: bool
    shadows: int
    exposure: bool
    budget: Budget | None
    onlookers: tuple[Onlooker, ...]

    @property
    def is_seen(self) -> str:
        """The adversary and everything it sees, in one line."""
        clients = ", ".join(map(str, self.coalition))
        side = f" (client {clients})" if clients else ""
        sight = ", ".join(self.sees) or "nothing but what is published about every run"
        return f"{self.adversary} is {self.who}{side}; it sees: {sight}"

    def to_json(self) -> dict[str, object]:
        """The scope as it is stored."""
        stored = asdict(self)
        stored["budget"] = None if self.budget is None else self.budget._asdict()
        stored["onlookers"] = [onlooker._asdict() for onlooker in self.onlookers]
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in stored.items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The scope that `to_json` stored. Raises KeyError, TypeError or ValueError for others."""
        return cls(
            code=text(stored["code"]),
            scenario=texts(stored["scenario"]),
            cell=text(stored["cell"]),
            of_run=truth(stored["of_run"]),
            topology=text(stored["topology"]),
            channel=text(stored["channel"]),
            adversary=text(stored["adversary"]),
            who=text(stored["who"]),
            coalition=tuple(whole(client) for client in stored["coalition"]),
            target=whole(stored["target"]),
            sees=texts(stored["sees"]),
            deviates=truth(stored["deviates"]),
            shadows=whole(stored["shadows"]),
            exposure=truth(stored["exposure"]),
            budget=_budget(stored["budget"]),
            onlookers=tuple(_onlooker(one) for one in stored["onlookers"]),
        )


def _budget(stored: Any) -> Budget | None:
    if stored is None:
        return None
    epsilon, delta = number(stored["epsilon"]), number(stored["delta"])
    if epsilon is None or delta is None:
        raise TypeError("a claim without its numbers")
    return Budget(epsilon, delta, number(stored["spent"]))


def _onlooker(stored: Any) -> Onlooker:
    return Onlooker(text(stored["name"]), text(stored["who"]), text(stored["why_not"]))
