"""Where the cells of a study run: in processes of this machine, or on a Ray cluster."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from securefl.errors import ScenarioError
from securefl.runs.threads import cpus

if TYPE_CHECKING:  # `securefl --help` names the engines, and need not load them
    from securefl.runs.pool import Event, Job


class EngineName(StrEnum):
    """The engines, as a user names them."""

    LOCAL = "local"
    RAY = "ray"


class Play(Protocol):
    """Runs jobs and yields what happens; closing the iterator ends everything it started."""

    def __call__(
        self, jobs: "Iterable[Job]", /, *, workers: int, limit: float
    ) -> "Generator[Event, None, None]":
        """Runs at most `workers` cells at once, each for at most `limit` seconds."""


class Engine(NamedTuple):
    """A place for cells.

    Attributes:
        play: runs them.
        cpus: how many run at once by default.
    """

    play: Play
    cpus: int


@contextmanager
def engine(name: EngineName, address: str | None, jobs: int | None) -> Iterator[Engine]:
    """Gives an engine as long as the context lasts.

    Args:
        name: which one.
        address: of a cluster; None starts one on this machine, where the engine is Ray.
        jobs: cells at once; None for the engine's CPUs.

    Raises:
        ScenarioError: the engine is not installed, or there is no cluster at the address.
    """
    if name is EngineName.LOCAL:
        if address is not None:
            raise ScenarioError("--address is that of a cluster: add --engine ray")
        from securefl.runs import pool

        yield Engine(pool.play, cpus())
        return
    # Only here: a study on this machine needs no Ray, and importing it takes a second.
    from securefl.runs.cluster import ray, remote

    with ray.connected(address, jobs) as cluster:
        yield Engine(partial(remote.play, cluster=cluster), cluster.cpus)
