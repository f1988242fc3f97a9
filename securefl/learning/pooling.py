"""Max-pooling of images forwards in the layout in which torch has a fast one: channels last.

with fast(usual_pools(model)):
    model(images)  # the same numbers, bit for bit
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd import Function


class FastMaxPool2d(nn.MaxPool2d):
    """Pools batches with channels first as nn.MaxPool2d does, in less than half of the time."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the maxima; what lies in another layout is left to torch."""
        if x.dim() != 4 or not x.is_contiguous() or x.device.type != "cpu":
            plain: Tensor = super().forward(x)
            return plain
        options = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        pooled: Tensor = _Pooling.apply(x, options)  # type: ignore[no-untyped-call]
        return pooled


class _Pooling(Function):
    """Finds the maxima channels last, and sends gradients back channels first.

    Forwards, torch goes through a batch with channels first one number at a time. Backwards, it
    does not mind, and what comes before meets no mixture of layouts.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, options: tuple[Any, ...]) -> Tensor:
        last = x.contiguous(memory_format=torch.channels_last)
        pooled, places = torch.ops.aten.max_pool2d_with_indices(last, *options)
        ctx.save_for_backward(x, places)
        ctx.options = options
        return pooled.contiguous()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, places = ctx.saved_tensors
        pulled: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient.contiguous(), x, *ctx.options, places
        )
        return pulled, None


def make_fast(pool: nn.MaxPool2d) -> None:
    """Turns a usual pool into a fast one, which keeps all that a user gave it."""
    pool.__class__ = FastMaxPool2d


@contextmanager
def fast(pools: Sequence[nn.MaxPool2d]) -> Iterator[None]:
    """Makes usual pools fast while the context lasts.

    They change in place: the functions that a user's model holds may know no copy of it.
    """
    for pool in pools:
        make_fast(pool)
    try:
        yield
    finally:
        for pool in pools:
            pool.__class__ = nn.MaxPool2d


def usual_pools(module: nn.Module) -> list[nn.MaxPool2d]:
    """Returns the pools of a model that can be made fast.

    None lies in a module with parameters of its own: Opacus may train that through functions that
    know no pooling but torch's.
    """
    if list(module.parameters(recurse=False)):
        return []
    pools: list[nn.MaxPool2d] = []
    for child in module.children():
        pools += [child] if is_usual_pool(child) else usual_pools(child)
    return pools


def is_usual_pool(module: nn.Module) -> TypeGuard[nn.MaxPool2d]:
    """Whether a module is torch's own max-pooling, without hooks, and returns no places."""
    if type(module) is not nn.MaxPool2d or module.return_indices or "forward" in vars(module):
        return False
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks)
