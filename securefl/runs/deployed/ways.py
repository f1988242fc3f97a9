"""The way that envelopes take in a rehearsal: directly, or over Flower."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from securefl.runs.deployed.process import FLOWER
from securefl.runs.flower.commands import check_programs
from securefl.runs.flower.stage import coordinator_stage, free_port, site_stage

ADDRESS = "127.0.0.1"
PATIENCE_SECONDS = 5.0  # of a site whose coordinator is gone


@dataclass(frozen=True)
class Words:
    """What the command lines of the processes say about the link.

    Args:
        coordinator: after the coordinator's role and folder.
        site: after a site's role and folder.
        inherited: descriptors that the coordinator gets.
        handed_over: called once it has them.
    """

    coordinator: tuple[str, ...]
    site: tuple[str, ...]
    inherited: tuple[int, ...] = ()
    handed_over: Callable[[], None] = lambda: None


class Way(Protocol):
    """Has an address before there is a charter, which names it, and opens once there is one."""

    @property
    def address(self) -> tuple[str, int]:
        """The one that sites connect to."""

    def between(
        self, coordinator: Path, sites: Mapping[int, Path], limit: int
    ) -> AbstractContextManager[Words]:
        """Opens the way between folders for envelopes of at most `limit` bytes."""

    def close(self) -> None:
        """Gives the address back."""


class Direct:
    """Sites connect to the coordinator's port, over TLS."""

    def __init__(self) -> None:
        # Bound here, so that sites can connect while the coordinator still imports.
        self._listener = socket.create_server((ADDRESS, 0))
        self.address: tuple[str, int] = self._listener.getsockname()

    @contextmanager
    def between(self, coordinator: Path, sites: Mapping[int, Path], limit: int) -> Iterator[Words]:
        """Yields the descriptor of the port, and its address."""
        descriptor = self._listener.fileno()
        host, port = self.address
        site = (host, str(port), str(PATIENCE_SECONDS))
        yield Words((str(descriptor),), site, (descriptor,), self.close)

    def close(self) -> None:
        """Closes this process' hold on the port."""
        self._listener.close()


class OverFlower:
    """Sites connect to a gate before Flower's SuperLink.

    Args:
        programs: the `bin` folder of Flower's environment.

    Raises:
        ScenarioError: it lacks a program.
    """

    def __init__(self, programs: Path) -> None:
        check_programs(programs)
        self._programs = programs
        self.address = (ADDRESS, free_port())

    @contextmanager
    def between(self, coordinator: Path, sites: Mapping[int, Path], limit: int) -> Iterator[Words]:
        """Runs Flower's programs."""
        with ExitStack() as stack:
            stack.enter_context(
                coordinator_stage(self._programs, coordinator, self.address, limit=limit)
            )
            for folder in sites.values():
                stack.enter_context(site_stage(self._programs, folder, self.address))
            yield Words((FLOWER,), (FLOWER,))

    def close(self) -> None:
        """There is nothing to give back."""
