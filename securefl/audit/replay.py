"""Plays a scenario again, in memory, with watchers; keeps nothing except what these know."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from torch import Tensor

from securefl.audit.knowledge import Knowledge, Watchers, Watching
from securefl.channels.protocol import Header
from securefl.federation import engine
from securefl.federation.record import RoundRecord
from securefl.learning.plan import LocalTraining
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.past import past_of
from securefl.privacy.remember import Remember, fresh
from securefl.runs.origin import origin_of
from securefl.scenario.assemble.assemble import Assembled, join
from securefl.scenario.assemble.parts import Parts, parts
from securefl.scenario.scenario import Scenario

OnRound = Callable[[RoundRecord], None]


class TranscriptLine(TypedDict):
    """A line of transcript.jsonl, with the types that JSON gives back: lists for tuples.

    Attributes:
        round: number of the round.
        party: that saw something.
        kind: of thing that it saw.
        about: clients that the thing is about.
        shape: of its values.
        bytes: its size.
    """

    round: int
    party: str
    kind: str
    about: list[int]
    shape: list[int]
    bytes: int


@dataclass(frozen=True)
class Replay:
    """What remains of a replay.

    Attributes:
        knowledge: one a watcher: what it learned.
        transcript: the lines that a run folder would hold.
        weights: (d,), the final model.
        spent: event -> how often, in the ledger of the first watcher's target; empty without a
            claim.
        assembled: the federation that played.
        local: everything that its trainers were made from.
    """

    knowledge: tuple[Knowledge, ...]
    transcript: list[TranscriptLine]
    weights: Tensor
    spent: Mapping[PrivacyEvent, int]
    assembled: Assembled
    local: LocalTraining


def unchanged(parts: Parts) -> Parts:
    """Returns the parts as the scenario makes them."""
    return parts


def replay(
    scenario: Scenario,
    watchers: Sequence[Watching],
    *,
    on_round: OnRound,
    remember: Remember = fresh,
    rounds: int | None = None,
    change: Callable[[Parts], Parts] = unchanged,
) -> Replay:
    """Plays a scenario from its start.

    Args:
        scenario: to play.
        watchers: each collects what an adversary sees; the first one's target gives `spent`.
        on_round: called with each round's record.
        remember: caches expensive results.
        rounds: how many to play; None for all.
        change: replaces parts of the federation before they are joined.

    Raises:
        SecureflError: the scenario cannot be played to its end.

    Guarantees:
        - Its ledgers are thrown away and no observation is written: a replay releases nothing,
          and books nothing in the ledger of any run.
    """
    transcript: list[TranscriptLine] = []
    # Ledgers refuse what exceeds a budget, so that a replay needs some; they go with the folder.
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
        state = assembled.start
        for watcher in watchers:
            watcher.begin(state.weights.clone())
        for played in engine.run(
            assembled.federation,
            state,
            rounds=scenario.rounds if rounds is None else rounds,
            observer=Watchers(watchers),
            play=assembled.play,
        ):
            record = played.record
            for watcher in watchers:
                watcher.finish(record)
            transcript += [_line(record.round, header) for header in played.observed]
            state = played.state
            on_round(record)
        ledger = Path(ledgers) / f"{watchers[0].target}.jsonl"
        spent = dict(past_of(ledger).events) if ledger.exists() else {}
    knowledge = tuple(watcher.known(state.weights) for watcher in watchers)
    return Replay(knowledge, transcript, state.weights, spent, assembled, made.local)


def _line(round: int, header: Header) -> TranscriptLine:
    return {
        "round": round,
        "party": header.party,
        "kind": header.kind,
        "about": list(header.about),
        "shape": list(header.shape),
        "bytes": header.size,
    }
