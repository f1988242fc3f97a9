"""What each kind of party of a run observed, counted from its transcript."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from securefl.channels.protocol import Seen
from securefl.runs.cell import Cell

MOST_LINES = 50_000  # of a transcript: a second of reading
CLIENTS, NETWORK, SERVER = "client", "network", "server"
# In the order in which an update meets them.
PARTIES = (CLIENTS, "adversary", NETWORK, "region", "top", SERVER)
_OWN = frozenset({Seen.OWN_UPDATE, Seen.OWN_HONEST_UPDATES, Seen.GLOBAL_MODEL})
_READABLE = frozenset(
    {
        Seen.CLEAR_UPDATE,
        Seen.PEER_MODEL,
        Seen.REPORTED_WEIGHT,
        Seen.SUM_OF_UPDATES,
        Seen.OPENED_SUM,
        Seen.CLEAR_COUNTS,
        Seen.SUM_OF_COUNTS,
        Seen.CLEAR_STATISTICS,
        Seen.SUM_OF_STATISTICS,
        Seen.OTHERS_HONEST_UPDATES,
    }
)
_NUMBERED = re.compile(r"(client|region) \d+")


@dataclass
class Kind:
    """One kind of observation of one kind of party.

    Attributes:
        kind: in the words of transcripts.
        times: how often.
        size: bytes of all of them.
        fewest: clients behind one of them, at least; 0 for a global model.
        most: clients behind one of them, at most.
    """

    kind: str
    times: int = 0
    size: int = 0
    fewest: int = 0
    most: int = 0

    @property
    def is_readable(self) -> bool:
        """Whether the party can read numbers in it, without help."""
        return self.kind in _READABLE or self.kind in _OWN

    @property
    def shows_one_client(self) -> bool:
        """Whether it is readable, and made from the update of a single other client."""
        return self.kind in _READABLE and self.fewest == 1

    def note(self, clients: int, size: int) -> None:
        """Counts one observation."""
        self.fewest = clients if not self.times else min(self.fewest, clients)
        self.most = max(self.most, clients)
        self.times += 1
        self.size += size


@dataclass
class Party:
    """A kind of party: how many there were, and what they observed."""

    name: str
    members: set[str] = field(default_factory=set)
    kinds: dict[str, Kind] = field(default_factory=dict)


class Observed(NamedTuple):
    """What parties observed.

    Attributes:
        parties: in the order of `PARTIES`; those of a later version come last.
        unknown: lines that this version cannot read.
        rounds: that were counted.
        whole: whether the transcript was read to its end.
    """

    parties: tuple[Party, ...]
    unknown: int
    rounds: int
    whole: bool


def observed_in(cell: Cell) -> Observed:
    """Returns what the parties of a cell observed. Raises RunFolderError."""
    lines = cell.transcript_lines(most=MOST_LINES)
    return observed(lines)._replace(whole=len(lines) < MOST_LINES)


def observed(lines: Sequence[Mapping[str, Any]]) -> Observed:
    """Returns what the parties of a transcript observed."""
    parties: dict[str, Party] = {}
    rounds = set()
    unknown = 0
    for line in lines:
        who, kind, about, size = (line.get(key) for key in ("party", "kind", "about", "bytes"))
        if not (isinstance(who, str) and isinstance(kind, str) and isinstance(about, list)):
            unknown += 1
            continue
        numbered = _NUMBERED.fullmatch(who)
        name = numbered[1] if numbered else who
        party = parties.setdefault(name, Party(name))
        party.members.add(who)
        observation = party.kinds.setdefault(kind, Kind(kind))
        observation.note(len(about), size if isinstance(size, int) else 0)
        rounds.add(line.get("round"))
    order = {name: place for place, name in enumerate(PARTIES)}
    ordered = sorted(parties.values(), key=lambda party: order.get(party.name, len(order)))
    return Observed(tuple(ordered), unknown, len(rounds), whole=True)
