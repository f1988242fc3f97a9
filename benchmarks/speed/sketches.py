"""Times the sketches of the masked channel: one measurement, one line of JSON.

python -m benchmarks.speed.sketches dealing --clients 20 --size 64 --corrupt 4 --liars 4
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.speed.masking import cpu_seconds
from benchmarks.speed.sketch_parties import Dealers, dealing_bytes, medians, take_numbers
from securefl.channels.masking.sketches.dealing import SKETCHES, Dealing, Shares
from securefl.channels.masking.sketches.decoding import decoded_columns
from securefl.channels.masking.sketches.distances import Pair, pair_values, squared_distances
from securefl.channels.masking.sketches.field import (
    ELEMENT_BYTES,
    P,
    centred,
    random_elements,
)

REPEATS = 5  # within one process; the median is printed


class Dealt(NamedTuple):
    """CPU seconds of all parties together in one round of dealing, and bytes a client.

    Bytes are those of elements, hashes, ids and boxes, without the heads of messages.
    """

    clients: int
    size: int
    corrupt: int
    liars: int
    dealing_s: float
    verifying_s: float
    products_s: float
    decoding_s: float
    all_s: float
    dealing_bytes: int
    answer_bytes: int
    received_bytes: int


class Parties(Dealers):
    """All parties of a round: every client deals a random sketch and holds all shares."""

    def __init__(self, *, clients: int, size: int, corrupt: int) -> None:
        super().__init__(clients=clients, corrupt=corrupt, zeros=clients - 1, label=SKETCHES)
        generator = np.random.default_rng(0)
        self.size = size
        self.sketches = {
            client: generator.integers(-(2**31), 2**31, size).tolist() for client in self.points
        }
        self.weights = {client: 1 + client for client in self.points}
        self.dealings: dict[int, Dealing] = {}
        self.holdings: dict[int, dict[int, Shares]] = {}
        self.answers: dict[int, dict[Pair, int]] = {}

    def deal(self) -> None:
        """Stage 4: every client deals its sketch and a sharing of zero for each other client."""
        self.dealings = self.dealt(self.sketches)

    def verify(self) -> None:
        """Stage 5: every client checks its shares of every dealing."""
        for holder in self.points:
            self.holdings[holder] = self.accepted(self.dealings, holder, values=self.size)

    def answer(self) -> None:
        """Stage 6: every client answers for every pair."""
        clients = tuple(self.points)
        for holder, own in self.holdings.items():
            self.answers[self.points[holder]] = pair_values(own, self.weights, clients)

    def lie(self, liars: int) -> None:
        """Lets the holders with the lowest ids answer garbage."""
        for point in range(1, liars + 1):
            pairs = self.answers[point]
            self.answers[point] = dict(zip(pairs, random_elements(len(pairs)), strict=True))

    def decode(self, liars: int) -> None:
        """The server's part of stages 6 and 8: all distances, and the sum of all sketches."""
        self.distances = squared_distances(
            self.answers,
            clients=tuple(self.points),
            weights=self.weights,
            degree=2 * self.corrupt,
            errors=liars,
            most=self.size << 64,
        )
        sums = {
            self.points[holder]: [
                sum(terms) % P
                for terms in zip(*(shares.values for shares in own.values()), strict=True)
            ]
            for holder, own in self.holdings.items()
        }
        for point in range(1, liars + 1):
            sums[point] = random_elements(self.size)
        self.opened = decoded_columns(sums, degree=self.corrupt, errors=liars)

    def compare(self) -> None:
        """Compares the distances and the sum with the true ones."""
        true_sum = [sum(terms) for terms in zip(*self.sketches.values(), strict=True)]
        if self.distances.squared != self.true_distances():
            raise RuntimeError("the distances are wrong")
        if [value if value is None else centred(value) for value in self.opened] != true_sum:
            raise RuntimeError("the sum is wrong")

    def true_distances(self) -> dict[Pair, int]:
        """Returns the weighted distances of the sketches themselves."""
        return {
            (i, j): sum(
                (self.weights[j] * a - self.weights[i] * b) ** 2
                for a, b in zip(self.sketches[i], self.sketches[j], strict=True)
            )
            for i, j in itertools.combinations(self.points, 2)
        }


def dealing(clients: int, size: int, corrupt: int, liars: int) -> Dealt:
    """Times dealing, verifying, products and decoding of all parties of a round together.

    As many holders as `liars` answer garbage. The results are compared with the true ones, outside
    of the time.
    """
    rounds = []
    for _ in range(REPEATS):
        parties = Parties(clients=clients, size=size, corrupt=corrupt)
        seconds = [cpu_seconds(stage) for stage in (parties.deal, parties.verify, parties.answer)]
        parties.lie(liars)
        seconds.append(cpu_seconds(partial(parties.decode, liars)))
        parties.compare()
        rounds.append(seconds)
    stages = medians(rounds)
    one = dealing_bytes(clients=clients, corrupt=corrupt, values=size, zeros=clients - 1)
    pairs = clients * (clients - 1) // 2
    return Dealt(
        clients=clients,
        size=size,
        corrupt=corrupt,
        liars=liars,
        dealing_s=stages[0],
        verifying_s=stages[1],
        products_s=stages[2],
        decoding_s=stages[3],
        all_s=statistics.median(sum(seconds) for seconds in rounds),
        dealing_bytes=one.boxes + one.public,
        answer_bytes=pairs * ELEMENT_BYTES + size * ELEMENT_BYTES,
        received_bytes=clients * one.public + one.boxes,
    )


class Command(NamedTuple):
    """One measurement and the options that it takes."""

    measure: Callable[..., Dealt]
    options: tuple[str, ...]


COMMANDS = {
    "dealing": Command(dealing, ("clients", "size", "corrupt", "liars")),
}


def main() -> None:
    """Reads the command line, runs one measurement, prints it as one line of JSON."""
    parser = argparse.ArgumentParser(description="time the sketches of the masked channel")
    subparsers = parser.add_subparsers(dest="what", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name)
        take_numbers(subparser, command.options)
    arguments = vars(parser.parse_args())
    what = arguments.pop("what")
    measured = COMMANDS[what].measure(**arguments)
    print(json.dumps({"what": what, **measured._asdict()}))


if __name__ == "__main__":
    main()
