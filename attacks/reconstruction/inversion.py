"""Records from updates, by search: DLG, and Inverting Gradients with the client's local steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.checks import check_finite
from attacks.reconstruction.local_steps import ONE_STEP, LocalSteps, Loss, local_update

_FALL_AFTER_EIGHTHS = (3, 5, 7)  # of the iterations; then Adam's step is divided by ten
_MIN_ITERATIONS = 8  # so that these falls come at different iterations
_LBFGS_STEPS_PER_ITERATION = 20
_LBFGS_HISTORY = 100  # past steps that approximate the Hessian
_DLG_START_DEVIATION = 0.1
_DENORMAL = 1e-40  # in float32


class Inverted(NamedTuple):
    """Reconstructed records, and how far their update is from the observed one.

    The distance is 1 - cosine for Inverting Gradients; for DLG it is the squared distance over the
    squared length.
    """

    records: Tensor  # (n, *shape)
    distance: float


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
    """Searches for images whose update points in the direction of the observed one.

    Args:
        model: the global model that the client started from.
        loss: mean over a batch, of logits and labels.
        update: (d,) floats, local weights minus global ones up to a factor; minus the gradient
            under ONE_STEP.
        labels: (n,) of the n records, in their order where steps take several batches.
        shape: of a record as the model reads it; the last two axes are an image's sides.
        bounds: the least and the largest value of a pixel.
        generator: draws the start of the search.
        local: how the client trained; every iteration repeats its steps.
        iterations: of Adam on signs of gradients, 8 or more; the step is divided by ten after 3/8,
            5/8 and 7/8 of them.
        lr: Adam's first step, in pixel values.
        total_variation: weight of the mean difference between neighbouring pixels, against a weight
            of 1 for 1 - cosine; >= 0.

    Returns:
        The records with the least objective over all iterations.

    Raises:
        ValueError: an update without the model's d coordinates, not finite or zero; no labels, no
            image, bounds in the wrong order, iterations < 8; or records and labels that model and
            loss do not accept.

    Guarantees:
        - Multiplying the update by a positive factor gives the same answer, up to rounding.

    Source: Geiping, Bauermeister, Droege and Moeller, NeurIPS 2020, section 4 and appendix (signed
        Adam, decay, box, local steps). Convention, ours: 800 iterations and one start, where the
        paper takes 4,800 iterations and up to 16 starts.
    """
    check_update(model, update)
    low, high = bounds
    is_image = len(shape) >= 3
    in_order = low < high
    if not (is_image and len(labels) and in_order and iterations >= _MIN_ITERATIONS):
        raise ValueError(
            "inverting_gradients needs labels, images (channels, ..., side, side), bounds in order "
            f"and iterations >= {_MIN_ITERATIONS}, got {len(labels)} labels, shape {shape}, "
            f"bounds {bounds} and {iterations} iterations"
        )
    _check_read(model, loss, labels, shape, update.dtype)
    direction = update / update.norm()
    noise = torch.randn(len(labels), *shape, generator=generator, dtype=update.dtype)
    middle = (low + high) / 2
    candidate = (noise * (high - low) / 4 + middle).requires_grad_()
    adam = torch.optim.Adam([candidate], lr=lr)
    milestones = [iterations * eighths // 8 for eighths in _FALL_AFTER_EIGHTHS]
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, milestones, 0.1)
    best = Inverted(candidate.detach().clone(), float("inf"))
    least = float("inf")
    with quick():
        for _ in range(iterations):
            guess = local_update(model, loss, candidate, labels, local=local)
            distance = 1 - guess @ direction / guess.norm()
            objective = distance + total_variation * _total_variation(candidate)
            (gradient,) = torch.autograd.grad(objective, candidate)
            value = float(objective.detach())
            if value < least:
                least = value
                best = Inverted(candidate.detach().clone(), float(distance.detach()))
            # The paper's "signed Adam": only signs, because sizes vary wildly between pixels.
            candidate.grad = gradient.sign()
            adam.step()
            schedule.step()
            with torch.no_grad():
                candidate.clamp_(low, high)
    return best


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
    """Searches by L-BFGS for records whose update equals the observed one.

    Args:
        model: the global model; its activations should be smooth.
        loss: mean over a batch, of logits and labels.
        update: (d,) floats, local weights minus global ones; minus the gradient under ONE_STEP.
        labels: (n,) of the n records, as label_of_one and label_counts infer them.
        shape: of a record as the model reads it.
        generator: draws the start of the search.
        local: how the client trained.
        iterations: of 20 steps each, >= 1.

    Returns:
        Where the search ended.

    Raises:
        ValueError: an update without the model's d coordinates, not finite or zero; no labels;
            iterations < 1; or records and labels that model and loss do not accept.

    Source: Zhu, Liu and Han, NeurIPS 2019, algorithm 1, with labels inferred beforehand as in iDLG,
        Zhao, Mopuri and Bilen, 2020. Conventions, ours: the search starts at a tenth of their
        standard normal values, from where it ends less often in the loss's saturated region.
        Distances are relative to the update's length.
    """
    check_update(model, update)
    if len(labels) < 1 or iterations < 1:
        raise ValueError(
            f"dlg needs labels and iterations >= 1, got {len(labels)} and {iterations}"
        )
    _check_read(model, loss, labels, shape, update.dtype)
    noise = torch.randn(len(labels), *shape, generator=generator, dtype=update.dtype)
    candidate = (_DLG_START_DEVIATION * noise).requires_grad_()
    lbfgs = torch.optim.LBFGS(
        [candidate],
        max_iter=_LBFGS_STEPS_PER_ITERATION,
        history_size=_LBFGS_HISTORY,
        line_search_fn="strong_wolfe",
    )

    def distance() -> Tensor:
        guess = local_update(model, loss, candidate, labels, local=local)
        return (guess - update).square().sum() / update.square().sum()

    def closure() -> float:
        value = distance()
        (candidate.grad,) = torch.autograd.grad(value, candidate)
        return float(value.detach())

    with quick():
        for _ in range(iterations):
            lbfgs.step(closure)  # type: ignore[no-untyped-call]
    return Inverted(candidate.detach(), float(distance().detach()))


def check_update(model: nn.Module, update: Tensor) -> None:
    """Raises ValueError unless `update` is finite, not zero, and has the model's d coordinates."""
    d = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    check_finite("update", update, (d,))
    if not bool((update != 0).any()):
        raise ValueError("update must not be zero: no direction can be followed")


def _check_read(
    model: nn.Module,
    loss: Loss,
    labels: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> None:
    """Raises ValueError unless model and loss accept records of this shape with these labels."""
    try:
        with torch.no_grad():
            zeros = torch.zeros(len(labels), *shape, dtype=dtype)
            loss(model(zeros), labels)
    except (RuntimeError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"model and loss take no {len(labels)} records of shape {shape} "
            f"with these labels: {reason}"
        ) from None


@contextmanager
def quick() -> Iterator[None]:
    """Runs a search on one thread, without denormal numbers; restores both settings afterwards.

    These searches take many small steps. Both settings would otherwise take most of their time.
    """
    threads = torch.get_num_threads()
    flushed = float(torch.tensor(_DENORMAL) * 1) == 0  # torch has no getter for this setting
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def _total_variation(images: Tensor) -> Tensor:
    """Returns the mean difference of vertical neighbours plus that of horizontal neighbours."""
    vertical = images[..., 1:, :] - images[..., :-1, :]
    horizontal = images[..., 1:] - images[..., :-1]
    return vertical.abs().mean() + horizontal.abs().mean()
