"""A process that imports once what cells need, and forks the workers of a study.

Importing torch takes two seconds of CPU, and Opacus as many again. A forked worker has both at
once, and shares their memory with its siblings. Parent and server talk over a socket: a request to
fork carries three files, which become the worker's input, output and errors.
"""

import faulthandler
import gc
import importlib
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

from securefl.runs.environment import code_hash
from securefl.runs.threads import environment_of_one_thread

MAX_LAST_WORDS = 2000  # characters of a dead process' standard error that are kept
SECONDS_BETWEEN_WAITS = 0.005
GRACE_SECONDS = 2.0  # for the server to leave by itself
MAX_SILENT_SECONDS = 60.0  # between a request and its reply before the server counts as dead
# Opacus, SciPy and sympy, which cost a forked worker two seconds of CPU.
MODULES_OF_DP_SGD = (
    "securefl.learning.dp_sgd",
    "securefl.privacy.accounting.crosscheck",
    "securefl.privacy.accounting.inverse",
)
_MODULES_OF_A_CRASH = re.compile("^Extension modules: .*$", re.MULTILINE)
_READY = b"r"
_REQUEST = struct.Struct("<qqd")  # number, process to wait for or 0 to fork one, seconds to wait
_REPLY = struct.Struct("<qq")  # number of the request, process or exit code
_RUNS = 1 << 32  # instead of an exit code


class ServerDied(Exception):
    """The process that forks workers is gone; says with which exit status and last words."""


