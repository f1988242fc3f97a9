"""The record of a round. It needs no torch, so that reading a run folder starts at once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

# Begins the reason of a client's absence after a round that found it lying.
BARRED = "found lying in an earlier round: "
# The reasons of a client's absence whose sum could not be opened.
LOST_WITH_BLOCK = "lost with its block, of which too few were left"
LOST_WITH_GROUP = "lost with its group, of which too few were left"
INTERRUPTED = "interrupted before it was complete; its reservations stand"


@dataclass(frozen=True)
class RoundRecord:
    """Describes one round as rounds.jsonl keeps it.

    Args:
        round: its number, from 0.
        abandoned: whether the model stayed as it was.
        reason: why the round was abandoned; empty otherwise.
        cohort: the clients that were invited, ascending.
        survivors: the clients whose updates are in the sum or in a row.
        absent: client -> why its update is not there.
        screened: clients whose rows the screen set aside.
        rejected: messages that were dropped.
        bytes_up: bytes from the clients.
        bytes_down: bytes to the clients.
        accuracy: of the model after the round; None where it was not measured or there are no
            classes.
        ledger_heads: client -> head of its ledger after the round.
        seconds: wall time.
        push: how far the corrupt rows are from the mean of the rows that the adversary knows. It is
            a mean over the corrupt rows, in units of the known rows' root mean square distance from
            that mean. None without an attack, where the known rows are equal, and where they are
            the adversary's own and sent unchanged.
        distrusted: clients whose rows got less than a tenth of an equal share from a rule that
            weighs rows. None without an attack, and where the rule gives no weights.
        rmse: root mean squared error of the model after the round, where records have real
            targets; else None.
        evaluated: whether the model was evaluated after the round. If not, accuracy and rmse are
            None, which says nothing about the model.
        worst: where every node has a model of its own, and accuracy or rmse is their mean: that of
            the worst one; else None.
        consensus: how far these models are from their mean, the root of the mean squared distance;
            else None.
        clock: the simulated time at the end of the round, in the units of simulate.speed; None
            where there is no such clock.
        left_out: clients whose updates arrived under masks, and that a rule did not choose.
        named: client -> why it takes no further part in the run: it was found lying.
        paired: clients of which one lied in this round.
        groups: the clients behind each row that was opened, where rows are the means of groups;
            empty elsewhere.
        auc: of the model after the round, where it was measured; else None.
        rank: of the matrix of all groups so far, see `group_rank`. Once it is the number of
            clients, the means of groups give every client's mean update. None without groups.
    """

    round: int
    abandoned: bool
    reason: str
    cohort: tuple[int, ...]
    survivors: tuple[int, ...]
    absent: Mapping[int, str]
    screened: tuple[int, ...]
    rejected: int
    bytes_up: int
    bytes_down: int
    accuracy: float | None
    ledger_heads: Mapping[int, str]
    seconds: float
    push: float | None = None
    distrusted: tuple[int, ...] | None = None
    rmse: float | None = None
    evaluated: bool = True
    worst: float | None = None
    consensus: float | None = None
    clock: int | None = None
    left_out: tuple[int, ...] = ()
    named: Mapping[int, str] = field(default_factory=dict)
    paired: tuple[tuple[int, int], ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    rank: int | None = None
    auc: float | None = None

    def __post_init__(self) -> None:
        if not self.evaluated and (self.accuracy, self.rmse, self.auc) != (None,) * 3:
            raise ValueError("a round's record has a quality, and says that nobody evaluated it")

    def to_json(self) -> dict[str, Any]:
        """Returns the line of rounds.jsonl.

        It has evaluated only where the model was not evaluated, and rmse, auc, worst, consensus,
        clock, left_out, named, paired, groups and rank only where there are some.
        """
        line = asdict(self)
        for key in ("rmse", "worst", "consensus", "clock", "rank", "auc"):
            if line[key] is None:
                del line[key]
        for key in ("left_out", "named", "paired", "groups"):
            if not line[key]:
                del line[key]
        if self.evaluated:
            del line["evaluated"]
        return line

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Reads a line of rounds.jsonl; keys that this version does not know are ignored.

        Raises:
            ValueError: a key is missing, or its value is of another kind.
        """
        # Folders from before push and distrusted have no value for them.
        distrusted = line.get("distrusted")
        try:
            return cls(
                round=_integer(line["round"]),
                abandoned=bool(_integer(line["abandoned"])),
                reason=_text(line["reason"]),
                cohort=_clients(line["cohort"]),
                survivors=_clients(line["survivors"]),
                absent=_by_client(line["absent"]),
                screened=_clients(line["screened"]),
                rejected=_integer(line["rejected"]),
                bytes_up=_integer(line["bytes_up"]),
                bytes_down=_integer(line["bytes_down"]),
                accuracy=_measured(line["accuracy"]),
                ledger_heads=_by_client(line["ledger_heads"]),
                seconds=_number(line["seconds"]),
                push=_measured(line.get("push")),
                distrusted=None if distrusted is None else _clients(distrusted),
                rmse=_measured(line.get("rmse")),
                evaluated=_flag(line.get("evaluated", True)),
                worst=_measured(line.get("worst")),
                consensus=_measured(line.get("consensus")),
                clock=None if line.get("clock") is None else _integer(line["clock"]),
                left_out=_clients(line.get("left_out", [])),
                named=_by_client(line.get("named", {})),
                paired=_pairs(line.get("paired", [])),
                groups=_groups(line.get("groups", [])),
                rank=None if line.get("rank") is None else _integer(line["rank"]),
                auc=_measured(line.get("auc")),
            )
        except KeyError as key:
            raise ValueError(f"a round's record has no {key}") from None


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"a round's record has {value!r} for a whole number")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"a round's record has {value!r} for a yes or no")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"a round's record has {value!r} for a number")
    return value


def _measured(value: object) -> float | None:
    return None if value is None else _number(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a round's record has {value!r} for a text")
    return value


def _clients(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"a round's record has {value!r} for a list of clients")
    return tuple(_integer(client) for client in value)


def _groups(value: object) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, list):
        raise ValueError(f"a round's record has {value!r} for a list of groups")
    return tuple(_clients(group) for group in value)


def _pairs(value: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list):
        raise ValueError(f"a round's record has {value!r} for a list of pairs")
    pairs = [_clients(pair) for pair in value]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"a round's record has {value!r} for a list of pairs")
    return tuple((one, other) for one, other in pairs)


def _by_client(value: object) -> dict[int, str]:
    """The keys of a JSON object are text, those of the record are numbers."""
    if not isinstance(value, dict):
        raise ValueError(f"a round's record has {value!r} for a table of clients")
    if not all(client.isdecimal() for client in value):
        raise ValueError(f"a round's record has {value!r} for a table of clients")
    return {int(client): _text(content) for client, content in value.items()}


def interrupted(round: int, cohort: tuple[int, ...], **known: Any) -> RoundRecord:
    """Returns the record of a round that a crash ended, and that is not repeated.

    Args:
        round: its number.
        cohort: who was invited.
        known: fields that are known all the same, such as the figures of the unchanged model.
    """
    unknown: dict[str, Any] = {"accuracy": None, "ledger_heads": {}, "evaluated": False}
    return RoundRecord(
        round=round,
        abandoned=True,
        reason=INTERRUPTED,
        cohort=cohort,
        survivors=(),
        absent={},
        screened=(),
        rejected=0,
        bytes_up=0,
        bytes_down=0,
        seconds=0.0,
        **{**unknown, **known},
    )
