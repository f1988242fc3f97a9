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
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.errors import ClientFailure
from securefl.federation.crew import ATTEMPTS, Crew, Job, Steps
from securefl.federation.fork import Order, Word
from securefl.learning.plan import unseen
from securefl.learning.protocol import Trained, Trainer
from securefl.privacy.events import SampledGaussian

CLIENTS_AHEAD_A_WORKER = 4  # so that a worker has something to choose from
_FLOAT_BYTES = 4


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
    def cost(self) -> SampledGaussian | None:
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
        rows: (slots, d), an update each.
        free: the slots that no training uses.
    """

    weights: Tensor
    rows: Tensor
    free: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, d: int, slots: int) -> "_Memory":
        """Maps memory that has no name, so that a killed process leaves nothing behind."""
        shared = mmap.mmap(-1, _FLOAT_BYTES * d * (slots + 1))
        table = torch.frombuffer(shared, dtype=torch.float32).view(slots + 1, d)
        return cls(table[0], table[1:], list(range(slots)))


class _Begun(NamedTuple):
    """A training that nobody has collected, and the weights that it was asked for with."""

    job: Job
    weights: Tensor


class Workers:
    """Trains clients in forked processes.

    Guarantees:
        - The updates, and their order, are those of one process, bit for bit. Noise from the system
          is keyed where it is drawn: no two trainings share any.
        - At most `ahead` updates are held, whatever the size of a cohort.
        - A training that fails in a worker is repeated in this process, which raises what it
          raises. So is one that a worker cannot do: on another model than the rest of the round,
          or with an update that is not float32.
        - A worker that dies is replaced, and its client tried once more. Then the client is absent.
        - No process outlives this one, however it ends.

    Of the trainings that wait, the longest starts first. When a training begins and ends depends on
    the clients' records, as any timing does. A deployment has one client a process.

    Args:
        trainers: client -> its training.
        d: coordinates of the model.
        count: processes, >= 1, and no more than clients; with one, this process trains.
        lengths: client -> how long its training takes, in any unit.
        steps: gets the local steps, a few times a second at most; the trainers report to it.
    """

    def __init__(
        self,
        trainers: Mapping[int, Trainer],
        *,
        d: int,
        count: int,
        lengths: Mapping[int, int],
        steps: Steps | None = None,
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
        self._begun: dict[int, _Begun] = {}  # by client
        self._closed = False

    @property
    def trainers(self) -> Mapping[int, Trainer]:
        """Client -> its training, as the federation gets it."""
        if self._count == 1:
            return self._trainers
        return {
            client: PooledTrainer(trainer, client, self)
            for client, trainer in self._trainers.items()
        }

    @property
    def ahead(self) -> int:
        """The number of clients that may be training at once, or wait to submit."""
        return 1 if self._count == 1 else CLIENTS_AHEAD_A_WORKER * self._count

    def begin(self, client: int, weights: Tensor, *, round: int) -> None:
        """Hands a training to the workers, where they can take it."""
        self.collect(client, weights, round=round)  # an earlier one, which ends here
        if self._closed:
            return
        memory = self._memory = self._memory or _Memory.of(self._d, self.ahead)
        if not memory.free or not self._share(memory, weights):
            return
        # Forked with the first training, when all that a worker inherits is there.
        crew = self._crew = self._crew or Crew(self._count, self._train, self._steps)
        job = Job(Order(client, round, memory.free.pop()), self._lengths[client])
        self._begun[client] = _Begun(job, weights)
        crew.put(job)

    def collect(self, client: int, weights: Tensor, *, round: int) -> Trained | None:
        """Waits for the training that began with these arguments; None if no worker did it.

        Raises:
            ClientFailure: the processes that trained it died.
        """
        if client not in self._begun or self._crew is None or self._memory is None:
            return None
        job, begun_with = self._begun[client]
        while job.outcome is None:
            self._crew.hear()
        del self._begun[client]
        self._memory.free.append(job.order.slot)
        if begun_with is not weights or job.order.round != round:
            return None
        if job.lost:
            raise ClientFailure(f"{ATTEMPTS} processes died while they trained it")
        if job.outcome is Word.REFUSED:
            return None
        return Trained(self._memory.rows[job.order.slot].clone(), self._trainers[client].cost)

    def close(self) -> None:
        """Ends the processes; what is asked for later is trained here."""
        self._closed = True
        if self._crew is not None:
            self._crew.close()

    def _share(self, memory: _Memory, weights: Tensor) -> bool:
        """Whether all processes see these weights, which they do if nobody trains on others."""
        # The clients of a process share the tensor that they read, which nobody writes into.
        if any(begun.weights is weights for begun in self._begun.values()):
            return True
        if self._begun:
            return torch.equal(memory.weights, weights)
        memory.weights.copy_(weights)
        return True

    def _train(self, order: Order) -> bool:
        """Trains a client in a worker; False where this must be done in the parent."""
        if self._memory is None:
            return False
        trainer = self._trainers[order.client]
        try:
            # A copy: a trainer that wrote into it would change everybody's model.
            delta, spent = trainer.fit(self._memory.weights.clone(), round=order.round)
            sys.stdout.flush()  # the words of a user's model, as no other exit writes them
        except BaseException:
            # The parent tries again, and meets the exception itself, with its own traceback.
            return False
        if spent != trainer.cost or delta.dtype != torch.float32 or delta.shape != (self._d,):
            return False
        self._memory.rows[order.slot].copy_(delta)
        return True
