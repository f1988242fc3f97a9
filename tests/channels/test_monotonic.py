"""A client's record of its progress: it only grows, and is on disk before an answer leaves."""

import fcntl
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.monotonic import (
    ANSWERED,
    UNABLE,
    FileMonotonic,
    MemoryMonotonic,
    Monotonic,
    Progress,
)
from securefl.errors import ProtocolError

ONE, OTHER = b"1" * 16, b"2" * 16
ENDED = Progress(attempt=1, step=3, members=5, outcome=b"o" * 32)
GOING = ENDED._replace(round=4, stage=2)
BOTH = ENDED._replace(round=5, stage=1, earlier=4, earlier_stage=5)


@pytest.fixture(params=["memory", "file"])
def monotonic(request: pytest.FixtureRequest, tmp_path: Path) -> Monotonic:
    """Returns an empty record of each kind."""
    return (
        MemoryMonotonic()
        if request.param == "memory"
        else FileMonotonic.create(tmp_path / "progress")
    )


# What follows what.

FOLLOWS = [
    (Progress(), Progress(attempt=0, step=1, members=9)),
    (Progress(attempt=0, step=1, members=9), Progress(attempt=0, step=2, members=9)),
    (Progress(attempt=0, step=2, members=9), Progress(attempt=1, step=1, members=8)),
    (Progress(attempt=1, step=2, members=5), ENDED),
    (Progress(), Progress(outcome=b"o" * 32, round=0, stage=1)),
    (ENDED, ENDED._replace(round=0, stage=1)),
    (GOING, GOING._replace(stage=4)),
    (GOING, GOING._replace(round=5, stage=1)),
    # Two rounds in flight: the last one goes on while the next one begins.
    (GOING, GOING._replace(round=5, stage=1, earlier=4, earlier_stage=2)),
    (GOING, GOING._replace(round=5, stage=1, earlier=4, earlier_stage=3)),
    (BOTH, BOTH._replace(earlier_stage=6)),
    (BOTH, BOTH._replace(stage=2)),
    (BOTH, BOTH._replace(stage=4, earlier=-1, earlier_stage=0)),
    (BOTH, BOTH._replace(earlier=-1, earlier_stage=0)),
    (BOTH, BOTH._replace(round=6, earlier=5, earlier_stage=1)),
    (BOTH, BOTH._replace(round=9, earlier=-1, earlier_stage=0)),
]
DOES_NOT = [
    (BOTH, BOTH),
    (BOTH, BOTH._replace(earlier_stage=4)),
    (BOTH, BOTH._replace(earlier_stage=4, stage=2)),
    (BOTH, BOTH._replace(round=4, stage=6, earlier=-1, earlier_stage=0)),
    (BOTH, BOTH._replace(earlier=3, earlier_stage=6)),
    (BOTH, BOTH._replace(earlier=-1, earlier_stage=5)),
    # A round that was ended, skipped or left behind does not come back next to another.
    (GOING._replace(round=5), GOING._replace(round=5, earlier=4, earlier_stage=6)),
    (BOTH, BOTH._replace(round=6, earlier=4, earlier_stage=5)),
    (BOTH, BOTH._replace(round=7, earlier=6, earlier_stage=1)),
    (BOTH, BOTH._replace(round=6, earlier=5, earlier_stage=0)),
    (GOING, GOING._replace(round=5, stage=1, earlier=4, earlier_stage=1)),
    (Progress(), Progress()),
    (GOING, GOING),
    (GOING, GOING._replace(stage=1)),
    (GOING, GOING._replace(round=3, stage=6)),
    (GOING, GOING._replace(outcome=b"p" * 32, round=5)),
    (GOING, GOING._replace(outcome=b"", round=5)),
    (GOING, GOING._replace(attempt=2, step=1, round=5)),
    (GOING, GOING._replace(step=4, round=5)),
    (GOING, Progress()),
    (Progress(attempt=0, step=2, members=9), Progress(attempt=0, step=1, members=9)),
    (Progress(attempt=0, step=1, members=9), Progress(attempt=0, step=1, members=8)),
    (Progress(attempt=1, step=1, members=9), Progress(attempt=0, step=3, members=9)),
    (Progress(attempt=1, step=1), Progress(attempt=0, step=3, round=0, stage=1)),
    (Progress(round=1, stage=1), Progress(attempt=0, step=1)),
    (Progress(attempt=1, step=2), Progress(attempt=1, step=1, round=0, stage=1)),
    (
        Progress(attempt=0, step=1, round=1, stage=2),
        Progress(attempt=0, step=2, round=1, stage=1),
    ),
]


@pytest.mark.parametrize(("earlier", "later"), FOLLOWS)
def test_what_grew_and_lost_nothing_follows(earlier: Progress, later: Progress) -> None:
    assert later.follows(earlier)
    assert not earlier.follows(later)


