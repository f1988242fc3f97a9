"""Workers give what one process gives; they share nothing they should not, and all of them end."""

import gc
import mmap
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from securefl.errors import ClientFailure
from securefl.federation import fork, workers
from securefl.federation.crew import Steps
from securefl.federation.fork import Child, Order
from securefl.federation.workers import CLIENTS_AHEAD_A_WORKER, PooledTrainer, Workers
from securefl.learning.plan import unseen
from securefl.learning.protocol import EarlyTrainer, Trained
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.sgd import StackedSgd
from securefl.learning.stacked.stack import Stack
from securefl.privacy.events import SampledGaussian
from securefl.rng import system_keystream
from tests.learning.stacked.cases import clients as stacked_clients
from tests.learning.stacked.cases import weights_of

D = 4
WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0])
EVENT = SampledGaussian(sample_rate=1.0, noise_multiplier=2.0, steps=1)
OTHER = SampledGaussian(sample_rate=1.0, noise_multiplier=3.0, steps=1)
HERE = os.getpid()


class Trainer:
    """Returns what a function of weights and round gives."""

    cost = EVENT

    def __init__(
        self, update: Callable[[Tensor, int], Tensor], spent: SampledGaussian = EVENT
    ) -> None:
        self._update = update
        self._spent = spent

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        return Trained(self._update(weights, round), self._spent)


def numbers(*values: float) -> Tensor:
    return torch.tensor([*values, *[0.0] * (D - len(values))], dtype=torch.float32)


def where(weights: Tensor, round: int) -> Tensor:
    """The process that trains, in two numbers that float32 holds exactly."""
    return numbers(*divmod(os.getpid(), 1000))


def is_here(update: Tensor) -> bool:
    return torch.equal(update, numbers(*divmod(HERE, 1000)))


def crew(
    *updates: Callable[[Tensor, int], Tensor],
    count: int = 2,
    lengths: Sequence[int] | None = None,
    steps: Steps | None = None,
) -> "closing[Workers]":
    trainers = {client: Trainer(update) for client, update in enumerate(updates)}
    lengths = [1] * len(updates) if lengths is None else lengths
    return closing(
        Workers(trainers, d=D, count=count, lengths=dict(enumerate(lengths)), steps=steps)
    )


def trained(
    pool: Workers,
    *,
    weights: Tensor = WEIGHTS,
    round: int = 0,
    clients: Sequence[int] | None = None,
) -> list[Tensor]:
    """The updates of a round in which all clients begin before the first one is collected."""
    chosen = list(pool.trainers) if clients is None else clients
    pooled = [pool.trainers[client] for client in chosen]
    for trainer in pooled:
        assert isinstance(trainer, EarlyTrainer)
        trainer.begin(weights, round=round)
    return [trainer.fit(weights, round=round).delta for trainer in pooled]


def children() -> list[int]:
    return [
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]


@contextmanager
def flag() -> Iterator[mmap.mmap]:
    """A byte that all processes see."""
    yield mmap.mmap(-1, 1)


# --- the same results


def test_updates_are_those_of_the_trainers_in_the_clients_order() -> None:
    updates = [lambda w, r, client=client: w * client + r for client in range(8)]
    with crew(*updates) as pool:
        for round in range(3):
            weights = WEIGHTS + round
            expected = [weights * client + round for client in range(8)]
            assert all(map(torch.equal, trained(pool, weights=weights, round=round), expected))


def test_clients_train_in_so_many_other_processes() -> None:
    def slowly(weights: Tensor, round: int) -> Tensor:
        time.sleep(0.01)  # so that one process cannot take them all
        return where(weights, round)

    for count in (2, 3):
        with crew(*[slowly] * 8, count=count) as pool:
            places = {tuple(update.tolist()) for update in trained(pool)}
            assert len(places) == count
            assert not any(is_here(torch.tensor(place)) for place in places)
            assert len(children()) == count


def test_an_update_stays_as_it_is_when_its_memory_is_used_again() -> None:
    with crew(lambda w, r: w + r, where) as pool:
        first, _ = trained(pool, round=1)
        trained(pool, round=2)
        assert torch.equal(first, WEIGHTS + 1)


