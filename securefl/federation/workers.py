"""Worker processes that train clients, several at once, with the results of one process.

    with closing(Workers(trainers, d=d, count=2, lengths=records)) as workers:
        federation = join(workers.trainers, ahead=workers.ahead)
        ...                                     # rounds; the first one forks

Only training happens elsewhere. Clients with their ledgers and channels stay in this process: a
client pays before its training is handed over, and updates are submitted in the clients' order.
"""

import mmap
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from securefl.federation.crew import ATTEMPTS, Crew, Job, Steps
from securefl.federation.fork import Order, Word
from securefl.learning.plan import unseen
from securefl.learning.protocol import Trained, Trainer
from securefl.learning.stacked.stack import Piece, Stack
from securefl.privacy.events import PrivacyEvent

# So that a worker has something to choose from: clients, or stacks of them.
CLIENTS_AHEAD_A_WORKER = 4
STACKS_AHEAD_A_WORKER = 2
_FLOAT_BYTES, _INTEGER_BYTES = 4, 8
_NOBODY = -1  # in the place of a client


def unavailable() -> str:
    """Returns why this process cannot have workers, as a sentence; "" if it can."""
    if sys.platform != "linux":
        return "worker processes need Linux: one process trains all clients"
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return "a process that uses a GPU cannot be forked: one process trains all clients"
    return ""


class PooledTrainer:
    """A client's trainer that a worker runs, where `begin` gave it the time to.

    Args:
        trainer: of the client; trains here what no worker did.
        client: its id.
        workers: run it.
    """

    def __init__(self, trainer: Trainer, client: int, workers: "Workers") -> None:
        self._trainer = trainer
        self._client = client
        self._workers = workers

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts the training in a worker."""
        self._workers.begin(self._client, weights, round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns what the worker trained; trains here where none did."""
        trained = self._workers.collect(self._client, weights, round=round)
        return self._trainer.fit(weights, round=round) if trained is None else trained


@dataclass(frozen=True)
class _Memory:
    """What all processes see.

    Attributes:
        weights: (d,), of the round's model.
        others: (slots, d), where clients do not all train the same model. Memory that nobody
            writes into costs nothing.
        rows: (slots, size, d), the updates of the clients of a stack.
        members: (slots, size), these clients, as they began; _NOBODY where there are fewer. No
            worker writes here, nor into models: the next one reads them where a worker died.
        apart: (slots,), whether a slot's model is among the others.
        trained: (slots, size), the same clients once trained, in the order of their rows.
        free: the slots that no training uses.
    """

    weights: Tensor
    others: Tensor
    rows: Tensor
    members: Tensor
    apart: Tensor
    trained: Tensor
    free: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, d: int, slots: int, size: int) -> "_Memory":
        """Maps memory that has no name, so that a killed process leaves nothing behind."""
        rows = slots * size
        integers = 2 * rows + slots
        lists = _INTEGER_BYTES * integers
        shared = mmap.mmap(-1, lists + _FLOAT_BYTES * d * (1 + slots + rows))
        numbers = torch.frombuffer(shared, dtype=torch.int64, count=integers)
        members, trained = numbers[: 2 * rows].view(2, slots, size)
        table = torch.frombuffer(shared, dtype=torch.float32, offset=lists).view(-1, d)
        return cls(
            weights=table[0],
            others=table[1 : 1 + slots],
            rows=table[1 + slots :].view(slots, size, d),
            members=members,
            apart=numbers[2 * rows :],
            trained=trained,
            free=list(range(slots)),
        )


