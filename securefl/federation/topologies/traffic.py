"""Updates on their way to a server without lockstep, and how a checkpoint keeps them.

traffic, step_state = Traffic.of(state.step_state)
...
state = replace(state, step_state={**step_state, **traffic.tensors()})
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

# Before the names of its tensors, which lie next to those of the server's step.
PREFIX = "traffic."
# A checkpoint holds float32, which is exact below 2^24. A whole number has three such digits.
_BASE, _DIGITS = 2**24, 3


@dataclass(frozen=True)
class Flight:
    """An update on its way.

    Attributes:
        client: that trains, or has trained, it.
        ticket: the number of its training.
        version: of the model that it is trained on: steps that the server had taken.
        finish: when it will be ready, on the simulated clock.
        weight: of the client.
        row: (d,), the update.
    """

    client: int
    ticket: int
    version: int
    finish: int
    weight: int
    row: Tensor

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """All of it but the row, in the order of a checkpoint."""
        return self.client, self.ticket, self.version, self.finish, self.weight


@dataclass
class Traffic:
    """Who trains at the moment, and the counts of the run so far.

    Attributes:
        flights: the updates on their way, in the order of their arrivals.
        begun: client -> trainings that it has begun.
        ticket: the number of the next training.
        version: steps that the server has taken.
        now: the simulated time.
    """

    flights: list[Flight] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)
    ticket: int = 0
    version: int = 0
    now: int = 0

    @property
    def is_landing(self) -> bool:
        """Whether another update is ready at this very time."""
        return bool(self.flights) and self.flights[0].finish == self.now

    def start(self, flight: Flight) -> None:
        """Adds an update on its way."""
        self.begun[flight.client] = self.begun.get(flight.client, 0) + 1
        self.flights.append(flight)
        self.flights.sort(key=lambda flight: (flight.finish, flight.client))

    def land(self) -> Flight:
        """Takes the next update that is ready; the clock goes on to that time."""
        flight = self.flights.pop(0)
        self.now = flight.finish
        return flight

    def tensors(self) -> dict[str, Tensor]:
        """Returns all of it as float32 tensors, under names that begin with PREFIX."""
        tensors = {
            "counts": digits([self.ticket, self.version, self.now]),
            "begun": digits([number for pair in sorted(self.begun.items()) for number in pair]),
        }
        if self.flights:
            tensors["flights"] = digits([n for flight in self.flights for n in flight.numbers])
            tensors["rows"] = torch.stack([flight.row for flight in self.flights])
        return {f"{PREFIX}{name}": value for name, value in tensors.items()}

    @classmethod
    def of(cls, step_state: Mapping[str, Tensor]) -> tuple[Self, dict[str, Tensor]]:
        """Returns the traffic in a state, and the rest of the state: that of the server's step."""
        rest = {name: value for name, value in step_state.items() if not name.startswith(PREFIX)}
        if f"{PREFIX}counts" not in step_state:
            return cls(), rest
        ticket, version, now = numbers_of(step_state[f"{PREFIX}counts"])
        begun = numbers_of(step_state[f"{PREFIX}begun"])
        flights: list[Flight] = []
        if f"{PREFIX}rows" in step_state:
            numbers = numbers_of(step_state[f"{PREFIX}flights"])
            rows = step_state[f"{PREFIX}rows"]
            flights = [_flight(numbers[5 * place :], row) for place, row in enumerate(rows)]
        pairs = dict(zip(begun[::2], begun[1::2], strict=True))
        return cls(flights, pairs, ticket, version, now), rest


def _flight(numbers: Sequence[int], row: Tensor) -> Flight:
    client, ticket, version, finish, weight = numbers[:5]
    return Flight(client, ticket, version, finish, weight, row)


def digits(numbers: Sequence[int]) -> Tensor:
    """Returns whole numbers from 0 to 2^72 - 1 as (n, 3) digits in base 2^24, exact in float32.

    Raises:
        ValueError: a number is outside.
    """
    if not all(0 <= number < _BASE**_DIGITS for number in numbers):
        raise ValueError(f"a number must be from 0 to {_BASE}^{_DIGITS} - 1, got {numbers}")
    table = [[number // _BASE**place % _BASE for place in range(_DIGITS)] for number in numbers]
    return torch.tensor(table, dtype=torch.float32).reshape(len(numbers), _DIGITS)


def numbers_of(table: Tensor) -> list[int]:
    """Returns the whole numbers whose digits (n, 3) these are."""
    return [
        sum(int(digit) * _BASE**place for place, digit in enumerate(row)) for row in table.tolist()
    ]