def test_one_worker_is_this_process() -> None:
    with crew(where, where, count=1) as pool:
        assert pool.ahead == 1
        assert not isinstance(pool.trainers[0], EarlyTrainer)
        assert is_here(pool.trainers[0].fit(WEIGHTS, round=0).delta)
        assert children() == []


def test_what_did_not_begin_is_trained_here() -> None:
    with crew(where, where) as pool:
        assert is_here(pool.trainers[0].fit(WEIGHTS, round=0).delta)


def test_what_began_with_other_arguments_is_not_handed_out() -> None:
    with crew(lambda w, r: w + r, where) as pool:
        trainer = pool.trainers[0]
        assert isinstance(trainer, PooledTrainer)
        for weights, round in ((WEIGHTS, 2), (WEIGHTS + 1, 1)):
            trainer.begin(WEIGHTS, round=1)
            assert torch.equal(trainer.fit(weights, round=round).delta, weights + round)


def test_clients_with_models_of_their_own_train_in_workers_at_once() -> None:
    def product(weights: Tensor, round: int) -> Tensor:
        return weights * (0.0 if os.getpid() == HERE else 1.0)

    forged = WEIGHTS + 1
    with crew(*[product] * 5) as pool:
        pooled = list(pool.trainers.values())
        models = (WEIGHTS, forged, WEIGHTS.clone(), WEIGHTS + 2, WEIGHTS + 3)
        for trainer, weights in zip(pooled, models, strict=True):
            assert isinstance(trainer, EarlyTrainer)
            trainer.begin(weights, round=0)
        updates = [t.fit(w, round=0).delta for t, w in zip(pooled, models, strict=True)]
        assert all(map(torch.equal, updates, models))
        # Once nobody trains on the first model, another one is shared.
        assert torch.equal(trained(pool, weights=forged)[1], forged)


