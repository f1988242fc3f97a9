"""How much the means of changing groups tell together."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from securefl.channels.masking.lots import dealt
from securefl.federation.group_rank import GroupMatrix, with_rank
from securefl.federation.record import RoundRecord
from securefl.federation.values import Played, State

Groups = tuple[tuple[int, ...], ...]


def rank_of(*rounds: Groups) -> int:
    matrix = GroupMatrix()
    for groups in rounds:
        for group in groups:
            matrix.add(group)
    return matrix.rank


def played(round: int, groups: Groups, **changes: Any) -> Played:
    """Returns a round with these groups."""
    record = RoundRecord(
        round=round,
        abandoned=False,
        reason="",
        cohort=(0, 1, 2, 3),
        survivors=(0, 1, 2, 3),
        absent={},
        screened=(),
        rejected=0,
        bytes_up=0,
        bytes_down=0,
        accuracy=0.5,
        ledger_heads={},
        seconds=0.0,
        groups=groups,
    )
    return Played(State(torch.zeros(1)), replace(record, **changes), frozenset(), ())


def test_the_rank_of_three_deals_of_four_clients_into_pairs_by_hand() -> None:
    # Both pairs of a deal add up to the same total: 2, 3, then all 4 clients.
    assert rank_of(((0, 1), (2, 3))) == 2
    assert rank_of(((0, 1), (2, 3)), ((0, 2), (1, 3))) == 3
    assert rank_of(((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))) == 4


def test_the_same_groups_add_nothing_and_a_client_that_drops_out_does() -> None:
    groups = ((0, 1, 2), (3, 4, 5))
    assert rank_of(groups, groups, groups) == 2
    assert rank_of(groups, ((0, 1), (3, 4, 5))) == 3
    assert rank_of() == rank_of(((),)) == 0


@given(
    st.lists(st.sets(st.integers(0, 11), min_size=1), max_size=20),
    st.integers(0, 2**31 - 1),
)
def test_the_rank_is_that_of_the_whole_matrix(groups: list[set[int]], shift: int) -> None:
    rows = np.array([[client in group for client in range(12)] for group in groups]).reshape(-1, 12)
    assert rank_of(tuple(map(tuple, groups))) == np.linalg.matrix_rank(rows.astype(float))
    # Which columns the clients have does not matter.
    turned = tuple(tuple((client * 5 + shift) % 12 for client in group) for group in groups)
    assert rank_of(turned) == rank_of(tuple(map(tuple, groups)))


def test_each_round_notes_the_rank_so_far_also_after_earlier_ones() -> None:
    rounds = [
        played(0, ((0, 1), (2, 3))),
        played(1, (), abandoned=True),  # nothing opened
        played(2, ((0, 2), (1, 3))),
        played(3, ((0, 3), (1, 2)), abandoned=True),  # opened, and then refused
    ]
    whole = [each.record.rank for each in with_rank(rounds, ())]
    assert whole == [2, None, 3, 4]
    before = [each.record for each in rounds[:2]]
    assert [each.record.rank for each in with_rank(rounds[2:], before)] == whole[2:]


def test_rounds_without_groups_are_left_as_they_are() -> None:
    plain = played(0, ())
    assert list(with_rank([plain], [plain.record])) == [plain]


def test_new_groups_in_each_round_give_away_every_clients_mean_update() -> None:
    """Solves 20 rounds of 12 clients in threes, whose noise is as large as their signal."""
    clients, d, rounds = 12, 400, 20
    generator = np.random.default_rng(20)
    own = generator.standard_normal((clients, d))
    beacon = bytes(32)

    def solved(regroup: bool) -> tuple[int, float]:
        """Returns the rank, and the mean cosine of the solution and the clients' own updates."""
        rows, sums, rank = [], [], 0
        matrix = GroupMatrix()
        for round in range(rounds):
            sent = own + generator.standard_normal((clients, d))
            everyone = tuple(range(clients))
            for group in dealt(everyone, 4, beacon=beacon, round=round if regroup else None):
                matrix.add(group)
                rows.append(np.isin(everyone, group).astype(float))
                sums.append(sent[list(group)].sum(axis=0))
            rank = matrix.rank
        found, *_ = np.linalg.lstsq(np.array(rows), np.array(sums), rcond=None)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(own, axis=1)
        return rank, float(((found * own).sum(axis=1) / lengths).mean())

    rank, cosine = solved(regroup=True)
    assert rank == clients
    # The variance of the solution is about 3 / (20 * (1 - 2 / 11)) * 11 / 12 = 0.17: a cosine of
    # 1 / sqrt(1.17) = 0.92.
    assert cosine == pytest.approx(0.92, abs=0.02)
    # Three clients that always meet share what their sum tells: 1 / sqrt(3), less its noise.
    rank, cosine = solved(regroup=False)
    assert rank == 4
    assert cosine == pytest.approx(1 / np.sqrt(3) / np.sqrt(1 + 1 / rounds), abs=0.02)
