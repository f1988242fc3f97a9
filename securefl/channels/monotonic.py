"""Numbers that a client must never forget, even when it is restarted or restored.

    before = monotonic.last(session)
    monotonic.advance(session, before._replace(round=3, stage=1))  # for good, or it raises
    return reply

They only grow. A client that was put back to an earlier state would otherwise answer one stage
twice, and two answers can reveal more than one. Secrets are not kept: a client that was restarted
takes no further part in a round or an attempt that it had begun.
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

_FORMAT = b"securefl monotonic 3"
_DIGEST_BYTES = 2 * hashlib.sha256().digest_size + 1  # in hexadecimal, and the end of its line


class Progress(NamedTuple):
    """How far a client got in one session.

    Args:
        attempt: number of the set-up's attempt that was answered last; -1 before the first.
        step: answered last in that attempt.
        members: clients that took part in that attempt.
        outcome: digest of the terms that the set-up ended with; empty before that.
        round: begun last; -1 before the first.
        stage: answered last in that round.
        earlier: the round before it that still goes on, so that two are in flight; -1 if none does.
        earlier_stage: answered last in that earlier round.
    """

    attempt: int = -1
    step: int = 0
    members: int = 0
    outcome: bytes = b""
    round: int = -1
    stage: int = 0
    earlier: int = -1
    earlier_stage: int = 0

    def answered(self, round: int, stage: int, *, beside: int = -1) -> "Progress":
        """Returns the progress after one more answer in a round.

        Args:
            round: of the answer.
            stage: of the answer.
            beside: the round before it that still goes on; -1 ends every round before it.
        """
        if round == self.earlier:
            return self._replace(earlier_stage=stage)
        beside_stage = self.stage if round > self.round else self.earlier_stage
        if beside == -1:
            beside_stage = 0
        return self._replace(round=round, stage=stage, earlier=beside, earlier_stage=beside_stage)

    def follows(self, before: "Progress") -> bool:
        """Whether something grew since `before`, nothing fell, and an outcome stayed."""
        set_up = (self.attempt, self.step)
        set_up_before = (before.attempt, before.step)
        if set_up < set_up_before or not self._keeps_rounds_of(before):
            return False
        # A finished set-up is not taken up again: a second beacon would be a second choice.
        if before.outcome and (self.outcome != before.outcome or set_up != set_up_before):
            return False
        return set_up > set_up_before or self._rounds != before._rounds

    @property
    def _rounds(self) -> tuple[int, int, int, int]:
        """The rounds in flight and their stages."""
        return self.round, self.stage, self.earlier, self.earlier_stage

    def _keeps_rounds_of(self, before: "Progress") -> bool:
        """Whether no stage fell and no round that had ended goes on."""
        if (self.round, self.stage) < (before.round, before.stage):
            return False
        if self.earlier == -1:
            return self.earlier_stage == 0
        if self.round > before.round:
            # A new round was begun: of those before it, only the last may go on.
            return self.earlier == before.round and self.earlier_stage >= before.stage
        return self.earlier == before.earlier and self.earlier_stage >= before.earlier_stage


class Monotonic(Protocol):
    """A client's record of its progress; it never takes back an entry."""

    def last(self, session: bytes) -> Progress:
        """Returns this client's progress in a session. Raises ProtocolError: it cannot be read."""

    def advance(self, session: bytes, progress: Progress) -> None:
        """Keeps this client's progress for good, before it returns.

        Raises:
            ProtocolError: the progress does not follow the last one, or could not be kept for
                certain. Nothing may leave then.
        """


class MemoryMonotonic:
    """Keeps progress as long as the process lives: for simulation, whose keys live no longer."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Progress] = {}

    def last(self, session: bytes) -> Progress:
        """Returns this client's progress in a session."""
        return self._sessions.get(session, Progress())

    def advance(self, session: bytes, progress: Progress) -> None:
        """Keeps this client's progress. Raises ProtocolError: it does not follow the last one."""
        if not progress.follows(self.last(session)):
            raise ProtocolError(ANSWERED)
        self._sessions[session] = progress


class FileMonotonic:
    """Keeps progress in a file, one a client identity: for deployment.

    The file must not be restored from a backup: an old copy in its place undoes all of this. It
    holds no secret.

    Args:
        path: a file that `create` made.

    Raises:
        ProtocolError: the file is missing or damaged.

    Guarantees:
        - When `advance` returns, the file and its name are synced. A crash at any moment leaves the
          old content or the new one.
        - A file that is missing, cut or edited is refused, never taken for an empty one. So is a
          new file in the place of the one that this object opened.
        - Processes that share the file advance it one after the other, each from its content at
          that time.
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
        """Makes the file for a new identity, never for an identity that was in use.

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
        """Returns this client's progress in a session. Raises ProtocolError: missing or damaged."""
        return self._read()[1].get(session, Progress())

    def advance(self, session: bytes, progress: Progress) -> None:
        """Puts this client's progress on disk.

        Raises:
            ProtocolError: it does not follow the file's content, or cannot be written.
        """
        lock = FileLock(self._path.with_name(f".{self._path.name}.lock"))
        try:
            # Read, compare and write under one lock: two copies of a client must not both answer.
            with lock:
                name, sessions = self._read()
                if not progress.follows(sessions.get(session, Progress())):
                    raise ProtocolError(ANSWERED)
                write_atomic(self._path, _packed(name, {**sessions, session: progress}))
        except OSError:
            # The reason concerns the owner of the disk only.
            raise ProtocolError(UNABLE) from None

    def _read(self) -> tuple[str, dict[bytes, Progress]]:
        """Returns the file's own name and its content, which another process may have changed."""
        try:
            name, sessions = _parsed(self._path.read_bytes())
        except (OSError, ValueError):
            raise ProtocolError(UNABLE) from None
        # The name is random: another one shows that the file was replaced by a new one.
        if self._name not in (None, name):
            raise ProtocolError(UNABLE)
        return name, sessions


def _packed(name: str, sessions: Mapping[bytes, Progress]) -> bytes:
    """Returns one line of JSON, then its digest."""
    fields = {
        session.hex(): [*progress[:3], progress.outcome.hex(), *progress[4:]]  # JSON holds no bytes
        for session, progress in sessions.items()
    }
    text = json.dumps([name, fields], sort_keys=True, separators=(",", ":"))
    line = text.encode() + b"\n"
    return line + _digest_of(line)


def _parsed(data: bytes) -> tuple[str, dict[bytes, Progress]]:
    """Returns the arguments of `_packed`. Raises ValueError: it did not write this."""
    line = data[:-_DIGEST_BYTES]
    digest = data[-_DIGEST_BYTES:]
    if digest != _digest_of(line):
        raise ValueError("the digest does not fit")
    name: str
    fields: dict[str, tuple[int, int, int, str, int, int, int, int]]
    name, fields = json.loads(line)
    sessions = {
        bytes.fromhex(session): Progress(*progress[:3], bytes.fromhex(progress[3]), *progress[4:])
        for session, progress in fields.items()
    }
    return name, sessions


def _digest_of(line: bytes) -> bytes:
    return hashlib.sha256(_FORMAT + line).hexdigest().encode() + b"\n"
