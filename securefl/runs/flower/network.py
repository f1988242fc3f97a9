"""An agent behind Flower's link needs no network, and leaves it where the kernel permits that."""

import ctypes

_CLONE_NEWNET = 0x40000000


def leave_network() -> bool:
    """Moves this thread, and all that it starts, into a network without a single connection.

    Unix sockets go on: they are files.

    Returns:
        Whether the kernel permits it: it takes root, or CAP_SYS_ADMIN.
    """
    return bool(ctypes.CDLL(None).unshare(_CLONE_NEWNET) == 0)
