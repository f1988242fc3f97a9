"""Faults planted in DP-SGD and around it, to see whether an audit finds them."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

from benchmarks.experiments import broken_dp
from securefl.learning import dp_sgd
from securefl.learning.dp_sgd import DpSgdTrainer, KeystreamDPOptimizer
from securefl.scenario.assemble import ledgers


class Fault(NamedTuple):
    """A name in a module, and its replacement while the fault is planted."""

    module: ModuleType
    name: str
    replacement: object


def _optimizer(broken: type[KeystreamDPOptimizer]) -> Fault:
    return Fault(dp_sgd, "KeystreamDPOptimizer", broken)


def _trainer(broken: type[DpSgdTrainer]) -> Fault:
    return Fault(dp_sgd, "DpSgdTrainer", broken)


def _batches(broken: object) -> Fault:
    return Fault(dp_sgd, "poisson_batches", broken)


SHARED = "noise shared by all clients"
# In the order of the page: noise, clipping, batches, books. Names are cases in the committed CSV.
FAULTS: Mapping[str, Fault] = {
    "noise halved": _optimizer(broken_dp.scaled_noise(0.5)),
    "noise x .1": _optimizer(broken_dp.scaled_noise(0.1)),
    "noise 7 % too small": _optimizer(broken_dp.scaled_noise(0.93)),
    "same noise in every round": _trainer(broken_dp.SameNoiseTrainer),
    "noise with the other sign every second round": _trainer(broken_dp.FlippedNoiseTrainer),
    "same noise in every step of a round": _optimizer(broken_dp.NoiseOfOneStep),
    "same noise in every tensor": _optimizer(broken_dp.NoiseOfOneTensor),
    SHARED: _trainer(broken_dp.SharedNoiseTrainer),
    "biases without noise": _optimizer(broken_dp.NoiselessBiases),
    "last layer without noise": _optimizer(broken_dp.NoiselessLastLayer),
    "one coordinate without noise": _optimizer(broken_dp.NoiselessCoordinate),
    "noise of two values": _optimizer(broken_dp.BoundedNoise),
    "clip skipped": _optimizer(broken_dp.clipped_to(math.inf)),
    "clip 10 % too long": _optimizer(broken_dp.clipped_to(1.1)),
    "sum clipped, not each example": _optimizer(broken_dp.ClippedSum),
    "each layer clipped by itself": _optimizer(broken_dp.ClippedLayers),
    "divided by the batch that came": _optimizer(broken_dp.DividedByBatch),
    "shuffled batches": _batches(broken_dp.batches_of_shuffled_epochs),
    "one batch for a whole round": _batches(broken_dp.one_batch_again),
    "batches of one size": _batches(broken_dp.batches_of_one_size),
    "sample rate doubled": _batches(broken_dp.batches_of_twice_the_rate),
    "accountant restarted": Fault(ledgers, "Ledger", broken_dp.ForgetfulLedger),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plants this fault in DP-SGD while the block runs; "" plants none.

    The audited code looks these names up when it trains, so that it needs no door for faults.
    """
    if not name:
        yield
        return
    fault = FAULTS[name]
    right = getattr(fault.module, fault.name)
    setattr(fault.module, fault.name, fault.replacement)
    try:
        yield
    finally:
        setattr(fault.module, fault.name, right)
