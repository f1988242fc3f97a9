"""The end of a run loses nothing to a crash, and leaves the model alone."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from securefl.errors import BudgetExceeded
from securefl.privacy.chain import read_entries
from securefl.runs import ending
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.test_play import comparable, nothing
from tests.values import present

TOPOLOGIES = {
    "fedbuff": '{ kind = "fedbuff", buffer = 2, concurrency = 3, max_updates = 9 }',
    "peer": '{ kind = "peer", graph = "ring", momentum = 0.5 }',
    "server": '"server"',
}


class Crash(BaseException):
    """The process ends here."""


def short_of_budget(kind: str) -> Scenario:
    """A run whose budget ends it before its last round."""
    return parse_scenario(
        f'rounds = 8\ndata = {{ name = "heart" }}\ntopology = {TOPOLOGIES[kind]}\n'
        'training = { batch = 64 }\nserver = { step = "fedavg" }\n'
        'privacy = { epsilon = 8.0, noise = "seeded", noise_multiplier = 0.9 }\n'
    )


def ended(cell: Cell, given: Scenario) -> None:
    with pytest.raises(BudgetExceeded):
        run_cell(cell, given, on_round=nothing)


def spent(cell: Cell) -> list[list[str]]:
    """The entries of all ledgers, without the name of the run and the hashes that follow."""
    return [
        [f"{entry['kind']} {entry['release'][1:]}" for entry in read_entries(path)]
        for path in sorted(cell.ledgers.glob("*.jsonl"))
    ]


@pytest.mark.parametrize("kind", TOPOLOGIES)
@pytest.mark.parametrize("place", ["save_checkpoint", "leave_the_model"])
def test_a_crash_while_a_budget_ends_a_run_plays_no_round_again(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = short_of_budget(kind)
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    ended(whole, given)

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(ending, place, crash)
        with suppress(Crash, BudgetExceeded):
            run_cell(killed, given, on_round=nothing)
    ended(killed, given)
    assert killed.status().state is CellState.OUT_OF_BUDGET
    assert comparable(present(killed.metrics())) == comparable(present(whole.metrics()))
    assert len(killed.rounds()) == len(whole.rounds()) < 8
    assert spent(killed) == spent(whole)
    one, other = (load_checkpoint(cell.checkpoint).state for cell in (whole, killed))
    assert torch.equal(one.weights, other.weights)
    assert one.step_state == other.step_state == {}


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_a_crash_before_the_end_is_written_releases_nothing_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = short_of_budget(kind)
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    ended(whole, given)

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "finish", crash)
        with pytest.raises(Crash):
            run_cell(killed, given, on_round=nothing)
    ended(killed, given)
    assert spent(killed) == spent(whole)
    metrics, expected = present(killed.metrics()), present(whole.metrics())
    assert metrics.get("updates") == expected.get("updates")
    # One more round may be tried, in which nobody can pay.
    assert all(record.abandoned for record in killed.rounds()[len(whole.rounds()) :])
    one, other = (load_checkpoint(cell.checkpoint).state.weights for cell in (whole, killed))
    assert torch.equal(one, other)


def test_what_a_process_left_that_died_while_it_wrote_goes_at_the_end(tmp_path: Path) -> None:
    given = short_of_budget("fedbuff")
    cell = Cell(tmp_path / "cell")
    cell.open()
    torn = cell.folder / f".{cell.checkpoint.name}.0123abcd"
    torn.write_bytes(b"rows of updates")
    ended(cell, given)
    assert not torn.exists()
    assert cell.checkpoint.exists()
