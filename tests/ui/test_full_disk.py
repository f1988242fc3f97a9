"""A disk that is full at any moment: one sentence, nothing half-made, a second try works."""

import os
from pathlib import Path

import pytest

from securefl.errors import Interrupted
from tests.commands import Done, call, refused, scenario_file
from tests.runs.deployed.sites import DP

INIT = ("coordinate", "init", "s.toml", "--address", "127.0.0.1:1", "--out", "fed")
JOIN = ("site", "join", "fed/invitation.json", "--name", "zurich", "--out")


def full_after(syncs: int, *words: str, cwd: Path, error: BaseException | None = None) -> Done:
    """Runs a command on a disk that takes so many writes, and no other."""
    count = 0
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > syncs:
            raise error or OSError(28, "No space left on device")
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        return call(*words, cwd=cwd)


def test_a_full_disk_leaves_no_coordinators_folder(tmp_path: Path) -> None:
    scenario_file(tmp_path, DP)
    for syncs in (0, 1, 5, 9, 13):
        done = full_after(syncs, *INIT, cwd=tmp_path)
        refused(done, 1, "cannot write into fed: No space left on device")
        assert not (tmp_path / "fed").exists()
    # Each of seven files is synced, and its folder.
    assert full_after(14, *INIT, cwd=tmp_path).returncode == 0


def test_ctrl_c_leaves_no_coordinators_folder(tmp_path: Path) -> None:
    scenario_file(tmp_path, DP)
    done = full_after(5, *INIT, cwd=tmp_path, error=Interrupted())
    assert done.returncode == 130
    assert not (tmp_path / "fed").exists()


def test_a_site_that_joined_on_a_full_disk_joins_with_the_same_command(tmp_path: Path) -> None:
    scenario_file(tmp_path, DP)
    assert call(*INIT, cwd=tmp_path).returncode == 0
    for syncs in (0, 3, 5, 7):
        done = full_after(syncs, *JOIN, str(syncs), cwd=tmp_path)
        refused(done, 1, f"cannot write into {syncs}: No space left on device")
        assert call(*JOIN, str(syncs), cwd=tmp_path).returncode == 0


def test_a_charter_or_approvals_that_find_no_room_are_one_sentence(tmp_path: Path) -> None:
    scenario_file(tmp_path, DP)
    call(*INIT, cwd=tmp_path)
    names = [f"n{site}" for site in range(4)]
    for name in names:
        call(*JOIN[:4], name, JOIN[5], name, cwd=tmp_path)
    requests = [f"{name}/request.json" for name in names]
    for syncs in (0, 2):
        done = full_after(syncs, "coordinate", "admit", "fed", *requests, cwd=tmp_path)
        refused(done, 1, "cannot write into fed: No space left on device")
        assert not (tmp_path / "fed/charter.json").exists()
    assert call("coordinate", "admit", "fed", *requests, cwd=tmp_path).returncode == 0
    call("site", "approve", "n0", "fed/charter.json", cwd=tmp_path)
    done = full_after(0, "coordinate", "admit", "fed", "n0/approval.json", cwd=tmp_path)
    refused(done, 1, "cannot write into fed: No space left on device")
    assert not (tmp_path / "fed/approvals.json").exists()


@pytest.mark.parametrize("command", ["check", "admit"])
def test_a_coordinators_folder_that_is_nowhere_is_named(command: str, tmp_path: Path) -> None:
    scenario_file(tmp_path, DP)
    call(*INIT, cwd=tmp_path)
    call(*JOIN, "zurich", cwd=tmp_path)
    documents = ["zurich/request.json"] if command == "admit" else []
    refused(call("coordinate", command, "nowhere", *documents, cwd=tmp_path), 1, "nowhere")
