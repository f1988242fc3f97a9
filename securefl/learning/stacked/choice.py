"""Which trainings can be stacked, and how many clients make a stack."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from securefl import vector
from securefl.data.task import Examples
from securefl.learning.adapt import batch_norms
from securefl.learning.device import CPU
from securefl.learning.options import random_layers
from securefl.learning.plan import LocalTraining, unseen
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.network import unstackable_layer
from securefl.learning.stacked.sgd import StackedSgd
from securefl.learning.synthetic import EXTREMES, synthetic
from securefl.rng import seeded_keystream

# Measured: of the numbers of one step of a stack, and of its clients. Above, one client at a time
# is as fast, or more clients save no more calls.
STEP_BYTES = 2**26
MIN_CLIENTS, MAX_CLIENTS = 4, 64
# Stacks of a round, for workers to share, where each has so many clients.
SHARED = ((4, 16), (2, MIN_CLIENTS))
TRIED_CLIENTS = 3
EXTREME_CLIENT = 1  # of them
# Of the largest change. In float64, rounding is far below it.
TOLERANCE = 1e-6
FLOAT32_TOLERANCE = 1e-3
SPREAD = 0.1  # of noise on the tried weights: a layer of zeros would hide those before it
# What a model may raise that is not made for a batch of several clients.
_FAULTS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)


def unstackable(local: LocalTraining) -> str | None:
    """Returns why clients cannot train as a stack, as part of a sentence; None where they can.

    The model is tried on synthetic records: a stack must change it as one client at a time does.
    Clients whose gradients an adversary bends never join a stack, and are no reason.
    """
    options, model = local.options, local.model
    if not options.linear:
        return "its steps are not those of plain SGD"
    if options.physical_batch is not None:
        return "batches are cut into physical ones"
    for layer in batch_norms(model):
        return f"layer {layer!r} is a batch norm, which mixes the records of a batch"
    if vector.statistics(model).size:
        return "the model has buffers that are part of an update"
    return unstackable_layer(model) or _failed_trial(local)


def stack_size(local: LocalTraining, *, cohort: int) -> int:
    """Returns how many clients to stack where that pays; 1 where it does not.

    It pays for small models and batches, of which calls take longer than the arithmetic. The size
    depends on public constants, and neither on a machine nor on the number of workers.

    Args:
        local: a training for which `unstackable` has no reason.
        cohort: clients of a round.
    """
    batch = local.batch
    if local.plans:
        batch = max(plan.batch for plan in local.plans.values())
    numbers = vector.size(local.model) + batch * _activations(local)
    size = min(MAX_CLIENTS, cohort, STEP_BYTES // (4 * numbers))
    for stacks, least in SHARED:
        if cohort >= stacks * least:
            size = min(size, -(-cohort // stacks))
            break
    return size if size >= MIN_CLIENTS else 1


def _activations(local: LocalTraining) -> int:
    """Returns the numbers that one record becomes on its way through the model's layers."""
    model = copy.deepcopy(local.model).cpu()
    sizes: list[int] = []
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _, __, output: sizes.append(output.numel()))
    record = synthetic(local.task, 1, seed=0)
    with torch.no_grad():
        model(local.task.inputs(record.features))
    return local.task.features + int(sum(sizes))


def _failed_trial(local: LocalTraining) -> str | None:
    """Returns in which way a stack of synthetic clients fails; None where it does not."""
    try:
        stacked, alone = _changes(local, torch.float64)
        tolerance = TOLERANCE
    except _FAULTS:
        # Some models take no other numbers than float32.
        try:
            stacked, alone = _changes(local, torch.float32)
        except _FAULTS as reason:
            return f"the model fails in a stack: {' '.join(str(reason).split())}"
        tolerance = FLOAT32_TOLERANCE
    # Written so that NaN differs from everything.
    if not bool((stacked - alone).abs().max() <= tolerance * alone.abs().max()):
        return "the model treats a record otherwise among records of other clients"
    return None


def _changes(local: LocalTraining, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns the changes (n, d) that stacks make, and those of one client at a time.

    The first stack is of usual records. In the others one client has extreme ones, and its own
    change is left out.

    Raises:
        RuntimeError: the model has random layers, or its copies train the model itself.
    """
    local.model.zero_grad()
    tried = _synthetic(local, dtype)
    weights = vector.to_vector(tried.model)
    generator = seeded_keystream(0, "shake").torch_generator()
    weights += SPREAD * torch.randn(weights.shape, generator=generator, dtype=dtype)
    with _no_draws():
        together = StackedSgd(tried).fit_many(weights, range(TRIED_CLIENTS), round=0)
    trainers = sgd_trainers(tried)
    alone = [trainers[client].fit(weights, round=0).delta for client in range(TRIED_CLIENTS)]
    if any(p.grad is not None for p in local.model.parameters()):
        raise RuntimeError("it holds functions of itself, which a copy of it does not replace")
    stacked = [together[client].delta for client in range(TRIED_CLIENTS)]
    for scale in EXTREMES:
        with suppress(*_FAULTS):  # as alone: a stack then fails, and mixes nothing
            together = _with_extreme(tried, scale).fit_many(weights, range(TRIED_CLIENTS), round=0)
            for client in set(range(TRIED_CLIENTS)) - {EXTREME_CLIENT}:
                stacked.append(together[client].delta)
                alone.append(alone[client])
    return torch.stack(stacked), torch.stack(alone)


def _with_extreme(tried: LocalTraining, scale: float) -> StackedSgd:
    """Returns the stacked training where one client's features are as large as the scale."""
    features, labels = tried.examples[EXTREME_CLIENT]
    extreme = Examples(features * scale, labels)
    return StackedSgd(replace(tried, examples={**tried.examples, EXTREME_CLIENT: extreme}))


def _synthetic(local: LocalTraining, dtype: torch.dtype) -> LocalTraining:
    """Returns the same training of a copy of the model on a few records that nobody owns."""
    # A full batch and a short one; one step less; one record.
    sizes = (2 * local.batch - 1, local.batch, 1)
    examples = {}
    for client, size in enumerate(sizes):
        records = synthetic(local.task, size, seed=client)
        labels = records.labels
        is_real = labels.is_floating_point()
        examples[client] = Examples(
            records.features.to(dtype), labels.to(dtype) if is_real else labels
        )
    return replace(
        local,
        model=copy.deepcopy(local.model).to(CPU, dtype),
        examples=examples,
        epochs=1,
        stream_for=partial(seeded_keystream, 0),
        plans={},
        bends={},
        on_step=unseen,
    )


@contextmanager
def _no_draws() -> Iterator[None]:
    """Raises RuntimeError where something draws from torch's generator: random layers do."""
    with random_layers(seeded_keystream(0, "dropout")):
        before = torch.random.get_rng_state()
        yield
        if not torch.equal(before, torch.random.get_rng_state()):
            raise RuntimeError("it has random layers")