class ForkServer:
    """The server as its parent sees it.

    Args:
        modules: imported besides what every cell needs.
    """

    def __init__(self, modules: Collection[str] = ()) -> None:
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(MAX_SILENT_SECONDS)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        self._process = subprocess.Popen(  # noqa: S603 - modules are named by us
            [sys.executable, "-m", "securefl.runs.forkserver", *sorted(modules)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=environment_of_one_thread(),
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        theirs.close()
        self._ready = False
        self._number = 0  # of the last request
        self._death = ""

    def ready(self, patience: float) -> bool:
        """Waits so many seconds for the imports to end. Raises ServerDied."""
        if not self._ready and select.select([self._channel], [], [], patience)[0]:
            self._ready = self._channel.recv(len(_READY)) == _READY
            if not self._ready:
                raise ServerDied(self._died())
        return self._ready

    def fork(self, errors: IO[bytes]) -> "Forked":
        """Starts a worker, whose standard error goes to a file. Raises ServerDied."""
        orders, to_worker = os.pipe()
        from_worker, answers = os.pipe()
        stdin, stdout = os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb")
        with ExitStack() as on_failure:
            # An end of input ends the worker, also one whose number Ctrl-C kept from us.
            on_failure.enter_context(stdin)
            on_failure.enter_context(stdout)
            with open(orders, "rb"), open(answers, "wb"):
                pid = self._ask(files=(orders, answers, errors.fileno()))
            on_failure.pop_all()
        return Forked(self, pid, stdin, stdout)

    def last_words(self) -> str:
        """Returns what it wrote last, or what a worker wrote before it had files of its own."""
        return "" if self._errors.closed else last_words(self._errors)

    def exit_code(self, pid: int, seconds: float) -> int | None:
        """Returns the exit code of a worker; None if it runs for so many seconds.

        Raises:
            ServerDied: nobody knows.
        """
        code = self._ask(pid, seconds)
        return None if code == _RUNS else code

    def close(self) -> None:
        """Ends the server; workers go on until their input ends."""
        self._death = self._death or "its server was ended"
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._kill()
        self._process.wait()
        self._errors.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ask(self, pid: int = 0, seconds: float = 0.0, files: Sequence[int] = ()) -> int:
        self._number += 1
        try:
            request = _REQUEST.pack(self._number, pid, seconds)
            socket.send_fds(self._channel, [request], list(files))
            # Ctrl-C may have left the reply to an earlier request unread.
            number = 0
            while number != self._number:
                reply = self._channel.recv(_REPLY.size, socket.MSG_WAITALL)
                number, answer = _REPLY.unpack(reply)
        except (OSError, struct.error):
            # It may hang, and answer later what nobody waits for any more.
            self._kill()
            raise ServerDied(self._died()) from None
        return int(answer)

    def _died(self) -> str:
        if not self._death:
            self._death = died(self._process.wait(), last_words(self._errors))
        return self._death


class Forked:
    """A worker: what `subprocess.Popen` would be, had this process started it."""

    def __init__(self, server: ForkServer, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.server, self.pid, self.stdin, self.stdout = server, pid, stdin, stdout
        self.returncode: int | None = None

    def wait(self, seconds: float) -> None:
        """Waits until it has ended, or for so many seconds; then `returncode` is its exit code."""
        if self.returncode is None:
            with suppress(ServerDied):
                self.returncode = self.server.exit_code(self.pid, seconds)


def last_words(errors: IO[bytes]) -> str:
    """Returns the end of what a process wrote into a file."""
    errors.seek(0)
    words = errors.read().decode(errors="replace")
    # A crash ends with a list of hundreds of modules, behind which its reason would be cut off.
    return _MODULES_OF_A_CRASH.sub("", words).strip()[-MAX_LAST_WORDS:]


def died(status: int | None, words: str) -> str:
    """Returns how a process ended, in words: its exit status, if known, and what it last wrote."""
    known = "unknown" if status is None else status
    return f"its process died (exit status {known})" + (
        f"; it last wrote:\n{words}" if words else ""
    )


def main() -> None:
    """Serves until the parent closes its end of the socket, which its death does, too."""
    # A crash in a library then says where: standard error holds a process' last words.
    faulthandler.enable(file=2)
    # Where a parent ignores the signal, as its child would, nobody could wait for a worker.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=os.dup(0)) as channel:
        code_hash()  # first: it names the code that is imported, and that workers run
        for module in ("securefl.runs.play", *sys.argv[1:]):
            importlib.import_module(module)
        # The collector would touch, and so copy, every page that workers share.
        gc.collect()
        gc.freeze()
        with suppress(BrokenPipeError, ConnectionResetError):
            channel.send(_READY)
            _serve(channel)


def _serve(channel: socket.socket) -> None:
    while True:
        request, files, _, _ = socket.recv_fds(channel, _REQUEST.size, 3)
        if not request:
            return
        number, pid, seconds = _REQUEST.unpack(request)
        answer = _exit_code(pid, seconds) if pid else _fork(files)
        channel.send(_REPLY.pack(number, answer))


def _exit_code(pid: int, seconds: float) -> int:
    begun = time.monotonic()
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - begun > seconds:
            return _RUNS
        time.sleep(SECONDS_BETWEEN_WAITS)


def _fork(files: Sequence[int]) -> int:
    """Forks a worker with these as its standard streams; returns its process."""
    begun, begins = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads. The server has none; a test's waits for its socket.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _live(files)
    for file in (begins, *files):
        os.close(file)
    # Its parent may kill it by its session, which it must have by then.
    os.read(begun, 1)
    os.close(begun)
    return pid


def _live(files: Sequence[int]) -> NoReturn:
    """Works as `securefl.runs.worker`. Never returns into the stack that the fork copied."""
    try:
        import numpy as np
        import torch

        from securefl.runs import worker

        os.setsid()
        for stream, file in enumerate(files):
            os.dup2(file, stream)
        # The socket, too: the server's end must be the only one.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        # By the line: a process that is killed, or leaves by _exit, flushes nothing.
        text = partial(
            open, mode="w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        sys.stdout = text(1)
        sys.stderr = text(2)
        with suppress(OSError):
            Path("/proc/self/comm").write_text("securefl-worker")
        # No two workers may draw the same numbers; a user's model may draw from these.
        np.random.seed()  # noqa: NPY002
        torch.seed()
        worker.main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
