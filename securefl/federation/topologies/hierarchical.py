"""Hierarchical federation: regions play rounds of their own, and a top combines their changes.

    for each region:             # with a channel, a server and a rule of its own
        y = x
        inner_rounds times:      y = y + rule(updates of its clients, who train from y)
    x = step(x, top's rule(the rows y - x))

To the top a region is a participant like any other: it trains by playing rounds. Its row weighs as
much as the clients whose updates are in it. A region of whose rounds some are abandoned hands up
what the others gave; without any it is absent, and the other regions go on.

Each client pays for each of its trainings, under a number of its own. With local DP that claim is
all there is: whatever a region's server and the top make of updates is post-processing. Inside a
region its channel hides updates from its server. The top sees each region's change of the model,
and of a region of one client that is the change of this client.

A rule at the top tolerates bad regions, not bad clients: a region whose own rule is a mean is bad
as soon as one of its clients is.

Source: Liu et al., ICC 2020, algorithm 1 (HierFAVG).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from securefl.channels.plain import PlainClient
from securefl.channels.protocol import Observation, Observer, Seen
from securefl.federation.adversary import NOBODY
from securefl.federation.engine import Play, play_round
from securefl.federation.log import RoundLog
from securefl.federation.reader import ModelReader
from securefl.federation.topologies.levels import of_both_levels
from securefl.federation.topologies.region import Region
from securefl.federation.values import Federation, Played, State

# What parties see, apart from the channel inside a region: it shows its server, its clients and the
# network what it shows them everywhere, and a region's server is "region" here.
SEES = {
    "top": (Seen.GLOBAL_MODEL, Seen.CLEAR_UPDATE),
    "region": (Seen.GLOBAL_MODEL, Seen.OWN_UPDATE),
    "network": (Seen.GLOBAL_MODEL, Seen.CLEAR_UPDATE),
}


def hierarchical(inner_rounds: int, weights: Mapping[int, int]) -> Play:
    """Returns a way to play rounds of a federation with regions.

    Args:
        inner_rounds: rounds that each region plays from the model of the top.
        weights: client -> its public weight.
    """

    def play(federation: Federation, state: State, observer: Observer) -> Played:
        log = RoundLog(observer)
        reader = ModelReader(
            layout=federation.layout, d=state.weights.numel(), session=federation.session
        )
        regions = {
            number: Region(
                region,
                inner_rounds=inner_rounds,
                weights=weights,
                reader=reader,
                channel=PlainClient(number, federation.session),
                observer=Renamed(log, {"server": f"region {number}"}),
            )
            for number, region in federation.regions.items()
        }

        def behind(about: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sorted(client for number in about for client in regions[number].counted))

        names = {"server": "top", **{f"client {number}": f"region {number}" for number in regions}}
        top = replace(
            federation,
            clients=regions,
            invite=lambda round: tuple(regions),
            adversary=NOBODY,  # it owns clients, and no region
            ahead=1,
            regions={},
        )
        played = play_round(top, state, Renamed(log, names, behind))
        inside = {number: region.played for number, region in regions.items()}
        whole = of_both_levels(federation, played, inside)
        return replace(whole, observed=log.transcript)

    return play


def _as_they_are(about: tuple[int, ...]) -> tuple[int, ...]:
    return about


@dataclass(frozen=True)
class Renamed:
    """Passes observations on under the names that parties have in the whole federation.

    Args:
        observer: gets them.
        names: party -> its name; others keep theirs.
        behind: the numbers that an observation is about -> the clients.
    """

    observer: Observer
    names: Mapping[str, str]
    behind: Callable[[tuple[int, ...]], tuple[int, ...]] = _as_they_are

    def observe(self, observation: Observation) -> None:
        """Passes an observation on."""
        party = self.names.get(observation.party, observation.party)
        about = self.behind(observation.about)
        self.observer.observe(replace(observation, party=party, about=about))
