"""What the benchmarks of sketches share: clients that deal to each other, bytes, medians."""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from securefl.channels.masking.keys import NONCE_BYTES, TAG_BYTES
from securefl.channels.masking.sketches.dealing import (
    ENTRY_BYTES,
    Dealing,
    Shares,
    check_dealing,
    context_of,
    deal,
    proof_bytes,
    share_bytes,
)

_ID_BYTES = 4


class Dealers:
    """Clients that deal integers to each other, and check what they get.

    Args:
        clients: how many.
        corrupt: the degree of the values' polynomials.
        zeros: sharings of zero in a dealing.
        label: what the dealings are about.
    """

    def __init__(self, *, clients: int, corrupt: int, zeros: int, label: bytes) -> None:
        self.corrupt = corrupt
        self.zeros = zeros
        self.points = {client: client + 1 for client in range(clients)}
        self.context = context_of(label, session=bytes(16), round=1, uploads=bytes(32))

    def dealt(self, values: Mapping[int, Sequence[int]]) -> dict[int, Dealing]:
        """Returns what every client deals."""
        return {
            client: deal(
                own,
                zeros=self.zeros,
                degree=self.corrupt,
                points=self.points,
                context=self.context,
                sender=client,
            )
            for client, own in values.items()
        }

    def accepted(
        self, dealings: Mapping[int, Dealing], holder: int, *, values: int
    ) -> dict[int, Shares]:
        """Returns a holder's shares of all dealings, which it checks.

        Args:
            dealings: dealer -> its dealing.
            holder: who checks them.
            values: how many integers each dealing holds.
        """
        accepted: dict[int, Shares] = {}
        for sender, dealing in dealings.items():
            shares = check_dealing(
                dealing.shares[holder],
                holder=holder,
                point=self.points[holder],
                sender=sender,
                context=self.context,
                table=dealing.table,
                proof=dealing.proof,
                values=values,
                zeros=self.zeros,
                degree=self.corrupt,
            )
            if shares is None:
                raise RuntimeError("an honest dealing was rejected")
            accepted[sender] = shares
        return accepted


class DealingBytes(NamedTuple):
    """Bytes of one dealing: elements, hashes, ids and boxes, without the heads of messages.

    Args:
        public: table and proof, which everybody gets.
        boxes: the sealed shares of all other clients together.
    """

    public: int
    boxes: int


def dealing_bytes(*, clients: int, corrupt: int, values: int, zeros: int) -> DealingBytes:
    """Returns the bytes of one dealing among some clients."""
    box = share_bytes(values, zeros) + NONCE_BYTES + TAG_BYTES + _ID_BYTES
    public = clients * (_ID_BYTES + ENTRY_BYTES) + proof_bytes(corrupt, zeros)
    return DealingBytes(public, (clients - 1) * box)


def medians(turns: Sequence[Sequence[float]]) -> list[float]:
    """Returns the median of each column, one column a stage."""
    return [statistics.median(times) for times in zip(*turns, strict=True)]


def take_numbers(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Makes a command line ask for whole numbers under these names."""
    for name in names:
        parser.add_argument(f"--{name}", type=int, required=True)
