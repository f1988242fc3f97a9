"""What a client must never forget, however it is restarted or restored: numbers that only grow.

    before = monotonic.last(session)
    monotonic.advance(session, before._replace(round=3, stage=1))  # for good, or it raises
    return reply

A client that was put back to an earlier state would otherwise answer one stage twice, and two
answers can tell what one does not. Secrets are not kept: a client that was restarted sits out what
it had begun.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from filelock import FileLock

from securefl.errors import ProtocolError
from securefl.files import sync_folder, write_atomic

ANSWERED = "this was answered before, by an earlier state of this client or by a copy of it"
UNABLE = "this client cannot note for good what it answers, and so answers nothing"

_FORMAT = b"securefl monotonic 2"
_DIGEST_BYTES = 2 * hashlib.sha256().digest_size + 1  # in hexadecimal, and the end of its line


class Progress(NamedTuple):
    """How far a client got in one session.

    Args:
        attempt: of the set-up, answered last; -1 before the first.
        step: answered last in that attempt.
        members: how many clients took part in that attempt.
        outcome: digest of the terms that the set-up ended with; empty before that.
        round: answered last; -1 before the first.
        stage: answered last in that round.
    """

    attempt: int = -1
    step: int = 0
    members: int = 0
    outcome: bytes = b""
    round: int = -1
    stage: int = 0

    def follows(self, earlier: "Progress") -> bool:
        """Whether something grew since `earlier`, nothing fell, and an outcome stayed."""
        set_up, set_up_before = (self.attempt, self.step), (earlier.attempt, earlier.step)
        answered, answered_before = (self.round, self.stage), (earlier.round, earlier.stage)
        if set_up < set_up_before or answered < answered_before:
            return False
        if earlier.outcome and (self.outcome != earlier.outcome or set_up != set_up_before):
            return False
        return set_up > set_up_before or answered > answered_before


class Monotonic(Protocol):
    """Where a client keeps how far it got; what it once kept, it never takes back."""

    def last(self, session: bytes) -> Progress:
        """How far this client got in a session. Raises ProtocolError: that cannot be read."""

    def advance(self, session: bytes, progress: Progress) -> None:
        """Keep for good, before it returns, how far this client got.

        Raises:
            ProtocolError: this does not follow what is kept, or could not be kept for certain. Nothing
                may leave then.
        """


class MemoryMonotonic:
    """Keeps progress as long as the process lives: for simulation, whose keys live no longer."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Progress] = {}

    def last(self, session: bytes) -> Progress:
        """How far this client got in a session."""
        return self._sessions.get(session, Progress())

    def advance(self, session: bytes, progress: Progress) -> None:
        """Keep how far this client got. Raises ProtocolError: it does not follow what is kept."""
        if not progress.follows(self.last(session)):
            raise ProtocolError(ANSWERED)
        self._sessions[session] = progress


class FileMonotonic:
    """Keeps progress in a file, one a client identity: for deployment.

    Guarantees:
        - When `advance` returns, the file and its name are synced. A crash at any moment leaves the
          old content or the new one.
        - A file that is missing, cut or edited is refused, never taken for an empty one; so is a new
          one that was put in the place of the one that this object opened.
        - Processes that share the file move it on one after the other, from what it holds by then.

    The file must not be restored from a backup: an old copy in its place undoes all of this. It
    holds no secret.

    Args:
        path: a file that `create` made.

    Raises:
        ProtocolError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name: str | None = None
        try:
            self._name, _ = self._read()
        except ProtocolError:
            raise ProtocolError(
                f"{path} is missing or damaged; an identity that was in use must not begin another"
            ) from None

    @classmethod
    def create(cls, path: Path) -> "FileMonotonic":
        """Make the file for a new identity, never for one that was in use.

        Raises:
            FileExistsError: there is a file.
        """
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            write_atomic(temporary, _packed(secrets.token_hex(16), {}))
            os.link(temporary, path)  # unlike a rename, this replaces nothing
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
        return cls(path)

    def last(self, session: bytes) -> Progress:
        """How far this client got in a session. Raises ProtocolError: missing or damaged."""
        return self._read()[1].get(session, Progress())

    def advance(self, session: bytes, progress: Progress) -> None:
        """Put on disk how far this client got.

        Raises:
            ProtocolError: it does not follow what the file holds, or cannot be written.
        """
        try:
            with FileLock(
                self._path.with_name(f".{self._path.name}.lock")
            ):  # no other process moves the file on
                name, sessions = self._read()
                if not progress.follows(sessions.get(session, Progress())):
                    raise ProtocolError(ANSWERED)
                write_atomic(self._path, _packed(name, {**sessions, session: progress}))
        except OSError:
            raise ProtocolError(UNABLE) from None  # why is the owner's affair

    def _read(self) -> tuple[str, dict[bytes, Progress]]:
        """The file's name for itself, and what it holds now, which another process may have moved on."""
        try:
            name, sessions = _parsed(self._path.read_bytes())
        except (OSError, ValueError):
            raise ProtocolError(UNABLE) from None
        if self._name not in (None, name):
            raise ProtocolError(UNABLE)
        return name, sessions


def _packed(name: str, sessions: Mapping[bytes, Progress]) -> bytes:
    """One line of JSON, then its digest."""
    listed = {
        session.hex(): [*progress[:3], progress.outcome.hex(), *progress[4:]]  # JSON holds no bytes
        for session, progress in sessions.items()
    }
    line = json.dumps([name, listed], sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return line + _digest_of(line)


def _parsed(data: bytes) -> tuple[str, dict[bytes, Progress]]:
    """What `_packed` wrote. Raises ValueError: it did not write this."""
    line, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if digest != _digest_of(line):
        raise ValueError("the digest does not fit")
    name: str
    listed: dict[str, tuple[int, int, int, str, int, int]]
    name, listed = json.loads(line)
    return name, {
        bytes.fromhex(session): Progress(
            attempt, step, members, bytes.fromhex(outcome), round, stage
        )
        for session, (attempt, step, members, outcome, round, stage) in listed.items()
    }


def _digest_of(line: bytes) -> bytes:
    return hashlib.sha256(_FORMAT + line).hexdigest().encode() + b"\n"