def test_a_trainer_that_writes_into_its_model_changes_nobody_elses() -> None:
    with crew(*[lambda w, r: w.mul_(2)] * 6) as pool:
        assert all(torch.equal(update, WEIGHTS * 2) for update in trained(pool))
        assert torch.equal(WEIGHTS, torch.tensor([1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize(
    "odd", [lambda w, r: where(w, r).double(), lambda w, r: torch.cat([where(w, r), w])]
)
def test_an_update_of_another_type_or_shape_is_trained_here(
    odd: Callable[[Tensor, int], Tensor],
) -> None:
    with crew(odd, where) as pool:
        update, other = trained(pool)
        assert torch.equal(update, odd(WEIGHTS, 0))
        assert not is_here(other)


def test_a_training_that_cost_something_else_says_so() -> None:
    trainers = {0: Trainer(where, spent=OTHER), 1: Trainer(where)}
    with closing(Workers(trainers, d=D, count=2, lengths={0: 1, 1: 1})) as pool:
        trainer = pool.trainers[0]
        assert isinstance(trainer, EarlyTrainer)
        trainer.begin(WEIGHTS, round=0)
        assert trainer.fit(WEIGHTS, round=0).spent == OTHER
        assert trainer.cost == EVENT


def test_more_clients_than_fit_the_window_are_trained_all_the_same() -> None:
    with crew(*[where] * 20) as pool:
        updates = trained(pool)
        assert pool.ahead == 2 * CLIENTS_AHEAD_A_WORKER
        assert [is_here(update) for update in updates] == [False] * 8 + [True] * 12


def test_the_window_is_free_again_in_every_round() -> None:
    with crew(*[where] * 8) as pool:
        for round in range(3):
            assert not any(map(is_here, trained(pool, round=round)))


def test_there_are_no_more_processes_than_clients() -> None:
    with crew(where, where, count=5) as pool:
        trained(pool)
        assert len(children()) == 2


def test_after_the_end_clients_train_here() -> None:
    with crew(where, where) as pool:
        trained(pool)
    assert all(is_here(update) for update in trained(pool))
    assert children() == []


def test_a_training_that_the_end_cuts_short_is_done_here() -> None:
    def endless(weights: Tensor, round: int) -> Tensor:
        while os.getpid() != HERE:
            time.sleep(0.001)
        return weights

    with crew(*[endless] * 4) as pool:
        pooled = list(pool.trainers.values())
        for trainer in pooled:
            assert isinstance(trainer, EarlyTrainer)
            trainer.begin(WEIGHTS, round=0)
    assert all(torch.equal(trainer.fit(WEIGHTS, round=0).delta, WEIGHTS) for trainer in pooled)


# --- what starts when


def test_of_the_clients_that_wait_the_longest_starts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = Child.send

    def noted(self: Child, order: Order) -> None:
        sent.append(order.client)
        send(self, order)

    monkeypatch.setattr(Child, "send", noted)
    with flag() as go:

        def held(weights: Tensor, round: int) -> Tensor:
            while go[0] == 0:
                time.sleep(0.001)
            return weights

        with crew(*[held] * 7, lengths=[1, 1, 5, 9, 7, 9, 6]) as pool:
            pooled = [trainer for trainer in pool.trainers.values()]
            for trainer in pooled:
                assert isinstance(trainer, EarlyTrainer)
                trainer.begin(WEIGHTS, round=0)
            assert sent == [0, 1]
            go[0] = 1
            for trainer in pooled:
                trainer.fit(WEIGHTS, round=0)
    assert sent == [0, 1, 3, 5, 4, 6, 2]


# --- errors and deaths


def test_an_exception_of_a_trainer_is_raised_at_its_client_from_where_it_happened() -> None:
    def broken(weights: Tensor, round: int) -> Tensor:
        raise ZeroDivisionError("of a user's model")

    with crew(where, broken, where) as pool:
        pooled = list(pool.trainers.values())
        for trainer in pooled:
            assert isinstance(trainer, EarlyTrainer)
            trainer.begin(WEIGHTS, round=0)
        assert not is_here(pooled[0].fit(WEIGHTS, round=0).delta)
        with pytest.raises(ZeroDivisionError, match="of a user's model") as caught:
            pooled[1].fit(WEIGHTS, round=0)
        assert caught.traceback[-1].name == "broken"
        assert not is_here(pooled[2].fit(WEIGHTS, round=0).delta)


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
def test_a_trainer_that_exits_does_not_end_its_worker(leave: type[BaseException]) -> None:
    def leaving(weights: Tensor, round: int) -> Tensor:
        if os.getpid() != HERE:
            raise leave
        return weights

    with crew(leaving, where) as pool:
        before, pids = trained(pool), children()
        trained(pool)
        assert torch.equal(before[0], WEIGHTS)
        assert children() == pids


def test_a_worker_that_dies_is_replaced_and_its_client_tried_once_more() -> None:
    with flag() as died:

        def deadly(weights: Tensor, round: int) -> Tensor:
            if died[0] == 0:
                died[0] = 1
                os.kill(os.getpid(), signal.SIGKILL)
            return where(weights, round)

        with crew(where, deadly, where, where) as pool:
            updates = trained(pool)
            assert not any(map(is_here, updates))
            assert len(children()) == 2


def test_a_client_whose_training_kills_two_processes_is_absent_and_the_others_go_on() -> None:
    def deadly(weights: Tensor, round: int) -> Tensor:
        os._exit(3)

    with crew(where, deadly, where, where) as pool:
        for _ in range(2):
            with pytest.raises(ClientFailure, match="2 processes died while they trained it"):
                trained(pool, clients=[1])
            assert not any(map(is_here, trained(pool, clients=[0, 2, 3])))
        assert len(children()) == 2


def test_a_worker_that_is_killed_while_it_is_idle_is_replaced() -> None:
    with crew(where, where) as pool:
        trained(pool)
        victim = children()[0]
        os.kill(victim, signal.SIGKILL)
        for _ in range(2):
            assert not any(map(is_here, trained(pool)))
        assert victim not in children()


def test_an_order_to_a_dead_process_goes_nowhere() -> None:
    child = Child(lambda order: True, lambda steps: None)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.send(Order(0, 0, 0))
    while child.read():
        pass
    assert child.end() == -signal.SIGKILL
    assert children() == []


def test_where_no_process_can_be_forked_this_one_trains_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fork, "_fork", full)
    with crew(where, where) as pool:
        with pytest.warns(RuntimeWarning, match="no room for a worker process: Resource temp"):
            updates = trained(pool)
        assert all(map(is_here, updates))
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_a_forked_process_cannot_train_this_one_does_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = iter(range(4))
    fork_once = fork._fork
    delays: list[float] = []

    def counted() -> int:
        delays.append(0.1 * next(number))
        return fork_once()

    def fails(loss: Tensor) -> None:
        time.sleep(delays[-1])  # one after another: each is given the job of the one before
        raise RuntimeError("Unable to handle autograd's threading")

    monkeypatch.setattr(fork, "_fork", counted)
    # As torch does where it sees a GPU and has differentiated before the fork.
    monkeypatch.setattr(Tensor, "backward", fails)
    with crew(*[where] * 5, count=4) as pool:
        with pytest.warns(RuntimeWarning, match="could not start; (workers left: |one process)"):
            updates = trained(pool, clients=[0])
        assert all(map(is_here, updates + trained(pool)))
        assert children() == []


def test_a_worker_whose_parent_died_before_the_kernel_could_watch_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with crew(where, where) as pool:
        monkeypatch.setattr(os, "getpid", lambda: 1)  # a parent that is gone
        with pytest.warns(RuntimeWarning, match="could not start"):
            updates = trained(pool)
        monkeypatch.undo()
        assert torch.equal(updates[0], numbers(0, 1))
        assert children() == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("sys.platform", "darwin", "worker processes need Linux"),
        ("torch.cuda.is_initialized", lambda: True, "a process that uses a GPU cannot be forked"),
    ],
)
def test_where_workers_cannot_be_one_sentence_says_why_and_one_process_trains(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, sentence: str
) -> None:
    assert workers.unavailable() == ""
    monkeypatch.setattr(f"securefl.federation.workers.{name}", value)
    assert workers.unavailable().startswith(sentence)
    with pytest.warns(RuntimeWarning, match=sentence):
        context = crew(where, where)
    with context as pool:
        assert pool.ahead == 1
        assert all(is_here(t.fit(WEIGHTS, round=0).delta) for t in pool.trainers.values())
    with warnings.catch_warnings(), crew(where, where, count=1):
        warnings.simplefilter("error")


