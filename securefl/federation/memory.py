"""How a process that trains holds on to its memory."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LARGE_TENSOR_BYTES = 2**25  # from which memory is the system's again once it is free
MAX_FREE_BYTES = 2**28
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def keep_memory() -> None:
    """Makes freed memory stay with this process.

    By default glibc may give the tensors of each step back to the system, which clears every page
    of the next step's: up to a quarter of the CPU time of a small network. Whether it does so
    depends on what a process allocated before.
    """
    with suppress(AttributeError):  # other C libraries have no such option
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_TENSOR_BYTES)
        mallopt(_M_TRIM_THRESHOLD, MAX_FREE_BYTES)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Makes freed memory stay with this process while the context lasts, and then gives it back.

    A caller of the library goes on in the same process, which would hold gigabytes for nothing.
    """
    keep_memory()
    try:
        yield
    finally:
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
