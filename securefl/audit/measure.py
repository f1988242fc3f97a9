"""Measures what an adversary learns of the target: membership attacks, then gradient canaries."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import attacks
from securefl.audit.bounds import Claim, canary_scores
from securefl.audit.canaries import LOUDNESS, Canaries
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.audit.knowledge import Knowledge
from securefl.audit.lines import FALSE_POSITIVE_RATES, Line, Verdict
from securefl.audit.membership import Question, Shadows, membership_scores
from securefl.audit.planting import with_canaries
from securefl.audit.repertoire import CANARIES, RMIA
from securefl.audit.replay import Replay, replay
from securefl.audit.verdicts import Scored, canary_line, membership_line
from securefl.data.rehearsal import Pool, drawn
from securefl.data.task import Examples, FederatedData, concatenate
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.data import load_data, pool_of

MAX_POPULATION = 10_000  # records that RMIA compares with
NO_WEIGHTS = "an adversary that sees neither weights nor updates cannot look for them"


class Members(NamedTuple):
    """The records whose membership the adversary is asked about.

    Attributes:
        question: the records, with everything that an attack may compare them with.
        inside: (n,) bool, the records that the target trained on.
        by_coins: whether fair coins chose these.
    """

    question: Question
    inside: Tensor
    by_coins: bool


def members_of(
    inquiry: Inquiry, played: Replay, shadows: Mapping[int, Tensor], *, by_coins: bool
) -> Members:
    """Returns the question of membership, the same one for every adversary.

    Args:
        inquiry: names the scenario and the target.
        played: the replay that is asked about.
        shadows: seed -> final weights (d,) of that rehearsal.
        by_coins: whether a rehearsal was played; else the scenario itself, whose own training
            records are told apart from test records.
    """
    data = load_data(inquiry.scenario)
    pool = pool_of(inquiry.scenario, data, inquiry.target)
    # A pool lists the target's own records first.
    own = torch.arange(len(pool.examples)) < pool.own
    inside = drawn(pool, 2 * inquiry.seed) if by_coins else own
    question = Question(
        pool.examples,
        population(data, inquiry.target, pool),
        played.assembled.model,
        data.task,
        shadows_of(pool, shadows),
    )
    return Members(question, inside, by_coins)


def membership_lines(
    inquiry: Inquiry, members: Members, knowledge: Knowledge, claim: Claim | None
) -> list[Line]:
    """Returns a line for every membership attack that the adversary's knowledge allows."""
    generator = inquiry.stream("label only").torch_generator()
    question = members.question if inquiry.compares else replace(members.question, shadows=None)
    scores = membership_scores(question, knowledge, generator)
    finest = {RMIA: _finest_rate(len(members.question.population))}
    return [
        membership_line(
            Scored(attack, values, members.inside, finest.get(attack, 0.0)),
            claim,
            by_coins=members.by_coins,
        )
        for attack, values in scores.items()
    ]


def _finest_rate(population_size: int) -> float:
    """The lowest false-positive rate that RMIA is good for with so large a population."""
    rates = [
        rate for rate in FALSE_POSITIVE_RATES if attacks.rmia_population(rate) <= population_size
    ]
    return min(rates, default=math.inf)


class CanaryRun(NamedTuple):
    """A replay in which canaries entered the target's training.

    Attributes:
        canaries: the canaries, with the coins that put them in.
        played: the replay; its knowledge is in the order of the adversaries that watched.
    """

    canaries: Canaries
    played: Replay

    def scores(self, watcher: int = 0) -> Tensor | None:
        """(m,) one a canary; None where nothing moves with them that this watcher sees."""
        return canary_scores(self.played.knowledge[watcher], self.canaries)


def play_canaries(
    inquiries: Sequence[Inquiry], *, on_round: OnRound, remember: Remember = fresh
) -> CanaryRun:
    """Plays the scenario with gradient canaries in the target's DP-SGD.

    Args:
        inquiries: adversaries that watch, of one scenario, target and seed.
        on_round: called with the record of each round.
        remember: caches expensive results.

    Raises:
        ValueError: the model has too few coordinates for canaries that do not overlap.
    """
    inquiry = inquiries[0]
    scenario = inquiry.scenario
    norm = LOUDNESS * scenario.training.clip
    canaries = Canaries(inquiry.coordinates, norm=norm, stream=inquiry.stream("canaries"))
    data = load_data(scenario)
    played = replay(
        scenario,
        [inquiry.watcher(data) for inquiry in inquiries],
        on_round=lambda record: on_round("canaries", record),
        remember=remember,
        change=lambda parts: with_canaries(parts, {inquiry.target: canaries}),
    )
    return CanaryRun(canaries, played)


def canary_lines(inquiry: Inquiry, run: CanaryRun, knowledge: Knowledge) -> list[Line]:
    """Returns the line of gradient canaries, as one adversary finds them."""
    scores = canary_scores(knowledge, run.canaries)
    # Of the run's own ledger where a run is audited, else of the one that this replay kept.
    claim = inquiry.claim(run.played)
    if scores is None or claim is None:
        return no_canaries(NO_WEIGHTS)
    scored = Scored(f"{len(run.canaries)} {CANARIES}", scores, run.canaries.inside)
    thresholds = partial(inquiry.stream, "thresholds")
    return [canary_line(scored, claim, thresholds, sight=sight_of(knowledge))]


def no_canaries(why: str) -> list[Line]:
    """Returns the line for an adversary that cannot look for canaries."""
    return [Line(CANARIES, Verdict.UNDECIDED, why)]


def sight_of(knowledge: Knowledge) -> str:
    """Returns what is seen of the target, in words."""
    if not knowledge.moves:
        return "the final model" if knowledge.final is not None else "the final model's answers"
    alone = all(sight.alone for sight in knowledge.moves)
    return "every update by itself" if alone else "sums or steps that its updates are part of"


def shadows_of(pool: Pool, shadows: Mapping[int, Tensor]) -> Shadows | None:
    """Returns shadow models with the records of the pool that each trained on.

    Args:
        pool: records that members are drawn from.
        shadows: seed -> final weights (d,).

    Returns:
        None unless every record was in some of them and out of others: LiRA compares the two.
    """
    if len(shadows) < 2:
        return None
    inside = torch.stack([drawn(pool, seed) for seed in shadows])
    always, never = inside.all(dim=0), (~inside).all(dim=0)
    if bool((always | never).any()):
        return None
    return Shadows(torch.stack(list(shadows.values())), inside)


def population(data: FederatedData, target: int, pool: Pool) -> Examples:
    """Returns records of the other clients, for RMIA to compare with.

    They are like the target's, and they are the same in the target's run and in all shadows.
    """
    others = [site.train for client, site in enumerate(data.sites) if client != target]
    if not others:
        return Examples(pool.examples.features[:0], pool.examples.labels[:0])
    records = concatenate(others)
    return Examples(records.features[:MAX_POPULATION], records.labels[:MAX_POPULATION])
