"""Workers that write and end by an exception."""

import sys

from securefl.runs import worker


def _die() -> None:
    print("out\udcff")
    print("warning\udcff", file=sys.stderr)
    raise RuntimeError("unforeseen")


worker.main = _die
