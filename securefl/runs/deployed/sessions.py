"""The sessions of a deployment: one for the updates, and one for the counts next to them.

Their set-ups go side by side, in the same trips.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.apart import ServerSetUp, ServerSide
from securefl.errors import RoundAbandoned
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import COUNTS_LANE, Kind, Part
from securefl.scenario import catalog
from securefl.scenario.assemble.evaluation import counts_options, counts_plan
from securefl.scenario.assemble.public import ServerParts


@dataclass(frozen=True)
class Session:
    """A session that its members have agreed on.

    Attributes:
        sites: its members, ascending.
        server: makes the server's side of one round.
    """

    sites: tuple[int, ...]
    server: Callable[[], ServerSide]


def agreed_sessions(parts: ServerParts, desk: Desk, key: Ed25519PrivateKey) -> dict[int, Session]:
    """Returns lane -> its session, once the sites have agreed.

    Counts are no reason to stop: without enough sites for them nobody judges the model.

    Raises:
        RoundAbandoned: the set-up of the updates lost too many sites.
    """
    apart = catalog.APART[parts.scenario.channel.kind]
    plans = {0: parts.plan}
    options = {0: parts.scenario.facts.channel_options}
    if parts.scenario.leave != "never":
        plans[COUNTS_LANE] = counts_plan(parts)
        options[COUNTS_LANE] = counts_options(parts)
    if apart.set_up is None:
        return {
            lane: Session(plan.clients, partial(apart.server, plan, key, None))
            for lane, plan in plans.items()
        }
    set_ups = {
        lane: apart.set_up.server(plan, key, desk.keys, **options[lane])
        for lane, plan in plans.items()
    }
    agree(set_ups, desk)
    return {
        lane: Session(
            tuple(sorted(set(plans[lane].clients) - set(set_up.left_out))),
            partial(apart.server, plans[lane], key, set_up.agreed),
        )
        for lane, set_up in set_ups.items()
    }


def agree(set_ups: dict[int, ServerSetUp], desk: Desk) -> None:
    """Carries the set-ups of some lanes until all have ended.

    Args:
        set_ups: lane -> the server's side; one that loses too many sites is taken out, unless it
            is that of the updates.
        desk: carries them.

    Raises:
        RoundAbandoned: the set-up of the updates lost too many sites.
    """
    while under_way := {lane: one for lane, one in set_ups.items() if one.agreed is None}:
        for lane, set_up in under_way.items():
            for site, request in set_up.requests().items():
                desk.enclose(site, Part(Kind.SET_UP, content=request, lane=lane))
        desk.carry(partial(_take, under_way))
        for lane, set_up in under_way.items():
            try:
                set_up.close_stage()
            except RoundAbandoned:
                if lane != COUNTS_LANE:
                    raise
                del set_ups[lane]


def _take(set_ups: Mapping[int, ServerSetUp], site: int, part: Part) -> None:
    """Takes an answer; a member without one counts as missing."""
    if part.kind is Kind.ANSWER and part.lane in set_ups:
        set_ups[part.lane].absorb(site, part.content)
