"""Records from gradients and updates: DLG, and Inverting Gradients with the client's local steps played again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from attacks.records import check_finite

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (n, outputs) and labels -> the mean over records
_DENORMAL = 1e-40  # of float32
_FALLS = (3, 5, 7)  # eighths of the iterations after which the step is a tenth of what it was
_HISTORY, _INNER = 100, 20  # of L-BFGS
_NEAR = 0.1  # deviation of what DLG starts from


@dataclass(frozen=True)
class LocalSteps:
    """How a client trains: epochs of SGD over its records, in batches and in the order in which they are given.

    Args:
        lr: learning rate, > 0.
        batch: records a step, >= 1; None for all of them.
        epochs: >= 1.
    """

    lr: float
    batch: int | None = None
    epochs: int = 1

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be > 0, got {self.lr}")
        if (self.batch is not None and self.batch < 1) or self.epochs < 1:
            raise ValueError(f"batch and epochs must be >= 1, got {self.batch} and {self.epochs}")

    def count(self, records: int) -> int:
        """How many steps that makes."""
        return self.epochs * -(-records // (self.batch or records))


ONE_STEP = LocalSteps(lr=1.0)  # an update of which is minus the gradient


class Inverted(NamedTuple):
    """What an attack took for the records (n, *shape), and how far their update is from the observed one.

    distance: 1 - cosine (Inverting Gradients), or the squared distance over the squared length (DLG).
    """

    records: Tensor
    distance: float


def local_update(
    model: nn.Module, loss: Loss, records: Tensor, labels: Tensor, *, local: LocalSteps
) -> Tensor:
    """The change (d,) that a client's local steps make to the model's trainable parameters, differentiable in records.

    Args:
        model: the global model; it is not changed.
        loss: mean over a batch, of logits and labels.
        records: (n, ...), as the model reads them.
        labels: (n,).
        local: how the client trains.
    """
    start = {
        name: p.detach().requires_grad_() for name, p in model.named_parameters() if p.requires_grad
    }
    here, batch = start, local.batch or len(records)
    for _ in range(local.epochs):
        for part, given in zip(
            torch.split(records, batch), torch.split(labels, batch), strict=True
        ):
            value = loss(functional_call(model, here, (part,)), given)
            slopes = torch.autograd.grad(value, list(here.values()), create_graph=True)
            here = {
                name: p - local.lr * slope
                for (name, p), slope in zip(here.items(), slopes, strict=True)
            }
    return torch.cat([(here[name] - start[name]).reshape(-1) for name in start])


def inverting_gradients(
    model: nn.Module,
    loss: Loss,
    update: Tensor,
    labels: Tensor,
    *,
    shape: tuple[int, ...],
    bounds: tuple[float, float],
    generator: torch.Generator,
    local: LocalSteps = ONE_STEP,
    iterations: int = 800,
    lr: float = 0.1,
    total_variation: float = 0.01,
) -> Inverted:
    """The records whose update points where the observed one does.

    Args:
        model: the global model that the client started from.
        loss: mean over a batch, of logits and labels.
        update: (d,) floats, local weights minus global ones up to a factor; minus the gradient under ONE_STEP.
        labels: (n,) of the n records, in their order where steps take several batches.
        shape: of a record as the model reads it; the last two axes are an image's sides.
        bounds: the least and the largest value of a pixel.
        generator: draws what the search starts from.
        local: how the client trained; its steps are played again at every iteration.
        iterations: of Adam on signs of gradients, 8 or more; the step falls tenfold after 3/8, 5/8 and 7/8 of them.
        lr: Adam's first step, in pixels.
        total_variation: what the mean difference of neighbouring pixels counts beside 1 - cosine, >= 0.

    Returns:
        Of all iterations the records of the least objective.

    Raises:
        ValueError: an update that has not the model's d coordinates, is not finite or zero; no labels, no image, bounds
            in the wrong order, iterations < 8, or records and labels that model and loss do not take.

    Guarantees:
        - An update times any positive factor gives the same answer, up to rounding.

    Source: Geiping, Bauermeister, Droege and Moeller, NeurIPS 2020, section 4 and appendix (signed Adam, decay, box,
        local steps). Convention, ours: 800 iterations and one start, where the paper takes 4,800 and up to 16.
    """
    check_update(model, update)
    if len(shape) < 3 or len(labels) < 1 or not bounds[0] < bounds[1] or iterations < 8:
        raise ValueError(
            "inverting_gradients needs labels, images (channels, ..., side, side), bounds in order and iterations "
            f">= 8, got {len(labels)} labels, shape {shape}, bounds {bounds} and {iterations} iterations"
        )
    _check_read(model, loss, labels, shape, update.dtype)
    low, high = bounds
    wanted = update / update.norm()
    found = (
        torch.randn(len(labels), *shape, generator=generator, dtype=update.dtype) * (high - low) / 4
    )
    found = (found + (low + high) / 2).requires_grad_()
    adam = torch.optim.Adam([found], lr=lr)
    falls = torch.optim.lr_scheduler.MultiStepLR(
        adam, [iterations * eighths // 8 for eighths in _FALLS], 0.1
    )
    best, least, near = found.detach().clone(), float("inf"), float("inf")
    with quick():
        for _ in range(iterations):
            seen = local_update(model, loss, found, labels, local=local)
            distance = 1 - seen @ wanted / seen.norm()
            objective = distance + total_variation * _total_variation(found)
            (slope,) = torch.autograd.grad(objective, found)
            if (value := float(objective.detach())) < least:
                best, least, near = found.detach().clone(), value, float(distance.detach())
            found.grad = slope.sign()
            adam.step()
            falls.step()
            with torch.no_grad():
                found.clamp_(low, high)
    return Inverted(best, near)


def dlg(
    model: nn.Module,
    loss: Loss,
    update: Tensor,
    labels: Tensor,
    *,
    shape: tuple[int, ...],
    generator: torch.Generator,
    local: LocalSteps = ONE_STEP,
    iterations: int = 100,
) -> Inverted:
    """The records whose update is the observed one, by L-BFGS.

    Args:
        model: the global model; its activations should be smooth.
        loss: mean over a batch, of logits and labels.
        update: (d,) floats, local weights minus global ones; minus the gradient under ONE_STEP.
        labels: (n,) of the n records, which label_of_one and label_counts find.
        shape: of a record as the model reads it.
        generator: draws what the search starts from.
        local: how the client trained.
        iterations: of 20 steps each, >= 1.

    Returns:
        Where the search ended.

    Raises:
        ValueError: an update that has not the model's d coordinates, is not finite or zero, no labels, iterations
            < 1, or records and labels that model and loss do not take.

    Source: Zhu, Liu and Han, NeurIPS 2019, algorithm 1, with labels found beforehand as in iDLG, Zhao, Mopuri and
        Bilen, 2020. Convention, ours: it starts at a tenth of their standard normal values, from where it goes less
        often to the saturated end of the loss, and distances are in the update's length.
    """
    check_update(model, update)
    if len(labels) < 1 or iterations < 1:
        raise ValueError(
            f"dlg needs labels and iterations >= 1, got {len(labels)} and {iterations}"
        )
    _check_read(model, loss, labels, shape, update.dtype)
    found = torch.randn(len(labels), *shape, generator=generator, dtype=update.dtype)
    found = (_NEAR * found).requires_grad_()
    lbfgs = torch.optim.LBFGS(
        [found], max_iter=_INNER, history_size=_HISTORY, line_search_fn="strong_wolfe"
    )

    def distance() -> Tensor:
        seen = local_update(model, loss, found, labels, local=local)
        return (seen - update).square().sum() / update.square().sum()

    def closure() -> float:
        value = distance()
        (found.grad,) = torch.autograd.grad(value, found)
        return float(value.detach())

    with quick():
        for _ in range(iterations):
            lbfgs.step(closure)  # type: ignore[no-untyped-call]
    return Inverted(found.detach(), float(distance().detach()))


def check_update(model: nn.Module, update: Tensor) -> None:
    """Raise ValueError unless update is finite, not zero, and has the model's d coordinates."""
    check_finite("update", update, (sum(p.numel() for p in model.parameters() if p.requires_grad),))
    if not bool((update != 0).any()):
        raise ValueError("update must not be zero: no direction can be followed")


def _check_read(
    model: nn.Module, loss: Loss, labels: Tensor, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Raise ValueError unless model and loss take records of this shape with these labels."""
    try:
        with torch.no_grad():
            loss(model(torch.zeros(len(labels), *shape, dtype=dtype)), labels)
    except (RuntimeError, IndexError, ValueError) as reason:
        told = str(reason).splitlines()[0]
        raise ValueError(
            f"model and loss take no {len(labels)} records of shape {shape} with these labels: {told}"
        ) from None


@contextmanager
def quick() -> Iterator[None]:
    """One thread and no denormal numbers, in which searches by small steps otherwise drown; both are put back."""
    threads, flushed = torch.get_num_threads(), float(torch.tensor(_DENORMAL) * 1) == 0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def _total_variation(images: Tensor) -> Tensor:
    """The mean difference of vertical neighbours plus that of horizontal ones."""
    down, across = images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]
    return down.abs().mean() + across.abs().mean()
