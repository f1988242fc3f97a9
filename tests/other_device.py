"""A device that is not there: its tensors compute on the CPU, and meet none of the CPU.

    with other_device():
        model.to(OTHER)
        model(features)          # RuntimeError: two devices
        model(features.to(OTHER))

It finds a tensor that somebody forgot to move as a GPU would, and gives the numbers of the CPU bit
for bit. torch takes it for its device "meta", which it runs in the same threads as the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

OTHER = torch.device("meta")
CPU = torch.device("cpu")
# The only operations that a GPU lets tensors of two devices enter.
_COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class Elsewhere(Tensor):
    """A tensor on the other device.

    Attributes:
        here: the same numbers on the CPU.
    """

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Elsewhere":
        made: Elsewhere = Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=OTHER,
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Catches what makes tensors on a device, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


@contextmanager
def other_device() -> Iterator[None]:
    """Gives this process another device while the context lasts."""
    with _Mode():  # type: ignore[no-untyped-call]
        yield


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Returns what an operation gives, on the device on which torch would leave it."""
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    away = [x for x in tensors if isinstance(x, Elsewhere)]
    here = [x for x in tensors if not isinstance(x, Elsewhere) and x.dim()]
    if away and here and func not in _COPIES:
        raise RuntimeError(f"{func}: tensors on two devices")
    device = kwargs.get("device")
    is_away = bool(away) if device is None else torch.device(device) == OTHER
    if func is torch.ops.aten.copy_.default:
        is_away = isinstance(args[0], Elsewhere)
    if "device" in kwargs:
        kwargs = {**kwargs, "device": CPU}
    inner = pytree.tree_map(lambda x: x.here if isinstance(x, Elsewhere) else x, (args, kwargs))
    result = func(*inner[0], **inner[1])
    if not is_away:
        return result
    wrapped = pytree.tree_map(lambda x: Elsewhere(x) if isinstance(x, Tensor) else x, result)
    if not away:
        return wrapped
    return return_and_correct_aliasing(  # type: ignore[no-untyped-call]
        func, args, kwargs, wrapped
    )
