"""Stacks of clients that begin one after another."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from securefl.learning.protocol import EarlyTrainer, Trained
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.sgd import StackedSgd
from securefl.learning.stacked.stack import MAX_BYTES, Stack, stack_of
from tests.learning.stacked.cases import clients, weights_of

LOCAL = clients("mlp", dtype=torch.float32, sizes=(5, 6, 4, 7, 5))
WEIGHTS = weights_of(LOCAL)


class Counted(StackedSgd):
    """Notes who trains together."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.together: list[list[int]] = []

    def fit_many(
        self, weights: Tensor, clients: Sequence[int], *, round: int, out: Tensor | None = None
    ) -> dict[int, Trained]:
        self.together.append(list(clients))
        return super().fit_many(weights, clients, round=round, out=out)


def stack(*, size: int = 2, apart: frozenset[int] = frozenset()) -> tuple[Stack, Counted]:
    training = Counted(LOCAL)
    return Stack(sgd_trainers(LOCAL), training, size=size, apart=apart), training


def begin(made: Stack, *some: int, weights: Tensor = WEIGHTS, round: int = 0) -> None:
    for client in some:
        trainer = made.trainers[client]
        if isinstance(trainer, EarlyTrainer):
            trainer.begin(weights, round=round)


def collect(made: Stack, *some: int, weights: Tensor = WEIGHTS, round: int = 0) -> list[Tensor]:
    return [made.trainers[client].fit(weights, round=round).delta for client in some]


def assert_right(deltas: list[Tensor], *some: int, round: int = 0) -> None:
    trainers = sgd_trainers(LOCAL)
    for delta, client in zip(deltas, some, strict=True):
        alone = trainers[client].fit(WEIGHTS, round=round).delta
        torch.testing.assert_close(delta, alone, rtol=0, atol=1e-6)


def test_clients_train_with_those_that_begin_next_to_them() -> None:
    made, training = stack()
    begin(made, 3, 0, 4, 1, 2)
    assert not training.together
    assert_right(collect(made, 3, 0, 4, 1, 2), 3, 0, 4, 1, 2)
    assert training.together == [[3, 0], [4, 1], [2]]


def test_a_window_that_slides_makes_the_same_stacks_as_a_wide_one() -> None:
    made, training = stack()
    begin(made, 0, 1)
    for client in (2, 3, 4):
        assert_right(collect(made, client - 2), client - 2)
        begin(made, client)
    assert_right(collect(made, 3, 4), 3, 4)
    assert training.together == [[0, 1], [2, 3], [4]]


def test_a_client_that_did_not_begin_trains_alone() -> None:
    made, training = stack()
    assert_right(collect(made, 2), 2)
    assert not training.together


def test_a_client_that_begins_once_more_trains_once_in_its_new_place() -> None:
    made, training = stack(size=3)
    begin(made, 0, 1, 0, 2)
    assert_right(collect(made, 0, 1, 2), 0, 1, 2)
    assert training.together == [[1, 0, 2]]


def test_other_weights_or_another_round_begin_a_new_stack() -> None:
    made, training = stack(size=5)
    begin(made, 0, 1)
    begin(made, 2, weights=WEIGHTS.clone())
    begin(made, 3, weights=WEIGHTS + 1)
    begin(made, 4, round=1)
    collect(made, 0, 1)
    assert_right(collect(made, 4, round=1), 4, round=1)
    # Client 2 began with equal weights, and asks with others than it began with.
    assert_right(collect(made, 2), 2)
    assert training.together == [[0, 1, 2], [4]]


def test_a_stack_that_has_trained_takes_nobody_else() -> None:
    made, training = stack(size=3)
    begin(made, 0, 1)
    collect(made, 0)
    begin(made, 2)
    assert_right(collect(made, 1, 2), 1, 2)
    assert training.together == [[0, 1], [2]]


def test_a_stack_whose_processes_died_takes_nobody_else() -> None:
    made, training = stack()
    begin(made, 0)
    piece = made.piece_of(0)
    assert piece is not None
    piece.failure = "2 processes died while they trained it"
    begin(made, 1)
    assert_right(collect(made, 1), 1)
    assert training.together == [[1]]


def test_clients_apart_train_alone_and_leave_the_others_stack_open() -> None:
    made, training = stack(size=3, apart=frozenset({1}))
    begin(made, 0, 1, 2)
    assert not isinstance(made.trainers[1], EarlyTrainer)
    assert_right(collect(made, 0, 1, 2), 0, 1, 2)
    assert training.together == [[0, 2]]


def test_nobody_joins_a_client_apart() -> None:
    made, _ = stack(size=3, apart=frozenset({1}))
    pieces = [made.begin(client, WEIGHTS, round=0) for client in (0, 1, 2)]
    assert [piece.clients for piece in pieces] == [[0, 2], [1], [0, 2]]
    assert [made.is_full(piece) for piece in pieces] == [False, True, False]
    assert_right([made.fit(pieces[1])[1].delta], 1)


def test_no_stack_is_made_unless_it_is_asked_for() -> None:
    trainers = sgd_trainers(LOCAL)
    for asked in (None, "off"):
        made = stack_of(LOCAL, trainers, asked=asked, make=StackedSgd, cohort=5)
        assert made.trainers is trainers
        assert (made.size, made.reason) == (1, "")


def test_stacks_have_no_more_clients_than_train_in_them() -> None:
    local = replace(LOCAL, bends={0: lambda gradient, way: gradient})
    trainers = sgd_trainers(local)
    for asked, size in ((2, 2), (100, 4), ("auto", 4)):
        made = stack_of(local, trainers, asked=asked, make=StackedSgd, cohort=5)  # type: ignore[arg-type]
        assert made.size == size
    none = stack_of(local, trainers, asked=2, make=None, cohort=5)
    assert none.reason == "this kind of training has no stacks"


def test_the_memory_of_a_stack_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BYTES == 2**31
    monkeypatch.setattr("securefl.learning.stacked.stack.MAX_BYTES", 3 * 4 * len(WEIGHTS))
    trainers = sgd_trainers(LOCAL)
    assert stack_of(LOCAL, trainers, asked=5, make=StackedSgd, cohort=5).size == 3
    monkeypatch.setattr("securefl.learning.stacked.stack.MAX_BYTES", 4 * len(WEIGHTS))
    alone = stack_of(LOCAL, trainers, asked=5, make=StackedSgd, cohort=5)
    assert alone.size == 1
    assert "too large" in alone.reason
