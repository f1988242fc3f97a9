"""Rules of a node with a row of its own: known answers, liars, and rows that are unfit."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import defenses

Around = Callable[[Tensor, Tensor, Tensor], Tensor]
RULES: dict[str, Around] = {
    "gossip": defenses.gossip,
    "nna": partial(defenses.nna, f=1),
    "trimmed_neighbors": partial(defenses.trimmed_neighbors, f=1),
    "self_centered_clipping": partial(defenses.self_centered_clipping, f=1),
}


def equal(m: int) -> Tensor:
    return torch.full((m,), 1 / (m + 1), dtype=torch.float64)


def test_gossip_moves_the_own_row_by_each_weight() -> None:
    own, rows = torch.tensor([0.0, 10.0]), torch.tensor([[4.0, 10.0], [0.0, 20.0]])
    weights = torch.tensor([0.25, 0.5], dtype=torch.float64)
    assert defenses.gossip(own, rows, weights).tolist() == [1.0, 15.0]


def test_with_equal_weights_gossip_is_the_mean() -> None:
    rows = torch.randn(6, 50)
    torch.testing.assert_close(
        defenses.gossip(rows[0], rows[1:], equal(5)), rows.double().mean(dim=0).float()
    )


def test_the_nearest_neighbours_are_averaged_with_the_own_row() -> None:
    own = torch.tensor([0.0])
    rows = torch.tensor([[3.0], [-100.0], [6.0]])
    answer = defenses.nna(own, rows, equal(3), f=1)
    assert answer.tolist() == [3.0]  # (0 + 3 + 6) / 3, without the furthest


def test_trimming_leaves_out_the_ends_of_every_coordinate() -> None:
    own = torch.tensor([1.0, 9.0])
    rows = torch.tensor([[2.0, 0.0], [100.0, 8.0], [-100.0, 100.0], [3.0, 7.0]])
    assert defenses.trimmed_neighbors(own, rows, equal(4), f=1).tolist() == [2.0, 8.0]


def test_clipping_takes_its_radius_from_the_nearest() -> None:
    # Distances 3, 4 and 100; the furthest is left out: radius^2 = (9 + 16) / 4 / (1 / 4) = 25.
    own = torch.zeros(2)
    rows = torch.tensor([[3.0, 0.0], [0.0, 4.0], [60.0, 80.0]])
    answer = defenses.self_centered_clipping(own, rows, equal(3), f=1)
    torch.testing.assert_close(answer, torch.tensor([(3 + 3) / 4, (4 + 4) / 4]))


def test_clipping_weighs_the_heaviest_liars() -> None:
    # radius^2 = (0.1 x 9 + 0.2 x 16) / 0.5: the f heaviest neighbours may be the corrupt ones.
    own = torch.zeros(1)
    rows, weights = torch.tensor([[3.0], [4.0], [100.0]]), torch.tensor([0.1, 0.2, 0.5])
    radius = ((0.1 * 9 + 0.2 * 16) / 0.5) ** 0.5
    expected = 0.1 * min(3, radius) + 0.2 * min(4, radius) + 0.5 * radius
    answer = defenses.self_centered_clipping(own, rows, weights.double(), f=1)
    torch.testing.assert_close(answer, torch.tensor([expected]))


def test_without_liars_clipping_is_gossip() -> None:
    rows = torch.randn(5, 20)
    clipped = defenses.self_centered_clipping(rows[0], rows[1:], equal(4), f=0)
    assert torch.equal(clipped, defenses.gossip(rows[0], rows[1:], equal(4)))


def test_equal_rows_stay_where_they_are() -> None:
    rows = torch.ones(4, 3)
    for rule in RULES.values():
        assert rule(rows[0], rows[1:], equal(3)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_row_that_is_unfit_never_gets_a_say(rule: str, bad: float) -> None:
    rows = torch.randn(6, 8)
    broken = rows.clone()
    broken[3, 2] = bad
    answer = RULES[rule](broken[0], broken[1:], equal(5))
    assert bool(answer.isfinite().all())
    assert float((answer - rows[0]).norm()) < 10


@pytest.mark.parametrize("rule", sorted({*RULES} - {"gossip"}))
def test_one_liar_moves_a_node_no_further_than_honest_neighbours(rule: str) -> None:
    honest = torch.randn(6, 40)
    for lie in (1e3, 1e9, 1e17):
        rows = torch.cat([honest, torch.full((1, 40), lie)])
        answer = RULES[rule](rows[0], rows[1:], equal(6))
        furthest = max(float((row - rows[0]).norm()) for row in honest)
        assert float((answer - rows[0]).norm()) <= 2 * furthest


def test_one_liar_moves_gossip_at_will() -> None:
    rows = torch.cat([torch.randn(5, 4), torch.full((1, 4), 1e9)])
    assert float(defenses.gossip(rows[0], rows[1:], equal(5)).norm()) > 1e8


def test_no_rule_writes_into_its_rows_or_changes_their_type() -> None:
    for dtype in (torch.float32, torch.float64):
        rows = torch.randn(6, 8, dtype=dtype)
        before = rows.clone()
        for rule in RULES.values():
            assert rule(rows[0], rows[1:], equal(5)).dtype == dtype
            assert torch.equal(rows, before)


def test_nobody_heard_is_nothing_to_move_to() -> None:
    own = torch.randn(4)
    assert torch.equal(defenses.gossip(own, own.new_empty(0, 4), equal(0)), own)


REFUSED: list[tuple[Callable[[Tensor], Tensor], int, str]] = [
    (lambda r: defenses.nna(r[0], r[1:], equal(2), f=1), 3, "needs 4 rows"),
    (lambda r: defenses.trimmed_neighbors(r[0], r[1:], equal(1), f=1), 2, "n >= 2f \\+ 1"),
    (lambda r: defenses.self_centered_clipping(r[0], r[1:], equal(1), f=1), 2, "needs 3 rows"),
    (lambda r: defenses.self_centered_clipping(r[0], r[1:], equal(2), f=-1), 3, "f >= 0"),
    (lambda r: defenses.gossip(r[0], r[1:], torch.ones(2)), 3, "at most 1 together, got 2"),
    (lambda r: defenses.gossip(r[0], r[1:], -equal(2)), 3, "weights of neighbours are >= 0"),
    (lambda r: defenses.gossip(r[0], r[1:], equal(1)), 3, "a node needs its own row"),
    (lambda r: defenses.gossip(r[0, :2], r[1:], equal(2)), 3, "a node needs its own row"),
]


@pytest.mark.parametrize(("call", "n", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused(
    call: Callable[[Tensor], Tensor], n: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(torch.zeros(n, 3))


def test_more_unfit_rows_than_liars_are_refused() -> None:
    rows = torch.zeros(6, 3)
    rows[1:3] = float("nan")
    with pytest.raises(ValueError, match="more than f=1 rows were set aside"):
        defenses.self_centered_clipping(rows[0], rows[1:], equal(5), f=1)
