"""A network that is narrow in the middle."""

from torch import nn

from securefl.data import Task


def bottleneck(task: Task, *, width: int = 2) -> nn.Module:
    """Returns two linear layers with a few numbers between them.

    Args:
        task: gives the widths of the first and the last layer.
        width: how many numbers.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(task.features, width),
        nn.Tanh(),
        nn.Linear(width, task.outputs),
    )