class Workers:
    """Trains clients in forked processes.

    Guarantees:
        - The updates, and their order, are those of one process, bit for bit. Noise from the system
          is keyed where it is drawn: no two trainings share any.
        - At most `ahead` updates are held, whatever the size of a cohort.
        - A training that fails in a worker is repeated in this process, which raises what it
          raises. So is one whose update is not float32.
        - A worker that dies is replaced, and its clients tried once more. Then they are absent.
        - No process outlives this one, however it ends.

    Of the trainings that wait, the longest starts first. When a training begins and ends depends on
    the clients' records, as any timing does. A deployment has one client a process.

    Args:
        trainers: client -> its training.
        d: coordinates of the model.
        count: processes, >= 1, and no more than clients; with one, this process trains.
        lengths: client -> how long its training takes, in any unit.
        steps: gets the local steps, a few times a second at most; the trainers report to it.
        stack: trains several clients at once, in one process; by default none.
    """

    def __init__(
        self,
        trainers: Mapping[int, Trainer],
        *,
        d: int,
        count: int,
        lengths: Mapping[int, int],
        steps: Steps | None = None,
        stack: Stack | None = None,
    ) -> None:
        reason = unavailable() if count > 1 else ""
        if reason:
            warnings.warn(reason, RuntimeWarning, stacklevel=2)
        self._count = 1 if reason else min(count, len(trainers))
        self._trainers = trainers
        self._d = d
        self._lengths = lengths
        self._steps = Steps(unseen) if steps is None else steps
        self._memory: _Memory | None = None
        self._crew: Crew | None = None
        self._stack = Stack(trainers) if stack is None else stack
        self._jobs: dict[Piece, Job] = {}  # that have not ended
        self._closed = False

    @property
    def trainers(self) -> Mapping[int, Trainer]:
        """Client -> its training, as the federation gets it."""
        if self._count == 1:
            return self._stack.trainers
        return {
            client: PooledTrainer(trainer, client, self)
            for client, trainer in self._trainers.items()
        }

    @property
    def ahead(self) -> int:
        """The number of clients that may be training at once, or wait to submit."""
        return self._stack.size if self._count == 1 else self._slots * self._stack.size

    @property
    def _slots(self) -> int:
        is_stacked = self._stack.size > 1
        return self._count * (STACKS_AHEAD_A_WORKER if is_stacked else CLIENTS_AHEAD_A_WORKER)

    def begin(self, client: int, weights: Tensor, *, round: int) -> None:
        """Hands a training to the workers, where they can take it, once its stack is full."""
        self._end_earlier(client)
        piece = self._stack.begin(client, weights, round=round)
        if self._stack.is_full(piece):
            self._hand(piece)

    def collect(self, client: int, weights: Tensor, *, round: int) -> Trained | None:
        """Waits for the training that began with these arguments; None if none did.

        Raises:
            ClientFailure: the processes that trained it died.
        """
        piece = self._stack.piece_of(client)
        if piece is not None:
            # The last clients of a stage may fill no stack.
            if piece.results is None and not self._stack.is_full(piece):
                self._hand(piece)
            self._wait(piece)
        return self._stack.collect(client, weights, round=round)

    def close(self) -> None:
        """Ends the processes; what is asked for later is trained here."""
        self._closed = True
        if self._crew is not None:
            self._crew.close()

    def _end_earlier(self, client: int) -> None:
        """Waits until nobody trains a client that begins once more."""
        piece = self._stack.piece_of(client)
        if piece is not None:
            self._wait(piece)

    def _hand(self, piece: Piece) -> None:
        """Hands a piece to the workers, unless they have it or cannot take it."""
        if piece in self._jobs or self._closed:
            return
        memory = self._memory = self._memory or _Memory.of(self._d, self._slots, self._stack.size)
        if not memory.free:
            return
        # Forked with the first training, when all that a worker inherits is there.
        crew = self._crew = self._crew or Crew(self._count, self._train, self._steps)
        slot = memory.free.pop()
        self._show(memory, piece.weights, slot)
        memory.members[slot].fill_(_NOBODY)[: len(piece.clients)] = torch.tensor(piece.clients)
        length = sum(self._lengths[client] for client in piece.clients)
        job = Job(Order(piece.clients[0], piece.round, slot), length)
        self._jobs[piece] = job
        crew.put(job)

    def _wait(self, piece: Piece) -> None:
        """Waits for a piece that a worker trains, and keeps its results."""
        job = self._jobs.get(piece)
        if job is None or self._crew is None or self._memory is None:
            return
        while job.outcome is None:
            self._crew.hear()
        del self._jobs[piece]
        if job.lost:
            piece.failure = f"{ATTEMPTS} processes died while they trained it"
        if job.outcome is Word.TRAINED:
            slot = job.order.slot
            clients = self._memory.trained[slot, : len(piece.clients)].tolist()
            # A copy each: one of the whole slot would be memory that the system clears first.
            piece.results = {
                client: Trained(row.clone(), self._trainers[client].cost)
                for client, row in zip(clients, self._memory.rows[slot], strict=False)
            }
        self._memory.free.append(job.order.slot)

    def _show(self, memory: _Memory, weights: Tensor, slot: int) -> None:
        """Shows a slot's weights to all processes: the round's, or others that are its own."""
        shared = [
            piece.weights for piece, job in self._jobs.items() if not memory.apart[job.order.slot]
        ]
        # The clients of a process share the tensor that they read, which nobody writes into.
        is_shared = any(other is weights for other in shared)
        if not shared:
            memory.weights.copy_(weights)
        elif not is_shared and not torch.equal(memory.weights, weights):
            memory.others[slot].copy_(weights)
            memory.apart[slot] = True
            return
        memory.apart[slot] = False

    def _train(self, order: Order) -> bool:
        """Trains a piece in a worker; False where this must be done in the parent."""
        if self._memory is None:
            return False
        rows, trained = self._memory.rows[order.slot], self._memory.trained[order.slot]
        members = self._memory.members[order.slot].tolist()
        clients = [client for client in members if client != _NOBODY]
        try:
            # A copy: a trainer that wrote into it would change everybody's model.
            apart = bool(self._memory.apart[order.slot])
            weights = self._memory.others[order.slot] if apart else self._memory.weights
            piece = Piece(weights.clone(), order.round, clients)
            results = self._stack.fit(piece, rows)
            sys.stdout.flush()  # the words of a user's model, as no other exit writes them
        except BaseException:
            # The parent tries again, and meets the exception itself, with its own traceback.
            return False
        for place, (client, (delta, spent)) in enumerate(results.items()):
            is_usual = delta.dtype == torch.float32 and delta.shape == (self._d,)
            if spent != self._trainers[client].cost or not is_usual:
                return False
            # A stack has written its changes there itself.
            if delta.data_ptr() != rows[place].data_ptr():
                rows[place].copy_(delta)
            trained[place] = client
        return True
