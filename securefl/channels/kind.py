"""A channel as the rest of the toolkit knows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from securefl.channels.protocol import Seen, Sides
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.terms import Opener


@dataclass(frozen=True)
class Kind:
    """A channel as the rest of the toolkit knows it: how it is built, and its observations.

    A new channel defines one next to its code, and the catalog lists it by name.

    Attributes:
        sides: plan and options -> both sides; raises ValueError where they do not fit.
        terms: plan and options -> the constants that clients agree on, checked without a set-up.
        describe: terms and size of a cohort -> the end of the sentence "the server sees ...".
        threats: party -> what it learns, in words.
        sees: "server", "network" or "client" -> the kinds of its Observations.
        stages: options -> requests and replies of a round in which nobody is at fault.
        trains_in: the stage in which clients train and send their updates, from 1.
        fewest: terms and size of a cohort -> fewest updates without which a sum is lost; by default
            the scenario's min_cohort.
        rows: size of a cohort, options -> rows that a rule gets.
        min_cohort: options -> fewest updates of a round, where the scenario names no number.
        options: keys of the table [channel] that it takes, with their defaults.
        set_up: whether a session begins with a set-up, which a client can miss.
        exact: whether a round that is played again gives the same bytes.
        lossy: whether coordinates are clipped and lose precision on the way.
        keyed: whether clients hold a key that opens every update.
        bounds_weights: whether a weight that a client reports must be at most max_weight.
        shows_reported_weights: whether the server learns a weight that a client reports, although
            it sees no update.
        release: terms -> the cost of one sum under shares of noise; None where it carries none.
        grid: terms -> how much further apart rounding may move a coordinate of two sums.
        least_chosen: terms -> the fewest clients that it chooses for a sum; None for a channel that
            never chooses.
        choice_threats: as `threats`, of a channel that chooses the clients of its sum.
        choice_sees: what a party sees on top of `sees` where the channel chooses them.
    """

    sides: Callable[..., Sides]
    terms: Callable[..., object]
    describe: Callable[[Any, int], str]
    threats: Mapping[str, str]
    sees: Mapping[str, tuple[Seen, ...]]
    stages: Callable[..., int]
    rows: Callable[..., int]
    min_cohort: Callable[..., int]
    trains_in: int = 1
    fewest: Callable[[Any, int], int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    set_up: bool = False
    exact: bool = True
    lossy: bool = False
    keyed: bool = False
    bounds_weights: bool = False
    shows_reported_weights: bool = False
    release: Callable[[Any], PrivacyEvent] | None = None
    grid: Callable[[Any], float] = lambda terms: 0.0
    least_chosen: Callable[[Any], int] | None = None
    choice_threats: Mapping[str, str] = field(default_factory=dict)
    choice_sees: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict)

    @property
    def server_holds_model(self) -> bool:
        """Whether the server sees the global models."""
        return Seen.GLOBAL_MODEL in self.sees["server"]

    def sees_with(self, *, choice: bool) -> Mapping[str, tuple[Seen, ...]]:
        """Returns party -> the kinds of its Observations.

        Args:
            choice: whether the channel chooses the clients of its sum.
        """
        if not choice:
            return self.sees
        return {
            party: (*kinds, *self.choice_sees.get(party, ())) for party, kinds in self.sees.items()
        }

    def threats_with(self, *, choice: bool) -> Mapping[str, str]:
        """Returns party -> what it learns, in words; see `sees_with`."""
        return self.choice_threats if choice else self.threats

    @property
    def opener(self) -> Opener:
        """Who sees sums, or updates, before central noise is in them."""
        return "server" if self.server_holds_model else "key holders"

    @property
    def shows_every_update(self) -> bool:
        """Whether a rule gets one row a client, and no sum."""
        return self.rows(2) == 2  # with default options
