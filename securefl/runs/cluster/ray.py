"""A Ray cluster as a place for cells: the only file that imports Ray, an extra."""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from securefl.errors import Interrupted, RunFailed, ScenarioError
from securefl.runs.cluster.node import work
from securefl.runs.cluster.remote import TaskLost
from securefl.runs.threads import cpus

NEEDS_RAY = "--engine ray needs Ray: install it with `pip install 'securefl[ray]'`"
HOST_AND_PORT = re.compile(r"(?P<host>[^:/\s]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
SECONDS_TO_CONNECT = 5.0
GRACE_SECONDS = 3.0  # for tasks to clean up after themselves


class RayCluster:
    """The cluster that this process is connected to.

    Attributes:
        cpus: of all its nodes now.
    """

    def __init__(self, ray: Any) -> None:
        self.cpus = int(ray.cluster_resources().get("CPU", 0))
        self._ray = ray
        # A lost task is not tried again by Ray: a second start would be hidden from the user.
        remote = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")
        self._work = remote(work)

    def begin(self, order: bytes) -> Any:
        """Returns a task: the generator of its messages, as Ray knows it."""
        return self._work.remote(order)

    def speaking(self, tasks: Sequence[Any], patience: float) -> Sequence[Any]:
        """Returns the tasks that have a message."""
        waiting = list(tasks)
        with _ctrl_c():
            self._ray.wait(waiting, num_returns=1, timeout=patience, fetch_local=False)
            # Asked again without waiting, so that one talkative task does not hide the others.
            ready, _ = self._ray.wait(
                waiting, num_returns=len(waiting), timeout=0, fetch_local=False
            )
        return list(ready)

    def message(self, task: Any) -> object:
        """Returns the next message. Raises TaskLost, or RunFailed where no node can run our code.

        Ray unpickles it: everybody who reaches a Ray cluster can run code on all of its machines.
        """
        errors = self._ray.exceptions
        try:
            with _ctrl_c():
                return self._ray.get(next(task))
        except StopIteration:
            raise TaskLost("it ended without an answer") from None
        except errors.TaskCancelledError:
            raise TaskLost("it was cancelled") from None
        except errors.RayTaskError as reason:
            *_, last_line = str(reason).strip().splitlines()
            raise RunFailed(
                f"a node of the cluster cannot run this version of securefl ({last_line.strip()}): "
                "install the same versions on every node"
            ) from None
        except errors.RayError as reason:
            # Ray's own sentences name machines, and the reason goes into the run folder.
            raise TaskLost(type(reason).__name__) from None

    def stop(self, tasks: Sequence[Any]) -> None:
        """Ends tasks: politely first, so that they remove their files, then by force."""
        if not tasks:
            return
        # Where the cluster itself is gone, nothing is left to end.
        with suppress(self._ray.exceptions.RayError):
            for task in tasks:
                self._ray.cancel(task, force=False)
            self._drain(tasks)
            for task in tasks:
                self._ray.cancel(task, force=True)

    def _drain(self, tasks: Sequence[Any]) -> None:
        """Waits until tasks have ended, a few seconds at most."""
        completed = [task.completed() for task in tasks]
        self._ray.wait(completed, num_returns=len(completed), timeout=GRACE_SECONDS)


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Turns what Ray makes of Ctrl-C while it waits back into what our handler raised."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


@contextmanager
def connected(address: str | None, jobs: int | None) -> Iterator[RayCluster]:
    """Connects this process to a cluster as long as the context lasts.

    Args:
        address: HOST:PORT of the cluster's head, "auto" for the one on this machine, or None to
            start one of this machine alone, which ends with the context.
        jobs: CPUs of a cluster that is started; those of this machine by default.

    Raises:
        ScenarioError: Ray is not installed, or there is no such cluster.
    """
    ray = _ray()
    options: dict[str, Any] = {"address": address or "local"}
    if address is None:
        options |= {"num_cpus": jobs or cpus(), "include_dashboard": False}
    else:
        _check_address(address)
    try:
        ray.init(**options, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as reason:
        raise ScenarioError(_unreachable(address, str(reason))) from None
    # Ray prints lost tasks between the lines of `--display json`, and has no public switch for it.
    ray._private.worker._worker_logs_enabled = False
    try:
        cluster = RayCluster(ray)
        if not cluster.cpus:
            raise ScenarioError(f"--address {address}: the cluster has no CPU for tasks")
        yield cluster
    finally:
        ray.shutdown()


def _ray() -> Any:
    """Returns the library. Raises ScenarioError where it is not installed."""
    # Read when Ray is imported: nothing about a study is told to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Twenty by default: minutes before a wrong port is an error.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    try:
        import ray
    except ImportError:
        raise ScenarioError(NEEDS_RAY) from None
    return ray


def _check_address(address: str) -> None:
    """Refuses an address where nothing listens: Ray would try for minutes. Raises ScenarioError."""
    if address == "auto":
        return
    place = HOST_AND_PORT.fullmatch(address)
    if place is None:
        raise ScenarioError(
            f"--address takes HOST:PORT of a cluster's head, or auto, got {address!r}"
        )
    where = (place["host"].strip("[]"), int(place["port"]))
    try:
        with closing(socket.create_connection(where, timeout=SECONDS_TO_CONNECT)):
            return
    # UnicodeError: the host is no name that can be looked up, such as "a..b".
    except (OSError, OverflowError, UnicodeError) as reason:
        raise ScenarioError(_unreachable(address, str(reason))) from None


def _unreachable(address: str | None, reason: str) -> str:
    words = " ".join(reason.split()) or "no answer"
    if address is None:
        return f"--engine ray: no cluster could be started on this machine: {words}"
    return f"--address {address}: this is no Ray cluster that this command can join: {words}"