# --- a process of its own


def test_no_two_trainings_draw_the_same_numbers_whatever_they_draw_from() -> None:
    def drawn(weights: Tensor, round: int) -> Tensor:
        time.sleep(0.01)  # so that both processes draw
        return numbers(
            float(system_keystream().uniform(1)[0]),
            float(np.random.random()),  # noqa: NPY002 - as a user's model may draw
            float(torch.rand(1)),
            random.random(),
        )

    drawn(WEIGHTS, 0)  # the generators of this process are in use already
    with crew(*[drawn] * 8) as pool:
        table = torch.stack(trained(pool))  # (8, 4)
        assert all(len(set(column.tolist())) == 8 for column in table.T)


def test_a_worker_has_one_thread_ignores_ctrl_c_and_ends_when_it_is_told_to() -> None:
    def settings(weights: Tensor, round: int) -> Tensor:
        return numbers(
            torch.get_num_threads(),
            signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
            signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()),
        )

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    of_ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(2)
    try:
        with crew(settings, settings) as pool:
            assert trained(pool)[0].tolist() == [1, 1, 1, 0]
        assert torch.get_num_threads() == 2
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        torch.set_num_threads(1)
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, of_ctrl_c)


def test_a_worker_keeps_nothing_open_but_its_two_pipes_and_the_standard_streams() -> None:
    def opened(weights: Tensor, round: int) -> Tensor:
        here = [int(name) for name in os.listdir("/proc/self/fd")]
        # One of them was that of the listing.
        kinds = [os.readlink(f"/proc/self/fd/{fd}") for fd in here if fd > 2 and _is_open(fd)]
        pipes = sum(kind.startswith("pipe:") for kind in kinds)
        return numbers(len(kinds), pipes, gc.get_freeze_count() > 0)

    with Path("/dev/zero").open() as inherited, crew(*[opened] * 6) as pool:
        assert inherited.fileno() > 2
        assert [update.tolist() for update in trained(pool)] == [[2, 2, 1, 0]] * 6


