"""The parts of a federation that need no record: the server's, and what each site repeats."""

import hashlib
import json
from dataclasses import dataclass, field

from torch import nn

from securefl import vector
from securefl.channels.protocol import Plan
from securefl.federation.adversary import Adversary
from securefl.federation.reader import ModelReader
from securefl.federation.values import Rule, Weigh
from securefl.learning.algorithms.protocol import Algorithm
from securefl.learning.protocol import ServerStep
from securefl.learning.steps import beside_statistics
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.central import noise_of_sums
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.assemble.trainers import build_model, stream_for
from securefl.scenario.facts import Facts
from securefl.scenario.making.adversary import adversary_of
from securefl.scenario.making.rule import make_step, rule_of, weights_of
from securefl.scenario.regions import regions_of
from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class PublicParts:
    """Everything that each party makes for itself, from the scenario alone.

    Attributes:
        scenario: the declaration.
        run: names this run in release ids and sessions.
        model: holds the weights that the run starts from; then a workspace.
        session_number: 0 for the run's first session; a server that was restarted begins another.
        region: the number of the region whose parts these are; None for the whole federation.
        common_noise: noise multiplier of sums; 0 where each client adds its own noise.
    """

    scenario: Scenario
    run: str
    model: nn.Module
    session_number: int = field(default=0, kw_only=True)
    region: int | None = field(default=None, kw_only=True)
    common_noise: float = field(default=0.0, kw_only=True)

    @property
    def session(self) -> bytes:
        """The 16 bytes that name the session in every message."""
        later = f"/{self.session_number}" if self.session_number else ""
        inside = "" if self.region is None else f"/region/{self.region}"
        return hashlib.sha256(f"session/{self.run}{later}{inside}".encode()).digest()[:16]

    @property
    def facts(self) -> Facts:
        """The facts of the scenario, or of the region."""
        facts = self.scenario.facts
        return facts if self.region is None else regions_of(self.scenario, facts)[self.region]

    @property
    def algorithm(self) -> Algorithm:
        """Both halves of the algorithm."""
        return self.scenario.facts.algorithm_on(self.model)

    @property
    def plan(self) -> Plan:
        """The public constants that both sides of the channel are built from."""
        resolved = json.dumps(self.scenario.resolved(), sort_keys=True)
        return self.facts.plan(
            session=self.session,
            d=self.algorithm.update_size,
            stream_for=stream_for(self.scenario),
            config=hashlib.sha256(resolved.encode()).digest(),
            noise=self.facts.shares(self.common_noise),
        )

    def reader(self, layout: str | None) -> ModelReader:
        """Returns a reader of global models; layout is None where the server may not know it."""
        return ModelReader(layout=layout, d=self.algorithm.sent_size, session=self.session)


@dataclass(frozen=True)
class ServerParts(PublicParts):
    """Everything that a server makes. It needs no record of any site.

    Attributes:
        rule: pre-filters and rule.
        weigh: the weights that the rule gives to rows; None where it gives none.
        step: the server's step.
        adversary: changes the rows of corrupt clients.
    """

    rule: Rule
    weigh: Weigh | None
    step: ServerStep
    adversary: Adversary


def public_parts(
    scenario: Scenario, *, run: str, origin: Origin | None = None, remember: Remember = fresh
) -> PublicParts:
    """Makes what every party has; the arguments are those of `parts`."""
    model = build_model(scenario, scenario.facts.task)
    if (origin is None) is not (scenario.init_from is None):
        raise ValueError(
            "an origin goes with a scenario that names one in init_from, and with no other"
        )
    if origin is not None:
        vector.load_vector(model, origin.weights)
    noise = noise_of_sums(scenario, origin, remember)
    return PublicParts(scenario, run, model, common_noise=noise)


def server_parts(
    scenario: Scenario, *, run: str, origin: Origin | None = None, remember: Remember = fresh
) -> ServerParts:
    """Makes what a server needs; the arguments are those of `parts`."""
    public = public_parts(scenario, run=run, origin=origin, remember=remember)
    facts = scenario.facts
    rule = rule_of(facts)
    weigh = weights_of(facts)
    return ServerParts(
        **vars(public),
        rule=rule,
        weigh=weigh,
        step=beside_statistics(make_step(facts.step), vector.statistics(public.model)),
        adversary=adversary_of(scenario, facts, rule, weigh),
    )
