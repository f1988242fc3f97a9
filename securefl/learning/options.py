"""How local steps are taken: optimizer, schedule, class weights, physical batches."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from securefl.data.task import Task
from securefl.data.unlike_labels import partial_loss
from securefl.learning.descent import GradientDescent, Steps
from securefl.learning.device import CPU
from securefl.rng import Keystream

# parameters, learning rate -> an optimizer that has seen no gradient yet
MakeOptimizer = Callable[[Iterable[nn.Parameter], float], Steps]
# round -> factor of the learning rate
Schedule = Callable[[int], float]
# logits (n, outputs), labels -> the mean loss over n records
Loss = Callable[[Tensor, Tensor], Tensor]


def sgd(
    parameters: Iterable[nn.Parameter],
    lr: float,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> Steps:
    """Moves against the gradient, or against its running sum with momentum.

    Source: torch.optim.SGD: v <- momentum v + gradient + weight_decay w, w <- w - lr v.
    """
    if momentum == weight_decay == 0:
        return GradientDescent(parameters, lr=lr)
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)


def adam(parameters: Iterable[nn.Parameter], lr: float, *, weight_decay: float = 0.0) -> Optimizer:
    """Scales the running mean of each coordinate's gradient by the root of its mean square.

    Source: Kingma and Ba, ICLR 2015, algorithm 1, with its constants .9, .999 and 1e-8.
    """
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)


def adamw(parameters: Iterable[nn.Parameter], lr: float, *, weight_decay: float) -> Optimizer:
    """Moves as Adam does, and shrinks the weights apart from the gradient.

    Source: Loshchilov and Hutter, ICLR 2019, algorithm 2; the decay is lr x weight_decay a step.
    """
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def constant(round: int) -> float:
    """Keeps the learning rate."""
    return 1.0


def cosine(round: int, *, rounds: int) -> float:
    """Lowers the learning rate over all rounds along half a cosine, from 1 towards 0.

    Source: Loshchilov and Hutter, ICLR 2017, equation 5, without restarts.
    """
    return (1 + math.cos(math.pi * round / rounds)) / 2


def step(
    round: int,
    *,
    step_factor: float,
    step_every: int | None = None,
    step_at: tuple[int, ...] | None = None,
) -> float:
    """Multiplies the learning rate by step_factor at some rounds.

    Args:
        round: from 0.
        step_factor: of every step.
        step_every: a step each time so many rounds are over.
        step_at: a step once so many rounds are over, for each entry. One of the two is given.
    """
    steps = 0
    if step_every is not None:
        steps = round // step_every
    if step_at is not None:
        steps = sum(rounds_over <= round for rounds_over in step_at)
    return step_factor**steps


@dataclass(frozen=True)
class StepOptions:
    """How the steps of local training are taken; nothing here depends on a record.

    Args:
        optimizer: makes the optimizer of one round: its state starts afresh each round.
        schedule: factor of the learning rate in a round.
        class_weights: factor of the loss of records of each class; of the part of the loss that
            rewards naming the class where records have several; None weighs all alike.
        physical_batch: records at most that pass through the model at once, >= 1; None for whole
            batches.
    """

    optimizer: MakeOptimizer = sgd
    schedule: Schedule = constant
    class_weights: tuple[float, ...] | None = None
    physical_batch: int | None = None

    @property
    def linear(self) -> bool:
        """Whether every step moves the weights by the learning rate times minus its gradient."""
        return self.optimizer is sgd

    @property
    def plain(self) -> bool:
        """Whether the gradient of a step is of the task's own loss, and the step linear."""
        return self.linear and self.class_weights is None

    def parts(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """Cuts the records of a step (batch,) into physical batches; one where it is empty."""
        if self.physical_batch is None:
            return (chosen,)
        return torch.split(chosen, self.physical_batch)

    def loss(self, task: Task) -> Loss:
        """Returns the loss that training lowers."""
        if self.class_weights is None:
            return task.loss
        weights = torch.tensor(self.class_weights)
        return lambda logits, labels: weighted_loss(task, weights.to(logits.device), logits, labels)


USUAL = StepOptions()


def weighted_loss(task: Task, weights: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean over records of their losses times the weights of their classes.

    The divisor is the number of records. The sum of their weights, which torch takes, would make
    the gradient of one record depend on the others, and DP-SGD could not bound its influence.

    Args:
        task: a classification, or several labels a record.
        weights: (classes,), > 0.
        logits: (n, outputs).
        labels: (n,), or (n, classes) where a record may have several.
    """
    if task.partial:
        return partial_loss(logits, labels, weights)
    if task.multilabel:
        truth = labels.to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights)
    weights_of_records = weights[labels]  # (n,)
    if task.classes == 2:
        logit = logits.squeeze(1)
        truth = labels.to(logit.dtype)
        return functional.binary_cross_entropy_with_logits(logit, truth, weight=weights_of_records)
    losses = functional.cross_entropy(logits, labels, reduction="none")  # (n,)
    return (weights_of_records * losses).mean()


@contextmanager
def random_layers(stream: Keystream, device: torch.device = CPU) -> Iterator[None]:
    """Lets dropout and other random layers draw from a stream while the context lasts.

    They know only torch's global generators, whose states depend on all that ran before. Both, that
    of the CPU and that of the device, are put back afterwards.
    """
    generator = stream.torch_generator()
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.set_state(generator.get_state())
        if on_gpu:
            torch.cuda.manual_seed(generator.initial_seed())
        yield