@pytest.mark.parametrize(("earlier", "later"), DOES_NOT)
def test_what_fell_stayed_or_changed_its_outcome_does_not_follow(
    earlier: Progress, later: Progress
) -> None:
    assert not later.follows(earlier)


progresses = st.builds(
    Progress,
    attempt=st.integers(-1, 2),
    step=st.integers(0, 3),
    members=st.integers(0, 3),
    outcome=st.sampled_from([b"", b"o" * 32]),
    round=st.integers(-1, 3),
    stage=st.integers(0, 6),
    earlier=st.integers(-1, 2),
    earlier_stage=st.integers(0, 6),
)


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.lists(progresses, max_size=12))
def test_whatever_is_asked_for_nothing_ever_falls(progresses_asked_for: list[Progress]) -> None:
    monotonic = MemoryMonotonic()
    for progress in progresses_asked_for:
        before = monotonic.last(ONE)
        try:
            monotonic.advance(ONE, progress)
        except ProtocolError as refused:
            assert str(refused) == ANSWERED  # noqa: PT017 - either outcome is legal
            assert monotonic.last(ONE) == before
        after = monotonic.last(ONE)
        assert (after.attempt, after.step) >= (before.attempt, before.step)
        assert (after.round, after.stage) >= (before.round, before.stage)
        # The other round in flight was one before, and its stage did not fall.
        known = {before.round: before.stage, before.earlier: before.earlier_stage}
        assert after.earlier == -1 or known[after.earlier] <= after.earlier_stage


def test_an_answer_moves_on_its_own_round_and_begins_or_ends_others() -> None:
    fresh = Progress(attempt=0, step=3, members=5, outcome=b"o" * 32)
    one = fresh.answered(3, 1)
    assert one[4:] == (3, 1, -1, 0)
    assert one.answered(3, 4)[4:] == (3, 4, -1, 0)
    two = one.answered(4, 1, beside=3)
    assert two[4:] == (4, 1, 3, 1)
    assert two.answered(3, 5)[4:] == (4, 1, 3, 5)
    assert two.answered(4, 2, beside=3)[4:] == (4, 2, 3, 1)
    assert two.answered(4, 4)[4:] == (4, 4, -1, 0)
    assert two.answered(5, 1, beside=4)[4:] == (5, 1, 4, 1)
    assert two.answered(7, 1)[4:] == (7, 1, -1, 0)
    assert two[:4] == fresh[:4]


# Both kinds.


def test_nothing_was_answered_in_a_session_that_is_new(monotonic: Monotonic) -> None:
    assert monotonic.last(ONE) == Progress(
        attempt=-1, step=0, members=0, outcome=b"", round=-1, stage=0, earlier=-1, earlier_stage=0
    )


def test_what_follows_is_kept_and_sessions_do_not_mix(monotonic: Monotonic) -> None:
    monotonic.advance(ONE, ENDED)
    monotonic.advance(OTHER, Progress(attempt=0, step=1, members=9))
    monotonic.advance(ONE, GOING)
    assert monotonic.last(ONE) == GOING
    assert monotonic.last(OTHER) == Progress(attempt=0, step=1, members=9)
    monotonic.advance(ONE, BOTH)
    assert monotonic.last(ONE) == BOTH


def test_what_does_not_follow_is_refused_and_changes_nothing(monotonic: Monotonic) -> None:
    monotonic.advance(ONE, GOING)
    for progress in (GOING, ENDED, GOING._replace(stage=1)):
        with pytest.raises(
            ProtocolError, match="this was answered before, by an earlier state of this client"
        ):
            monotonic.advance(ONE, progress)
        assert monotonic.last(ONE) == GOING


# The file.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns a file that holds two sessions."""
    file = FileMonotonic.create(tmp_path / "progress")
    file.advance(OTHER, ENDED)
    file.advance(ONE, GOING)
    return tmp_path / "progress"


def test_a_file_outlives_its_process(path: Path) -> None:
    assert FileMonotonic(path).last(ONE) == GOING
    assert FileMonotonic(path).last(OTHER) == ENDED


