"""Times a masked round with shares of noise next to the same round without: one line of JSON.

python -m benchmarks.speed.noise --clients 100 --words 1000000
"""

import argparse
import json
import statistics
import time
from typing import NamedTuple

from benchmarks.speed.masking import cpu_seconds
from benchmarks.speed.session import Session
from securefl.channels.masking.block import STAGES
from securefl.channels.masking.stream import fastest
from securefl.privacy.noise.discrete import discrete_gaussian
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import seeded_keystream

# One client of all is protected: replacing it moves the sum by two lengths.
_SHARES = NoiseShares(sensitivity=2.0, length=1.0, noise_multiplier=1.0)
_ROUNDS = 3  # of each kind; the median is printed


class Noisy(NamedTuple):
    """A whole round, all parties in one process."""

    with_s: float
    without_s: float
    ratio: float
    ns_a_draw: float
    clients: int
    words: int
    ring: int


def measure(clients: int, words: int, ring: int = 32) -> Noisy:
    """Plays rounds with noise and without, in turn."""
    fastest()  # measured once a process, and not here

    def seconds(shares: NoiseShares | None) -> float:
        session = Session(clients, words, ring=ring, noise=shares)
        start = time.process_time()
        for _ in range(STAGES):
            session.stage()
            session.server.close_stage()
        return time.process_time() - start

    turns = [(seconds(_SHARES), seconds(None)) for _ in range(_ROUNDS)]
    noisy, without = (statistics.median(times) for times in zip(*turns, strict=True))
    noise = Session(clients, 1, ring=ring, noise=_SHARES).terms.noise
    if noise is None:
        raise RuntimeError("a session under noise has none")
    stream = seeded_keystream(0, "draws")
    draws = cpu_seconds(lambda: discrete_gaussian(words, sigma=noise.share, stream=stream))
    return Noisy(noisy, without, noisy / without, 1e9 * draws / words, clients, words, ring)


def main() -> None:
    """Reads the command line, measures, prints one line of JSON."""
    parser = argparse.ArgumentParser(description="time masked rounds with shares of noise")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--words", type=int, required=True)
    parser.add_argument("--ring", type=int, default=32)
    print(json.dumps({"what": "noise", **measure(**vars(parser.parse_args()))._asdict()}))


if __name__ == "__main__":
    main()
