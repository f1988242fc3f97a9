"""Files are whole or absent, lines too, and a folder has one holder at a time."""

import math
import os
from pathlib import Path

import pytest

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import (
    append_line,
    locked,
    parse_toml,
    read_json,
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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        # tomllib takes 12 GB for this one.
        (".".join("a" * 100_000) + " = 1", "a key has more than 32 parts"),
        (" . ".join(['"a"', "'b'"] * 17) + " = 1", "a key has more than 32 parts"),
        ("x = { " + ".".join("a" * 33) + " = 1 }", "a key has more than 32 parts"),
        ("x = " + "[" * 5000, "its tables or lists lie too deep"),
        ("x = " + "9" * 5000, "Exceeds the limit"),
        ("x = ", "Invalid value"),
    ],
)
def test_toml_of_somebody_else_costs_little(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=f"the scenario is not valid TOML: {sentence}"):
        parse_toml(text, "the scenario")


def test_a_key_of_32_parts_and_many_numbers_are_toml() -> None:
    values: object = parse_toml(".".join("a" * 32) + " = 1", "the scenario")
    for _ in range(32):
        assert isinstance(values, dict)
        values = values["a"]
    assert values == 1
    assert len(parse_toml(f"x = [{'1.5, ' * 99}]", "the scenario")["x"]) == 99


def test_json_that_lies_too_deep_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"charter":' * 100_000)
    with pytest.raises(RunFolderError, match="is damaged"):
        read_json(tmp_path / "x.json")
