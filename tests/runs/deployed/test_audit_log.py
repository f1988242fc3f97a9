"""The audit log: on disk before anything leaves, and one changed byte is found."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.runs.deployed.audit_log import AuditLog, Event, verified


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def filled(path: Path) -> AuditLog:
    log = AuditLog.opened(path, lambda: 1000.5)
    log.note(Event.APPROVED, charter="aa", sha256="ff")
    log.note(Event.TRAINING, charter="aa", number=4, round=2)
    log.note(Event.SENT, charter="aa", number=4, round=2, sent=b"masked words")
    log.note(Event.REFUSED, charter="aa", number=5, reason="rounds.a_day")
    return log


def test_a_line_says_what_left_and_when(path: Path) -> None:
    filled(path)
    values = [json.loads(line) for line in path.read_text().splitlines()]
    assert {key: value for key, value in values[2].items() if key != "hash"} == {
        "time": 1000.5,
        "event": "sent",
        "charter": "aa",
        "number": 4,
        "round": 2,
        "size": 12,
        "sha256": hashlib.sha256(b"masked words").hexdigest(),
    }
    assert [line.event.value for line in verified(path)] == [
        *("approved", "training", "sent", "refused")
    ]


def test_a_log_is_continued_where_it_ended(path: Path) -> None:
    log = filled(path)
    again = AuditLog.opened(path)
    assert (again.head, again.heads, again.lines) == (log.head, log.heads, log.lines)
    again.note(Event.STOPPED)
    assert len(verified(path, (log.head, again.head))) == 5


def test_every_changed_removed_or_inserted_byte_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    data = path.read_bytes()
    for place in range(len(data)):
        for other in (
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
            data[:place] + b" " + data[place:],
            data[:place] + b"\n" + data[place:],
        ):
            # Without the disk, which would take most of the time.
            monkeypatch.setattr(Path, "read_bytes", lambda _, other=other: other)
            with pytest.raises(RunFolderError, match=r"at line|before line"):
                verified(path)


def test_every_removed_doubled_or_swapped_line_is_found(path: Path) -> None:
    head = filled(path).head
    lines = path.read_bytes().splitlines(keepends=True)
    broken = [lines[:place] + lines[place + 1 :] for place in range(3)]
    broken += [lines[:place] + lines[place - 1 :] for place in range(1, 5)]
    broken += [[lines[1], lines[0], *lines[2:]], [*lines, b"\n"]]
    for other in broken:
        path.write_bytes(b"".join(other))
        with pytest.raises(RunFolderError, match="line"):
            verified(path)
    # What follows the cut is gone: only a head that somebody else kept tells.
    path.write_bytes(b"".join(lines[:3]))
    assert len(verified(path)) == 3
    with pytest.raises(RunFolderError, match="is older than a receipt of it"):
        verified(path, (head,))


def test_a_log_that_was_changed_is_not_continued_and_stays_as_evidence(path: Path) -> None:
    filled(path)
    path.write_bytes(path.read_bytes().replace(b"masked", b"plain!").replace(b'"aa"', b'"ab"', 1))
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match="hash chain is broken"):
        AuditLog.opened(path)
    assert path.read_bytes() == before


def test_a_line_that_a_crash_cut_short_is_removed_and_the_log_says_so(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"se')
    with pytest.raises(RunFolderError, match="damaged at line 5"):
        verified(path)
    log = AuditLog.opened(path)
    assert log.lines[-1].event is Event.CUT
    assert log.lines[-1].reason == "12 bytes without an end, after line 4"
    assert path.read_bytes().startswith(whole + b'{"event":"cut"')
    verified(path)


@pytest.mark.parametrize("remains", [0, 10, 1000])
def test_a_full_disk_raises_and_leaves_a_log_that_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, remains: int
) -> None:
    log = filled(path)
    size = path.stat().st_size

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, min(size + remains, os.fstat(descriptor).st_size))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.note(Event.SENT, sent=b"x")
    log.note(Event.STOPPED)
    assert [line.event for line in verified(path)[4:]] == [Event.STOPPED]
    assert log.head == AuditLog.opened(path).head


def test_every_line_is_synced_and_the_new_files_name_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    log = AuditLog.opened(path)
    log.note(Event.STARTED)
    assert len(synced) == 2  # the file, then its folder
    assert synced[0] == path.stat().st_size
    log.note(Event.STOPPED)
    assert synced[2] == path.stat().st_size


def test_trainings_are_counted_by_charter_and_by_time(path: Path) -> None:
    times = iter([10.0, 11.0, 20.0, 21.0, 30.0, 31.0])
    log = AuditLog.opened(path, lambda: next(times))
    for round, charter in enumerate(("aa", "bb", "aa")):
        log.note(Event.TRAINING, charter=charter, round=round)
        log.note(Event.SENT, charter=charter, sent=b"")
    assert log.trainings() == [0, 1, 2]
    assert log.trainings(charter="aa") == [0, 2]
    assert (log.trainings(since=20.0), log.trainings(since=20.1)) == ([1, 2], [2])


def test_the_newest_approval_of_a_run_counts(path: Path) -> None:
    log = AuditLog.opened(path)
    for run, epoch in (("a", 1), ("a", 3), ("a", 2), ("b", 9)):
        log.note(Event.APPROVED, run=run, epoch=epoch)
    approved = AuditLog.opened(path).approved("a")
    assert approved is not None
    assert approved.epoch == 3
    assert log.approved("c") is None


def test_a_log_knows_what_it_has_sent(path: Path) -> None:
    log = filled(path)
    assert log.has_sent(b"masked words")
    assert not log.has_sent(b"masked word")


def test_a_log_that_cannot_be_read_is_refused(path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"cannot read .*audit"):
        verified(path)
    path.mkdir()
    with pytest.raises(RunFolderError, match=r"cannot read or write .*audit"):
        AuditLog.opened(path)