def test_a_worker_keeps_the_memory_that_its_steps_free() -> None:
    tensors, numbers_a_tensor = 8, 2**19
    pages = tensors * 4 * numbers_a_tensor // resource.getpagesize()

    def step() -> int:
        held = [torch.ones(numbers_a_tensor) for _ in range(tensors)]
        del held
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def stepping(weights: Tensor, round: int) -> Tensor:
        # A step may find its place elsewhere than the last one did, which a few of them do.
        faults = [step() for _ in range(11)]
        return numbers(min(after - before for before, after in pairwise(faults)))

    with crew(stepping, stepping) as pool:
        assert all(update[0] < pages / 4 for update in trained(pool))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_steps_are_told_here_and_only_a_few_times_a_second() -> None:
    told: list[tuple[int, int, int]] = []
    steps = Steps(lambda *step: told.append(step))

    def stepping(weights: Tensor, round: int) -> Tensor:
        for step in range(1, 1001):
            steps(7, step, 1000)
        return weights

    with crew(stepping, stepping, steps=steps) as pool:
        trained(pool)
    assert told[0] == (7, 1, 1000)
    assert len(told) < 50
    assert steps.to is not unseen


def test_what_a_users_model_prints_is_printed_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def talking(weights: Tensor, round: int) -> Tensor:
        print("model", end=" ")
        return weights

    # As a file or a pipe is: nothing is written before the buffer is full.
    with open(1, "w", buffering=8192, closefd=False) as buffered:
        monkeypatch.setattr(sys, "stdout", buffered)
        print("start", end=" ")
        with crew(talking, talking) as pool:
            trained(pool)
    assert sorted(capfd.readouterr().out.split()) == ["model", "model", "start"]


def test_a_worker_trains_a_stack_of_clients_with_different_numbers_of_steps() -> None:
    # The stack orders its clients by their steps: each must get its own update all the same.
    local = stacked_clients("mlp", dtype=torch.float32, sizes=(4, 13, 9, 5))
    weights = weights_of(local)
    trainers = sgd_trainers(local)
    updates = []
    for count in (1, 2):
        stack = Stack(trainers, StackedSgd(local), size=4)
        pool = Workers(trainers, d=len(weights), count=count, lengths=local.records, stack=stack)
        with closing(pool):
            updates.append(torch.stack(trained(pool, weights=weights)))
    assert torch.equal(*updates)
    alone = [trainers[client].fit(weights, round=0).delta for client in trainers]
    torch.testing.assert_close(updates[1], torch.stack(alone), rtol=0, atol=1e-6)


def test_a_worker_that_dies_while_it_names_its_rows_loses_no_client_of_a_stack() -> None:
    # A stack returns its clients in another order than they began. The next worker must not read
    # the order of half of them.
    with flag() as died:

        class Deadly(dict[int, Trained]):
            def items(self) -> Any:
                clients = iter(super().items())
                yield next(clients)
                if died[0] == 0:
                    died[0] = 1
                    os.kill(os.getpid(), signal.SIGKILL)
                yield from clients

        class Backwards:
            def fit_many(
                self, weights: Tensor, clients: Sequence[int], *, round: int, out: Tensor | None
            ) -> dict[int, Trained]:
                rows = {client: Trained(numbers(client), EVENT) for client in reversed(clients)}
                return Deadly(rows)

        trainers = {client: Trainer(where) for client in range(3)}
        stack = Stack(trainers, cast("StackedSgd", Backwards()), size=3)
        lengths = dict.fromkeys(trainers, 1)
        with closing(Workers(trainers, d=D, count=2, lengths=lengths, stack=stack)) as pool:
            updates = trained(pool, clients=list(trainers))
        assert died[0] == 1
        assert [update[0].item() for update in updates] == [0.0, 1.0, 2.0]
