"""The terms of a ledger: what its epsilon protects, within which budget, and against whom."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

Opener = Literal["server", "key holders"]


class Place(NamedTuple):
    """The place where noise is added, which decides whom a claim holds against.

    Noise of each client's own holds against everybody else. Noise in shares holds against the
    server together with up to `corrupt` clients, who know their own shares. Noise that is added to
    an opened sum holds against those who see models only, and not against its opener.

    Attributes:
        name: "local", "distributed" or "central".
        corrupt: clients that may help the server; 0 unless noise is added in shares.
        opener: who sees sums before central noise is in them: the server, or the clients, who hold
            a key that the server lacks. "server" where noise is not central.
    """

    name: str = "local"
    corrupt: int = 0
    opener: Opener = "server"

    def covers(self, other: "Place") -> bool:
        """Returns whether this noise holds against everybody whom the other's holds against.

        Shares and central noise cover each other in neither direction: the server breaks the one,
        and more clients than `corrupt` break the other. Central noise of two openers does not
        either: each claim holds against the other's opener.
        """
        if self.name == "local":
            return True
        if (self.name, self.opener) != (other.name, other.opener):
            return False
        return self.corrupt >= other.corrupt

    def to_json(self) -> list[str | int]:
        """Returns the place as a ledger records it: with its opener where noise is central."""
        return list(self) if self.name == "central" else [self.name, self.corrupt]

    def __str__(self) -> str:
        """The keys of a scenario that declare this place, and who opens a sum for central noise."""
        words = f"privacy.place = {self.name!r}"
        if self.name == "distributed":
            words += f" and channel.corrupt = {self.corrupt}"
        if self.name == "central":
            words += f" (sums opened by the {self.opener})"
        return words


LOCAL = Place()


class Terms(NamedTuple):
    """The promise that a ledger keeps.

    Attributes:
        unit: the protected unit, one training example or one client.
        neighbours: which data sets count as neighbours: a unit added or removed, or replaced by
            another. The sensitivity in the events of a ledger is for these.
        delta: in (0, 1).
        budget: an epsilon, inf allowed.
        noise: where the noise comes from.
        place: where the noise is added: whom the promise holds against.
    """

    unit: Literal["example", "client"]
    neighbours: Literal["add_remove", "replace_one"]
    delta: float
    budget: float
    noise: Literal["system", "seeded"] = "system"
    place: Place = LOCAL

    def to_json(self) -> dict[str, object]:
        """Returns the terms as the first line of a ledger records them.

        Local noise is not recorded: ledgers from before there were other places lack it, too.
        """
        values: dict[str, object] = {**self._asdict(), "place": self.place.to_json()}
        if self.place == LOCAL:
            del values["place"]
        return values


def place_called(name: str, corrupt: int | None, opener: str = "server") -> Place:
    """Returns the place of a name.

    Args:
        name: "local", "distributed" or "central".
        corrupt: counts where noise is added in shares alone.
        opener: counts for central noise alone.

    Raises:
        ValueError: there is no such place or opener, or shares lack the number of clients that know
            theirs.
    """
    if opener not in get_args(Opener):
        raise ValueError(f"nobody who opens sums is called {opener!r}")
    if name == "distributed" and type(corrupt) is int and corrupt >= 1:
        return Place(name, corrupt)
    if name == "central":
        return Place(name, opener=cast(Opener, opener))
    if name == "local":
        return LOCAL
    raise ValueError(f"there is no place {name!r} of noise with corrupt = {corrupt!r}")


def place_in(terms: Mapping[str, Any], opener: str = "server") -> Place:
    """Returns the place that recorded terms name; local where they name none.

    Args:
        terms: a line of a ledger has.
        opener: the one of terms from before openers were recorded. In a chain of such runs the
            server may have opened the sums of any of them.

    Raises:
        TypeError, ValueError: it is no place.
    """
    name, corrupt, *recorded = terms.get("place", LOCAL)
    return place_called(name, corrupt, *(recorded or [opener]))


def names_no_opener(terms: Mapping[str, Any]) -> bool:
    """Whether recorded terms have central noise, and are from before openers were recorded."""
    return list(terms.get("place", LOCAL)) == ["central", 0]


def places_in(entries: Sequence[Mapping[str, Any]]) -> tuple[Place, ...]:
    """Returns the places of the runs whose terms a ledger's lines record, each once, in order."""
    places = (place_in(entry["terms"]) for entry in entries if entry.get("terms"))
    return tuple(dict.fromkeys(places))


def uncovering(places: Iterable[Place], place: Place) -> Place | None:
    """Returns the first place that does not cover a claim with noise in `place`; None if all do.

    A claim about several runs holds against those alone whom each of them holds against.
    """
    return next((other for other in places if not other.covers(place)), None)
