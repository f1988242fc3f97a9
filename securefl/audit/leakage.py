"""Measured leakage beside the guarantee: an adversary, its Observations, the attacks they allow, their verdicts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import attacks
from securefl import vector
from securefl.audit.bounds import Claim, canary_scores
from securefl.audit.knowledge import Knowledge, Watcher
from securefl.audit.membership import RMIA, Question, Shadows, membership_scores
from securefl.audit.replay import Replay, carried_weights, mean_weights, replay
from securefl.audit.threats import ANSWERS, ThreatModel, threat
from securefl.audit.verdicts import RATES, Line, Stand, canary_line, membership_line
from securefl.data.task import Examples, FederatedData, concatenate
from securefl.errors import ScenarioError
from securefl.federation.values import RoundRecord
from securefl.learning.canaries import LOUDNESS, Canaries
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.accounting.profile import privacy_profile
from securefl.privacy.events import SampledGaussian
from securefl.privacy.remember import Remember, fresh
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario.assemble import build_model
from securefl.scenario.records import Pool, drawn, load_data, pool_of
from securefl.scenario.scenario import Scenario, make_scenario

OnRound = Callable[[str, RoundRecord], None]
_STRIDE = 1_000_003  # between seeds of rehearsals
_POPULATION = 10_000  # records at most that RMIA compares with


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


class Measured(NamedTuple):
    """Verdicts, the claim that they are about (None without one), and what was seen of the target, in words."""

    lines: list[Line]
    claim: Claim | None
    seen: str


def membership_lines(
    inquiry: Inquiry,
    shadows: Mapping[int, Tensor],
    *,
    on_round: OnRound,
    remember: Remember = fresh,
    played: Replay | None = None,
) -> Measured:
    """The verdicts on every membership attack that the adversary can run.

    Args:
        inquiry: who looks at whom.
        shadows: seed -> final weights (d,) of that rehearsal.
        on_round: called with the records of the replay's rounds.
        remember: finds values that are dear to compute.
        played: a replay of the scenario itself, whose own records are asked about; a rehearsal is played without.
    """
    data = load_data(inquiry.scenario)
    pool = pool_of(inquiry.scenario, data, inquiry.target)
    by_coins = played is None
    if played is None:
        played = replay(
            inquiry.rehearsal,
            [inquiry.watcher(load_data(inquiry.rehearsal))],
            on_round=lambda record: on_round("rehearsal", record),
            remember=remember,
        )
    inside = (
        drawn(pool, 2 * inquiry.seed) if by_coins else torch.arange(len(pool.examples)) < pool.own
    )
    claim = inquiry.claim(played)
    question = Question(
        pool.examples,
        population(data, inquiry.target, pool),
        played.assembled.model,
        data.task,
        shadows_of(pool, shadows),
    )
    generator = inquiry.stream("label only").torch_generator()
    found = membership_scores(question, played.knowledge[0], generator)
    others = len(question.population)
    finest = {
        RMIA: min(
            (rate for rate in RATES if attacks.rmia_population(rate) <= others), default=math.inf
        )
    }
    lines = [
        membership_line(
            attack, scores, inside, claim, by_coins=by_coins, finest=finest.get(attack, 0.0)
        )
        for attack, scores in found.items()
    ]
    return Measured(lines, claim, seen_of(played.knowledge[0]))


class Sung(NamedTuple):
    """What gradient canaries gave away: scores (m,), None where nothing seen moves with them; which; the run."""

    scores: Tensor | None
    canaries: Canaries
    played: Replay


def sing(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> Sung:
    """Gradient canaries enter the target's DP-SGD in a replay, and the adversary looks for them.

    Raises:
        ValueError: the model has too few coordinates for canaries that keep out of each other's way.
    """
    scenario = inquiry.scenario
    d, norm = coordinates(scenario), LOUDNESS * scenario.training.clip
    canaries = Canaries(d, norm=norm, stream=inquiry.stream("canaries"))
    played = replay(
        scenario,
        [inquiry.watcher(load_data(scenario))],
        on_round=lambda record: on_round("canaries", record),
        remember=remember,
        canaries={inquiry.target: canaries},
    )
    return Sung(canary_scores(played.knowledge[0], canaries), canaries, played)


def coordinates(scenario: Scenario) -> int:
    """Returns how many coordinates its model has."""
    return len(vector.to_vector(build_model(scenario, scenario.facts.task)))


def canary_lines(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> list[Line]:
    """The verdict on gradient canaries; none without a claim."""
    if not inquiry.scenario.claims_dp:
        return []
    why = "who sees neither weights nor updates cannot look for them"
    if inquiry.threat.published == ANSWERS:
        return [Line("gradient canaries", Stand.UNTOLD, why)]
    try:
        scores, canaries, played = sing(inquiry, on_round=on_round, remember=remember)
    except ValueError as reason:
        return [Line("gradient canaries", Stand.UNTOLD, str(reason))]
    claim = inquiry.claim(played)
    if scores is None or claim is None:
        return [Line("gradient canaries", Stand.UNTOLD, why)]
    name, stream = f"{len(canaries)} gradient canaries", partial(inquiry.stream, "thresholds")
    return [
        canary_line(name, scores, canaries.inside, claim, stream, seen=seen_of(played.knowledge[0]))
    ]


def seen_of(knowledge: Knowledge) -> str:
    """What is seen of the target, in words."""
    if not knowledge.moves:
        return "the final model" if knowledge.final is not None else "the final model's answers"
    alone = all(sight.alone for sight in knowledge.moves)
    return "every update by itself" if alone else "sums or steps that its updates are part of"


def shadows_of(pool: Pool, shadows: Mapping[int, Tensor]) -> Shadows | None:
    """As many as there are, where every record was in some and out of some."""
    if len(shadows) < 2:
        return None
    inside = torch.stack([drawn(pool, seed) for seed in shadows])
    if bool((inside.all(dim=0) | (~inside).all(dim=0)).any()):
        return None
    return Shadows(torch.stack(list(shadows.values())), inside)


def population(data: FederatedData, target: int, pool: Pool) -> Examples:
    """Records of other clients: like the target's, and the same in the target's model and in all shadows."""
    others = [site.train for client, site in enumerate(data.sites) if client != target]
    if not others:
        return Examples(pool.examples.features[:0], pool.examples.labels[:0])
    found = concatenate(others)
    return Examples(found.features[:_POPULATION], found.labels[:_POPULATION])
