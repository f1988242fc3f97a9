"""Faults planted in DP-SGD, to see whether an audit finds them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import torch

from securefl.privacy.noise import hardened_normal
from securefl.training.dp_sgd import KeystreamDPOptimizer

Fault = Callable[[KeystreamDPOptimizer], None]


def _noise(factor: float) -> Fault:
    """Noise of the wrong size."""

    def add_noise(self: KeystreamDPOptimizer) -> None:
        scale = factor * self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            noise = torch.from_numpy(hardened_normal(p.numel(), self.stream)).view_as(p)
            p.grad = (p.summed_grad.double() + scale * noise).to(p.dtype)
        self.noised_steps += 1

    return add_noise


def _unclipped(self: KeystreamDPOptimizer) -> None:
    """Sums gradients of any length."""
    for p in self.params:
        p.summed_grad = p.grad_sample.sum(dim=0)


FAULTS: Mapping[str, tuple[str, Fault]] = {
    "noise halved": ("add_noise", _noise(0.5)),
    "noise x .1": ("add_noise", _noise(0.1)),
    "noise 7 % too small": ("add_noise", _noise(0.93)),
    "clip skipped": ("clip_and_accumulate", _unclipped),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """DP-SGD with this fault, as long as the block lasts; "" for none."""
    if not name:
        yield
        return
    method, fault = FAULTS[name]
    with patch.object(KeystreamDPOptimizer, method, fault):
        yield
