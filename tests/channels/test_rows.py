"""The table of a round's rows: one copy of each number, also in a file, which nothing leaves."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl import vector
from securefl.channels.rows import IN_MEMORY_BYTES, RowTable
from securefl.errors import ProtocolError, RunFailed

CLIENTS = (2, 3, 5, 7)


def row_of(client: int) -> Tensor:
    return torch.tensor([1.0, 10.0, 100.0]) * client


def sent_by(client: int) -> memoryview:
    return vector.view_of_bytes(row_of(client))


def table(*present: int, in_memory: int = IN_MEMORY_BYTES) -> RowTable:
    made = RowTable(CLIENTS, d=3, in_memory=in_memory)
    for client in present:
        made.put(client, sent_by(client))
    return made


in_memory_or_file = pytest.mark.parametrize("in_memory", [IN_MEMORY_BYTES, 47], ids=["ram", "file"])


@in_memory_or_file
@pytest.mark.parametrize(
    "present", [(2, 3, 5, 7), (7, 2, 5, 3), (7, 5), (3,), (2, 7), (5, 3, 7), ()]
)
def test_rows_come_out_ascending_whoever_is_absent_and_whoever_came_first(
    present: tuple[int, ...], in_memory: int
) -> None:
    made = table(*present, in_memory=in_memory)
    assert made.clients == tuple(sorted(present))
    assert len(made) == len(present)
    assert [client in made for client in CLIENTS] == [client in present for client in CLIENTS]
    expected = torch.stack([row_of(client) for client in sorted(present)] or [torch.zeros(3)])
    rows = made.rows()
    assert rows.dtype == torch.float32
    assert rows.is_contiguous()
    assert torch.equal(rows, expected[: len(present)])


@in_memory_or_file
def test_rows_are_the_table_itself(in_memory: int) -> None:
    made = table(in_memory=in_memory)
    storages = {made.put(client, sent_by(client)).untyped_storage().data_ptr() for client in (2, 7)}
    rows = made.rows()
    assert {rows.untyped_storage().data_ptr()} == storages
    # A rule that writes into its rows is not our concern, but it may: nothing is read-only.
    rows[0] = 0


def test_a_row_is_not_the_callers_memory() -> None:
    delta = row_of(2)
    made = RowTable(CLIENTS, d=3)
    made.put(2, vector.view_of_bytes(delta))
    delta.zero_()
    assert torch.equal(made.rows()[0], row_of(2))


def test_a_row_of_another_length_is_refused_and_nobody_counts_as_present() -> None:
    made = RowTable(CLIENTS, d=3)
    with pytest.raises(ProtocolError, match=r"3 coordinates takes 12 bytes, got 4"):
        made.put(2, memoryview(bytes(4)))
    assert 2 not in made


def test_a_table_of_exactly_the_size_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    table(in_memory=48)
    with pytest.raises(RunFailed, match=r"no room \(No space left on device\)"):
        table(in_memory=47)


def test_the_file_has_no_name_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = table(*CLIENTS, in_memory=0)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(made.rows()[3], row_of(7))


KILLED = """
import os, signal, sys, tempfile
from securefl.channels.rows import RowTable
table = RowTable(range(10), d=10_000, in_memory=0)
maps = open("/proc/self/maps").read()
assert tempfile.gettempdir() in maps, maps
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused_before_the_first_update() -> None:
    # 2^50 bytes: no disk has room for them, and nothing is written to find out.
    with pytest.raises(RunFailed, match=r"take 1048576\.0 GiB.*set TMPDIR.*cohort\.size"):
        RowTable(range(2**20), d=2**28)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_all_room_is_reserved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = []

    def reserve(descriptor: int, start: int, size: int) -> None:
        reserved.append((start, size))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", reserve)
    with pytest.raises(RunFailed, match="has no room"):
        table(in_memory=0)
    assert reserved == [(0, 4 * 4 * 3)]
