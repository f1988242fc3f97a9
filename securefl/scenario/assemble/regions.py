"""The regions of a hierarchical federation, and the top above them.

regions = {number: meet(region) for number, region in regional(parts).items()}
federation = above(parts, regions).federation   # of all clients, with its regions inside
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from securefl import vector
from securefl.channels.plain import PlainServer
from securefl.federation.values import Federation
from securefl.learning import steps
from securefl.learning.steps import beside_statistics
from securefl.scenario.assemble.cohort import inviter
from securefl.scenario.assemble.parts import Parts
from securefl.scenario.making.adversary import adversary_of
from securefl.scenario.making.rule import make_rule
from securefl.scenario.regions import least_regions, regions_of


class Met(NamedTuple):
    """A federation whose members have held their set-up.

    Attributes:
        federation: of the members.
        left_out: client -> why the set-up lost it.
        first_name: see `Sides`.
    """

    federation: Federation
    left_out: Mapping[int, str]
    first_name: bytes = b""


def regional(parts: Parts) -> dict[int, Parts]:
    """Returns number -> the parts of a region: a session of its own, which adds its estimate.

    The corrupt clients of a region know the rule that is in force there.
    """
    scenario = parts.scenario
    add = beside_statistics(steps.fedavg, vector.statistics(parts.model))
    return {
        number: replace(
            parts,
            region=number,
            step=add,
            adversary=adversary_of(scenario, facts, parts.rule, parts.weigh, among=facts.members),
        )
        for number, facts in regions_of(scenario, scenario.facts).items()
    }


def above(parts: Parts, regions: Mapping[int, Met]) -> Met:
    """Returns the federation of all clients, whose server is the top.

    Args:
        parts: of the whole federation.
        regions: number -> a region, at least one.

    Raises:
        ValueError: the scenario has no top.
    """
    facts = parts.facts
    if facts.top is None:
        raise ValueError("a scenario without regions has no top")
    clients = {
        client: site
        for region in regions.values()
        for client, site in region.federation.clients.items()
    }
    clients = dict(sorted(clients.items()))
    least = least_regions(facts)
    any_region = next(iter(regions.values())).federation
    federation = replace(
        any_region,
        clients=clients,
        # A region's weight is that of the clients in its row, which differ from round to round.
        server=PlainServer(
            parts.session, d=parts.algorithm.update_size, min_cohort=least, weights=None
        ),
        session=parts.session,
        invite=inviter(parts.scenario, tuple(clients)),
        min_cohort=least,
        adversary=parts.adversary,
        rule=make_rule(facts.top),
        weigh=None,
        step=parts.step,
        regions={number: region.federation for number, region in regions.items()},
    )
    left_out = {
        client: reason for region in regions.values() for client, reason in region.left_out.items()
    }
    return Met(federation, left_out)
