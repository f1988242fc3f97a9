"""Play a scenario again, in memory, with somebody watching: nothing is kept but what the watcher knows."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from securefl.audit.knowledge import Knowledge, Watcher, Watchers
from securefl.channels.protocol import Header
from securefl.federation import engine
from securefl.federation.record import RoundRecord
from securefl.learning.plan import LocalTraining
from securefl.privacy.events import SampledGaussian
from securefl.privacy.past import past_of
from securefl.privacy.remember import Remember, fresh
from securefl.runs.origin import origin_of
from securefl.scenario import catalog
from securefl.scenario.assemble.assemble import Assembled, join
from securefl.scenario.assemble.parts import Parts, parts
from securefl.scenario.scenario import Scenario

OnRound = Callable[[RoundRecord], None]
Line = dict[str, Any]  # of a transcript


@dataclass(frozen=True)
class Replay:
    """What is left of a replay.

    knowledge: what each watcher learned. transcript: the lines that a run folder would hold. weights: the final model
    (d,). spent: the events in the first watcher's target's ledger and how often; empty without a claim. local: all
    that the trainers were made from.
    """

    knowledge: tuple[Knowledge, ...]
    transcript: list[Line]
    weights: Tensor
    spent: Mapping[SampledGaussian, int]
    assembled: Assembled
    local: LocalTraining


def unchanged(parts: Parts) -> Parts:
    """Returns the parts as the scenario makes them."""
    return parts


def replay(
    scenario: Scenario,
    watchers: Sequence[Watcher],
    *,
    on_round: OnRound,
    remember: Remember = fresh,
    rounds: int | None = None,
    change: Callable[[Parts], Parts] = unchanged,
) -> Replay:
    """The scenario played from its start; its ledgers are thrown away, and no observation is written.

    Args:
        scenario: what to play.
        watchers: each collects what an adversary sees; spent is about the first one's target.
        on_round: called with each round's record.
        remember: finds values that are dear to compute.
        rounds: how many to play; None for all.
        change: replaces parts of the federation before they are joined.

    Raises:
        SecureflError: the scenario cannot be played to its end.
    """
    target = watchers[0].target
    with tempfile.TemporaryDirectory() as ledgers:
        made = change(
            parts(
                scenario,
                run="audit",
                ledgers=Path(ledgers),
                origin=origin_of(scenario),
                remember=remember,
            )
        )
        assembled = join(made)
        state, transcript = assembled.start, list[Line]()
        for played in engine.run(
            assembled.federation,
            state,
            rounds=scenario.rounds if rounds is None else rounds,
            observer=Watchers(watchers),
        ):
            for watcher in watchers:
                watcher.finish(played.record)
            transcript += [_line(played.record.round, header) for header in played.observed]
            state = played.state
            on_round(played.record)
        book = Path(ledgers) / f"{target}.jsonl"
        spent = past_of(book).events if book.exists() else {}
    known = tuple(watcher.known(state.weights) for watcher in watchers)
    return Replay(known, transcript, state.weights, dict(spent), assembled, made.local)


def mean_weights(scenario: Scenario, sizes: Mapping[int, int]) -> dict[int, float] | None:
    """What each client's update counts in a step, up to a factor; None where a step is no mean of updates.

    Args:
        scenario: whose rule and step.
        sizes: client -> training records, for weights that clients report.
    """
    defense, server = scenario.defense, scenario.server
    step = catalog.STEPS[server.step]
    if defense.prefilters or not catalog.RULES[defense.rule.name].linear:
        return None
    if not step.adds_estimate(server.parameters):
        return None
    return {client: float(weight) for client, weight in _weights(scenario, sizes).items()}


def carried_weights(scenario: Scenario, sizes: Mapping[int, int]) -> dict[int, float]:
    """What each client's update counts in a sum that a channel opens.

    Args:
        scenario: whose weights.
        sizes: client -> training records, for weights that clients report.
    """
    largest = scenario.facts.max_weight
    return {client: weight / largest for client, weight in _weights(scenario, sizes).items()}


def _weights(scenario: Scenario, sizes: Mapping[int, int]) -> dict[int, int]:
    reported = scenario.weights == "reported"
    return {
        client: scenario.facts.client_weight(client, size if reported else None)
        for client, size in sizes.items()
    }


def _line(round: int, header: Header) -> Line:
    return {
        "round": round,
        "party": header.party,
        "kind": header.kind,
        "about": list(header.about),
        "shape": list(header.shape),
        "bytes": header.size,
    }
