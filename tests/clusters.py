"""A cluster that is this process: a task is the generator that a node would run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from securefl.runs.cluster import node
from securefl.runs.cluster.remote import TaskLost
from tests.workers import forked_workers


class Here:
    """The cluster, and what it was asked."""

    def __init__(self) -> None:
        self.orders: list[bytes] = []
        self.stopped: list[Any] = []

    def begin(self, order: bytes) -> Any:
        self.orders.append(order)
        return node.work(order)

    def speaking(self, tasks: Sequence[Any], patience: float) -> Sequence[Any]:
        return tasks

    def message(self, task: Any) -> object:
        try:
            return next(task)
        except StopIteration:
            raise TaskLost("it ended without an answer") from None

    def stop(self, tasks: Sequence[Any]) -> None:
        for task in tasks:
            self.stopped.append(task)
            task.close()


@contextmanager
def workers_of_nodes() -> Iterator[None]:
    """Lets nodes fork their workers, and ends what they keep for the next task."""
    with forked_workers():
        yield
        for server in node._servers.values():
            server.close()
        node._servers.clear()