def test_a_file_that_was_cut_at_any_byte_or_changed_in_any_byte_is_refused(path: Path) -> None:
    whole, opened = path.read_bytes(), FileMonotonic(path)
    damaged = [whole[:size] for size in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for data in [*damaged, whole + b"\n", whole + whole]:
        path.write_bytes(data)
        with pytest.raises(
            ProtocolError, match="is missing or damaged; an identity that was in use must not"
        ):
            FileMonotonic(path)
        for ask in (lambda: opened.last(ONE), lambda: opened.advance(ONE, GOING._replace(stage=4))):
            with pytest.raises(ProtocolError, match=f"^{UNABLE}$"):
                ask()
        assert path.read_bytes() == data
    path.write_bytes(whole)
    assert FileMonotonic(path).last(ONE) == GOING


def test_a_file_that_is_gone_is_not_begun_again(path: Path) -> None:
    opened = FileMonotonic(path)
    path.unlink()
    with pytest.raises(ProtocolError, match="is missing or damaged"):
        FileMonotonic(path)
    with pytest.raises(ProtocolError, match=f"^{UNABLE}$"):
        opened.advance(ONE, GOING._replace(stage=4))
    assert not path.exists()


def test_a_new_file_in_the_place_of_the_one_in_use_is_refused(path: Path) -> None:
    replaced = FileMonotonic(path)
    path.unlink()
    fresh = FileMonotonic.create(path)
    for answer in (
        lambda: replaced.last(ONE),
        lambda: replaced.advance(ONE, ENDED),
        lambda: replaced.last(OTHER),
    ):
        with pytest.raises(ProtocolError, match=UNABLE):
            answer()
    assert fresh.last(ONE) == Progress()


def test_a_file_is_made_once_and_never_over_another(path: Path) -> None:
    with pytest.raises(FileExistsError, match="File exists"):
        FileMonotonic.create(path)
    assert FileMonotonic(path).last(ONE) == GOING
    assert sorted(file.name for file in path.parent.iterdir()) == [".progress.lock", "progress"]


def test_a_copy_that_read_the_file_long_ago_goes_on_from_what_it_holds_now(path: Path) -> None:
    stale = FileMonotonic(path)
    assert stale.last(ONE) == GOING
    FileMonotonic(path).advance(ONE, GOING._replace(round=9, stage=5))
    with pytest.raises(ProtocolError, match="this was answered before"):
        stale.advance(ONE, GOING._replace(round=9, stage=4))
    assert stale.last(ONE).round == 9
    stale.advance(OTHER, ENDED._replace(round=0, stage=1))
    assert FileMonotonic(path).last(ONE) == GOING._replace(round=9, stage=5)


def is_locked(path: Path) -> bool:
    """Whether somebody is moving the file on."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_nobody_else_moves_the_file_on_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[bool] = []
    read = FileMonotonic._read

    def reading(self: FileMonotonic) -> tuple[str, dict[bytes, Progress]]:
        locked.append(is_locked(path))
        return read(self)

    file = FileMonotonic(path)
    monkeypatch.setattr(FileMonotonic, "_read", reading)
    file.advance(ONE, GOING._replace(stage=4))
    assert locked == [True]
    file.last(ONE)
    assert locked == [True, False]


def test_of_two_processes_that_answer_the_same_one_does(path: Path) -> None:
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            code = 1
            try:
                FileMonotonic(path).advance(ONE, GOING._replace(stage=4))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0, 1, 1, 1]


# The disk.


def test_content_is_synced_before_it_gets_its_name_and_the_name_before_anything_leaves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"named {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    FileMonotonic(path).advance(ONE, GOING._replace(stage=4))
    assert done == ["content", "named progress", "folder"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_disk_that_fails_keeps_the_old_or_the_new_says_no_more_and_nothing_falls(
    path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, calls, sync = FileMonotonic(path), 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise OSError(28, "No space left on device", str(path))
        sync(descriptor)

    after = GOING._replace(stage=4)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(ProtocolError, match=f"^{UNABLE}$") as refused:
            file.advance(ONE, after)
    assert refused.value.__suppress_context__
    assert FileMonotonic(path).last(ONE) == (
        GOING if at == 0 else after
    )  # the second is the folder's, after the rename
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".progress.lock", "progress"]
    later = GOING._replace(stage=5)
    file.advance(ONE, later)
    assert FileMonotonic(path).last(ONE) == later


class Blow:
    """Ends the process at its n-th write: sync of the content, rename, sync of the folder."""

    def __init__(self, at: int) -> None:
        self._left, self._fsync, self._replace = at, os.fsync, os.replace

    def _count(self) -> None:
        self._left -= 1
        if not self._left:
            os._exit(9)

    def fsync(self, descriptor: int) -> None:
        self._count()
        self._fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        self._replace(source, target)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_process_that_is_killed_while_it_writes_leaves_the_old_or_the_new(
    path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blow = Blow(at)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", blow.fsync)
        patch.setattr(os, "replace", blow.replace)
        if (child := os.fork()) == 0:
            try:
                FileMonotonic(path).advance(ONE, GOING._replace(stage=4))
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert FileMonotonic(path).last(ONE) == (GOING if at < 3 else GOING._replace(stage=4))
    FileMonotonic(path).advance(ONE, GOING._replace(stage=5))  # the lock of the dead is free


def test_a_half_written_file_is_never_under_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[bytes] = []
    whole = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: contents.append(path.read_bytes()))
    FileMonotonic(path).advance(ONE, GOING._replace(stage=4))
    assert contents == [whole, path.read_bytes()]
    assert contents[0] != contents[1]
