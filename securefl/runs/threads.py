"""How many threads a process of ours computes with."""

import os
from collections.abc import Mapping

LIBRARIES = ("OMP", "OPENBLAS", "MKL")


def one_thread() -> None:
    """Makes torch compute with one thread in this process.

    Models here are small: more threads gain little, and two of them wait for each other as soon as
    anything else runs on the machine. Parallel work is done by processes. A fixed number also keeps
    the order of sums, and with it the last digit of results.
    """
    import torch

    torch.set_num_threads(1)


def environment_of_one_thread() -> Mapping[str, str]:
    """Returns this process' environment for a child whose libraries start no threads at all."""
    return {**os.environ, **{f"{library}_NUM_THREADS": "1" for library in LIBRARIES}}


def cpus() -> int:
    """Returns the number of CPUs that this process may use."""
    # A container may be given fewer CPUs than the machine has; only Linux can say so.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
