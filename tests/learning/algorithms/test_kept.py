"""A client's state changes only with a round that counts, and survives a crash."""

from pathlib import Path

import pytest
import torch

from securefl.errors import RunFolderError
from securefl.learning.algorithms.kept import Kept


def one(value: float) -> torch.Tensor:
    return torch.tensor([value])


def settled(kept: Kept, *rounds: int) -> Kept:
    for round in rounds:
        kept.propose(round, one(float(round)))
        kept.settle(round)
    return kept


def test_a_round_that_does_not_count_changes_nothing() -> None:
    kept = settled(Kept(one(0.0)), 0)
    kept.propose(1, one(9.0))
    assert kept.before(2).item() == 0.0
    kept.settle(2)  # another round's
    assert kept.before(3).item() == 0.0
    kept.propose(3, one(float("nan")))
    kept.settle(3)
    assert kept.before(4).item() == 0.0
    assert settled(kept, 4).before(5).item() == 4.0


def test_a_round_that_is_played_again_starts_from_the_same_state(tmp_path: Path) -> None:
    file = tmp_path / "0/state"
    settled(Kept(one(0.0), file), 1, 4, 7)
    again = Kept(one(0.0), file)
    assert [again.before(round).item() for round in (5, 7, 8, 20)] == [4.0, 4.0, 7.0, 7.0]
    # Played again: what it was before the crash is gone.
    again.propose(7, one(70.0))
    again.settle(7)
    assert Kept(one(0.0), file).before(8).item() == 70.0


def test_a_round_that_a_crash_undid_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "state"
    kept = settled(Kept(one(0.0), file), 1, 4)
    kept.forget(4)
    kept.forget(9)
    assert kept.before(5).item() == Kept(one(0.0), file).before(5).item() == 1.0


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_a_damaged_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "state"
    settled(Kept(one(0.0), file), 1)
    if content is None:
        with pytest.raises(RunFolderError, match="is not of this model"):
            Kept(torch.zeros(2), file)
        return
    file.write_bytes(content)
    with pytest.raises(RunFolderError, match="is damaged"):
        Kept(one(0.0), file)
