"""Membership attacks, then gradient canaries, held against the claim."""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import attacks
from securefl import vector
from securefl.audit.bounds import Claim, canary_scores
from securefl.audit.canaries import LOUDNESS, Canaries, with_canaries
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.audit.knowledge import Knowledge
from securefl.audit.membership import RMIA, Question, Shadows, membership_scores
from securefl.audit.replay import Replay, replay
from securefl.audit.threats import ANSWERS
from securefl.audit.verdicts import RATES, Line, Stand, canary_line, membership_line
from securefl.data.rehearsal import Pool, drawn
from securefl.data.task import Examples, FederatedData, concatenate
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.data import load_data, pool_of
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import Scenario

_POPULATION = 10_000  # records at most that RMIA compares with


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
        change=lambda parts: with_canaries(parts, {inquiry.target: canaries}),
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
