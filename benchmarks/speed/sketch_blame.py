"""Times how a liar is found after a sum disagreed with its sketches: one line of JSON.

OMP_NUM_THREADS=1 python -m benchmarks.speed.sketch_blame --clients 20 --size 64 --corrupt 4 \
    --liars 4 --words 100000
"""

import argparse
import itertools
import json
import secrets
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.masking import cpu_seconds
from benchmarks.speed.sketch_parties import Dealers, dealing_bytes, medians, take_numbers
from securefl.channels.masking.sketches.blame import (
    Opened,
    opened_shares,
    pair_sketches,
    partners,
)
from securefl.channels.masking.sketches.dealing import PAIR_SKETCHES, Dealing
from securefl.channels.masking.sketches.field import ELEMENT_BYTES, random_elements
from securefl.channels.masking.sketches.judging import expected_residue, judged
from securefl.channels.masking.sketches.matrix import Matrix, centred
from securefl.channels.masking.stream import add_masks, fastest

REPEATS = 3  # within one process; the median is printed


class Blamed(NamedTuple):
    """CPU seconds of all parties together in stages 9 and 10, and bytes that a client sends.

    Bytes are those of elements, hashes, ids and boxes, without the heads of messages.
    """

    clients: int
    size: int
    corrupt: int
    liars: int
    words: int
    sketching_s: float
    dealing_s: float
    verifying_s: float
    opening_s: float
    residues_s: float
    judging_s: float
    sent_bytes: int


class Parties(Dealers):
    """All parties of a round that chose every client; those with the lowest ids lie."""

    def __init__(self, *, clients: int, size: int, corrupt: int, liars: int, words: int) -> None:
        super().__init__(clients=clients, corrupt=corrupt, zeros=0, label=PAIR_SKETCHES)
        generator = np.random.default_rng(0)
        self.size = size
        self.liars = liars
        self.matrix = Matrix(secrets.token_bytes(32), size=size, d=words)
        self.keys = {
            pair: secrets.token_bytes(32) for pair in itertools.combinations(self.points, 2)
        }
        self.self_masks = {client: secrets.token_bytes(32) for client in self.points}
        self.uploads: dict[int, NDArray[Any]] = {}
        sketches = {}
        for client in self.points:
            update = generator.integers(0, 2**32, words, dtype=np.uint32)
            sketch = centred(self.matrix.sketch(update))
            sketch[0] += client < liars
            sketches[client] = sketch
            self.uploads[client] = self.masked(client, update)
        # Shares of sketches are older than these stages; any dealing makes them.
        dealings = self.dealt(sketches)
        self.sketch_shares = {
            holder: self.shares(dealings, holder, values=size) for holder in self.points
        }
        self.values: dict[int, list[int]] = {}
        self.dealings: dict[int, Dealing] = {}
        self.pair_shares: dict[int, dict[int, list[int]]] = {}
        self.answers: dict[int, Opened] = {}
        self.residues: dict[int, NDArray[Any]] = {}

    def key(self, one: int, other: int) -> bytes:
        """Returns the key of the mask of two clients."""
        return self.keys[min(one, other), max(one, other)]

    def masked(self, client: int, update: NDArray[Any]) -> NDArray[Any]:
        """Returns an upload."""
        others = partners(client, tuple(self.points))
        higher = [self.key(client, other) for other in others if other > client]
        lower = [self.key(client, other) for other in others if other < client]
        words = update.copy()
        add_masks(words, plus=[self.self_masks[client], *higher], minus=lower)
        return words

    def shares(
        self, dealings: dict[int, Dealing], holder: int, *, values: int
    ) -> dict[int, list[int]]:
        """Returns a holder's shares of the values of all dealings, which it checks."""
        accepted = self.accepted(dealings, holder, values=values)
        return {sender: shares.values for sender, shares in accepted.items()}

    def sketch(self) -> None:
        """Every client sketches its pair masks."""
        for client in self.points:
            others = partners(client, tuple(self.points))
            keys = {other: self.key(client, other) for other in others}
            self.values[client] = pair_sketches(self.matrix, keys, size=self.size)

    def deal(self) -> None:
        """Every client deals the sketches of its pair masks."""
        self.dealings = self.dealt(self.values)

    def verify(self) -> None:
        """Every client checks its shares of every dealing."""
        values = self.size * (len(self.points) - 1)
        for holder in self.points:
            self.pair_shares[holder] = self.shares(self.dealings, holder, values=values)

    def open(self) -> None:
        """Every client answers the challenge."""
        challenge = secrets.token_bytes(32)
        for holder, shares in self.pair_shares.items():
            sketches = self.sketch_shares[holder]
            self.answers[holder] = opened_shares(sketches, shares, challenge=challenge)

    def lie(self) -> None:
        """Liars answer garbage."""
        for liar in range(self.liars):
            answer = self.answers[liar]
            pairs = dict(zip(answer.pairs, random_elements(len(answer.pairs)), strict=True))
            sums = {client: random_elements(self.size) for client in answer.sums}
            self.answers[liar] = answer._replace(pairs=pairs, sums=sums)

    def expect(self) -> None:
        """The server computes what the uploads speak for."""
        for client, words in self.uploads.items():
            self.residues[client] = expected_residue(
                self.matrix, words, client=client, self_mask=self.self_masks[client], outside={}
            )

    def judge(self) -> None:
        """The server names all liars, or the measurement is wrong."""
        blame = judged(
            self.answers,
            self.residues,
            points=self.points,
            dealt=tuple(self.points),
            degree=self.corrupt,
            f=self.liars,
        )
        if set(blame.named) != set(range(self.liars)) or blame.pairs:
            raise RuntimeError("the wrong clients were named")


def blamed(clients: int, size: int, corrupt: int, liars: int, words: int) -> Blamed:
    """Times stages 9 and 10, where liars dealt other sketches and answer garbage."""
    fastest()  # measured once a process, and not here
    make = partial(Parties, clients=clients, size=size, corrupt=corrupt, liars=liars, words=words)
    rounds = []
    for _ in range(REPEATS):
        parties = make()
        first = (parties.sketch, parties.deal, parties.verify, parties.open)
        seconds = [cpu_seconds(stage) for stage in first]
        parties.lie()
        seconds += [cpu_seconds(stage) for stage in (parties.expect, parties.judge)]
        rounds.append(seconds)
    stages = medians(rounds)
    one = dealing_bytes(clients=clients, corrupt=corrupt, values=size * (clients - 1), zeros=0)
    elements = clients * (clients - 1) // 2 + clients * size
    sent = one.boxes + one.public + elements * ELEMENT_BYTES
    return Blamed(
        clients=clients,
        size=size,
        corrupt=corrupt,
        liars=liars,
        words=words,
        sketching_s=stages[0],
        dealing_s=stages[1],
        verifying_s=stages[2],
        opening_s=stages[3],
        residues_s=stages[4],
        judging_s=stages[5],
        sent_bytes=sent,
    )


def main() -> None:
    """Reads the command line, measures, prints one line of JSON."""
    parser = argparse.ArgumentParser(description="time the search for a liar")
    take_numbers(parser, ("clients", "size", "corrupt", "liars", "words"))
    print(json.dumps(blamed(**vars(parser.parse_args()))._asdict()))


if __name__ == "__main__":
    main()
