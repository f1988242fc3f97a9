"""Measured leakage beside the guarantee: an adversary, its Observations, the attacks they allow, their verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefl.audit.bounds import Claim
from securefl.audit.knowledge import Watcher
from securefl.audit.replay import Replay, carried_weights, mean_weights
from securefl.audit.threats import ThreatModel, threat
from securefl.data.task import FederatedData
from securefl.errors import ScenarioError
from securefl.federation.record import RoundRecord
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.accounting.profile import privacy_profile
from securefl.privacy.events import SampledGaussian
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario.scenario import Scenario, make_scenario

OnRound = Callable[[str, RoundRecord], None]
_STRIDE = 1_000_003  # between seeds of rehearsals


@dataclass(frozen=True)
class Inquiry:
    """What is asked: who looks, with how many clients on its side, at which client, and by which coins.

    booked are the events in the target's ledger of a run that is audited, with which its claim stands or falls; without
    one the claim is that of the replay's own ledger.

    Raises:
        ScenarioError: the scenario has no such clients, the target is corrupt, the records bear several labels, or the
            scenario is a rehearsal already.
    """

    scenario: Scenario
    adversary: str
    colluders: int = 1
    target: int = 0
    seed: int = 0
    booked: Mapping[SampledGaussian, int] | None = None

    def __post_init__(self) -> None:
        clients = self.scenario.clients
        if not 0 <= self.target < clients:
            raise ScenarioError(f"--target: there is no client {self.target} among {clients}")
        if self.threat.clients and not 1 <= self.colluders < clients:
            raise ScenarioError(
                f"--colluders: {self.colluders} of {clients} clients cannot look at another one; at least 1, at most "
                f"{clients - 1}"
            )
        if self.scenario.facts.task.multilabel:
            raise ScenarioError(
                "the records bear several labels each, which no attack here is made for"
            )
        if self.scenario.rehearsal is not None:
            raise ScenarioError(
                "the scenario is a rehearsal already: take its rehearsal table away"
            )
        if self.scenario.attack is not None and self.target in self.scenario.attack.clients:
            raise ScenarioError(
                f"--target: client {self.target} is corrupt and trains on other records; take another"
            )

    @property
    def threat(self) -> ThreatModel:
        """Who looks."""
        return threat(self.adversary)

    @property
    def coalition(self) -> tuple[int, ...]:
        """The clients on the adversary's side: the first that are not the target."""
        if not self.threat.clients:
            return ()
        return tuple(client for client in range(self.scenario.clients) if client != self.target)[
            : self.colluders
        ]

    @property
    def blind(self) -> bool:
        """Whether nothing that the adversary sees has values."""
        kind = self.scenario.channel.kind
        return not self.threat.ends_with(kind) and not self.threat.opens(kind)

    @property
    def rehearsal(self) -> Scenario:
        """The scenario with the target's records drawn by coins."""
        return rehearsed(self.scenario, self.target, 2 * self.seed)

    def watcher(self, data: FederatedData, client: int | None = None) -> Watcher:
        """Collects what the adversary sees of the target, or of another client that is not on its side."""
        sizes = {client: len(site.train) for client, site in enumerate(data.sites)}
        return Watcher(
            self.threat,
            self.coalition,
            self.target if client is None else client,
            self.scenario.channel.kind,
            mean_weights(self.scenario, sizes),
            carried_weights(self.scenario, sizes),
        )

    def spent(self, played: Replay) -> Mapping[SampledGaussian, int]:
        """Returns the events that the claim rests on: those of the run, or of the replay where there is none."""
        return played.spent if self.booked is None else self.booked

    def claim(self, played: Replay) -> Claim | None:
        """What is claimed of the target; None without a claim."""
        spent = self.spent(played)
        if self.scenario.privacy is None or not spent:
            return None
        delta = self.scenario.privacy.delta
        return Claim(spent, epsilon(spent, delta=delta), delta, privacy_profile(spent, delta=delta))

    def stream(self, purpose: str) -> Keystream:
        """Coins and noise of the audit itself."""
        return seeded_keystream(self.seed, f"audit {purpose}", self.target)


def rehearsed(scenario: Scenario, target: int, seed: int, *, apart: int = 0) -> Scenario:
    """The same scenario, its target's records drawn by the coins of a seed; apart from 0 plays by another seed."""
    own = (scenario.seed + apart * _STRIDE) % 2**63
    return make_scenario(
        {**scenario.resolved(), "seed": own, "rehearsal": {"client": target, "seed": seed}}
    )


def shadow_scenarios(inquiry: Inquiry, count: int) -> dict[int, Scenario]:
    """Seed -> rehearsals that anybody can play who knows how the federation trains; their channel is plain.

    No channel changes what is trained, but for its rounding. Each has a seed of its own, since nobody is supposed to
    know that of the federation, and an even count has every record in half of them.
    """
    values = {**inquiry.scenario.resolved(), "channel": {"kind": "plain"}, "simulate": {}}
    plain = make_scenario(values)
    first = 2 * inquiry.seed + 2  # after the pair that the audited rehearsal is of
    seeds = range(first, first + count)
    return {seed: rehearsed(plain, inquiry.target, seed, apart=seed - first + 1) for seed in seeds}
