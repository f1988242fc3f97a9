"""A run that ended, opened for an audit, and compared with its replay."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from securefl.audit.replay import Replay
from securefl.errors import ScenarioError, SecureflError
from securefl.files import read_lines
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.past import past_of
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder
from securefl.scenario.scenario import Scenario, make_scenario

# Encryption rounds at random, stacks and a GPU in another order than a replay, and a run's training
# makes these differences larger. They are held against the way that the model went: a model that
# hardly moved, or that is small, must not pass for any other.
MAX_DIFFERENCE = 0.01  # of the distance between the first and the last model


def open_run(path: Path) -> tuple[Scenario, Cell]:
    """Returns the scenario and the cell of a run folder.

    Raises:
        ScenarioError: the folder holds several runs, or one that has not ended.
    """
    cells = RunFolder.open(path).cells()
    if len(cells) != 1:
        raise ScenarioError(f"{path} holds {len(cells)} runs: audit the scenario of one of them")
    ((_, values, cell),) = cells
    state = cell.status().state
    if state is not CellState.DONE:
        raise ScenarioError(f"{path} is {state}: let it end before it is audited")
    return make_scenario(dict(values)), cell


def check_repeated(path: Path, scenario: Scenario) -> None:
    """Checks that a replay chooses the same clients as the run of a folder.

    Raises:
        ScenarioError: clients were chosen by something that is drawn anew each time.
    """
    if not scenario.facts.selects:
        return
    drawn, keys = [], []
    if scenario.facts.channel_options.get("secrets") != "seeded":
        drawn.append("random matrices")
        keys.append("channel.secrets = 'seeded'")
    if not scenario.repeatable:
        drawn.append("noise")
        keys.append("privacy.noise = 'seeded'")
    if drawn:
        raise ScenarioError(
            f"{path} chose clients by sketches with {' and '.join(drawn)} of the system's, so that "
            "no replay chooses the same ones: audit its scenario, or a run of it with "
            f"{' and '.join(keys)}"
        )


def booked(cell: Cell, client: int) -> Mapping[PrivacyEvent, int] | None:
    """Returns the events in a client's stored ledger and how often; None without a ledger."""
    ledger = cell.ledgers / f"{client}.jsonl"
    return dict(past_of(ledger).events) if ledger.exists() else None


def same_run(cell: Cell, played: Replay) -> str:
    """Returns a note on how a replay agrees with the run that it repeats.

    Raises:
        SecureflError: the replay is another run, so that its audit would be of nobody's.
    """
    stored = read_lines(cell.folder / "transcript.jsonl")
    if not played.assembled.scenario.repeatable:
        if _outline(stored) != _outline(played.transcript):
            raise SecureflError("the replay is not the run: who saw what in which round differs")
        return (
            "the run drew noise from the system: the audit is of a fresh draw, "
            "in which everybody saw as much"
        )
    if stored != played.transcript:
        raise SecureflError("the replay is not the run: its transcript differs from the stored one")
    return _same_model(cell, played)


def _same_model(cell: Cell, played: Replay) -> str:
    weights = load_checkpoint(cell.checkpoint).state.weights
    scenario = played.assembled.scenario
    if scenario.facts.channel.exact and scenario.computed_as_usual:
        if not torch.equal(weights, played.weights):
            raise SecureflError("the replay is not the run: it ends with another model")
        return (
            "the replay is the run: the same transcript, line for line, "
            "and the same model, bit for bit"
        )
    start = played.assembled.start.weights
    way = torch.linalg.vector_norm(played.weights - start, dtype=torch.float64)
    apart = torch.linalg.vector_norm(weights - played.weights, dtype=torch.float64)
    if not apart <= MAX_DIFFERENCE * way:  # no number is not near, either
        raise SecureflError(
            "the replay is not the run: it ends with another model, by more than rounding"
        )
    difference = float((weights - played.weights).abs().max())
    cause = "by encryption"
    if not scenario.computed_as_usual:
        cause = "since it trains one client at a time, on the CPU"
    return (
        f"the replay is the run: the same transcript, and the same model within {difference:.2g}, "
        f"{cause}"
    )


def _outline(transcript: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """Who saw what kind of thing in which round, without its size, which noise may change."""
    return sorted(
        (line["round"], line["party"], line["kind"], tuple(line["about"])) for line in transcript
    )
