"""Times the random matrix of sketches: one measurement, one line of JSON.

OMP_NUM_THREADS=1 python -m benchmarks.speed.sketch_matrix --words 1000000 --size 64 --masks 20
"""

import argparse
import json
import secrets
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.speed.masking import cpu_seconds
from benchmarks.speed.sketch_parties import medians, take_numbers
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.stream import add_masks, fastest

REPEATS = 9  # within one process; the median is printed


class Sketched(NamedTuple):
    """CPU seconds, and bytes of memory next to the vectors."""

    words: int
    size: int
    masks: int
    sketch_s: float
    masks_s: float
    streams_s: float  # of the masks' streams alone, which any way to sketch them has to make
    sketch_bytes: int
    masks_bytes: int


def sketched(words: int, size: int, masks: int) -> Sketched:
    """Times the sketch of one update, and the sketches of mask streams that are never stored."""
    matrix = Matrix(secrets.token_bytes(32), size=size, d=words)
    update = np.random.default_rng(0).integers(0, 2**32, words, dtype=np.uint32)
    keys = [secrets.token_bytes(32) for _ in range(masks)]
    vector = np.zeros(words, dtype="<u4")
    fastest()  # measured once a process, and not here

    def sketch() -> None:
        matrix.sketch(update)

    def sketches_of_masks() -> None:
        matrix.sketches_of_masks(keys)

    def streams() -> None:
        add_masks(vector, plus=keys)

    calls = (sketch, sketches_of_masks, streams)
    # In turn, so that a slow moment of the machine hits all of them.
    turns = [[cpu_seconds(call) for call in calls] for _ in range(REPEATS)]
    sketch_s, masks_s, streams_s = medians(turns)
    return Sketched(
        words=words,
        size=size,
        masks=masks,
        sketch_s=sketch_s,
        masks_s=masks_s,
        streams_s=streams_s,
        sketch_bytes=peak_bytes(sketch),
        masks_bytes=peak_bytes(sketches_of_masks),
    )


def peak_bytes(call: Callable[[], object]) -> int:
    """Returns the memory that a call takes at most, traced and so outside of the time."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def main() -> None:
    """Reads the command line, measures, prints one line of JSON."""
    parser = argparse.ArgumentParser(description="time the random matrix of sketches")
    take_numbers(parser, ("words", "size", "masks"))
    print(json.dumps(sketched(**vars(parser.parse_args()))._asdict()))


if __name__ == "__main__":
    main()
