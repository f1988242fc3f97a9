"""Files are whole or absent, lines too, and a folder has one holder at a time."""

import math
import os
from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.files import (
    append_line,
    locked,
    read_lines,
    write_atomic,
    write_json,
)


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def broken(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_until_the_rename_the_old_content_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def crash(source: Path, target: Path) -> Path:
        assert source.read_bytes() == b"new"
        raise OSError("cut here")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="cut here"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    assert read_lines(path) == [{"a": 1}]


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("nonsense\n")
    with pytest.raises(RunFolderError, match="a line is not JSON"):
        read_lines(tmp_path / "lines")


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x", {"a": math.nan})
    assert not (tmp_path / "x").exists()


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(RunFolderError, match="in use by another run"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass
