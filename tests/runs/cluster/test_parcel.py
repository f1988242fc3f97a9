"""Parcels: a cell's files arrive whole, in place of those that were there, and nowhere else."""

import io
import zipfile
from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.runs.cluster.parcel import heal, pack, unpack


def filled(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def archive(*entries: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


FILES = {"status.json": b"{}", "model.safetensors": bytes(range(256)), "ledgers/0.jsonl": b"a\n"}


def test_a_parcel_carries_every_file_but_locks_and_half_written_ones(tmp_path: Path) -> None:
    hidden = {".lock": b"", ".status.json.0a1b2c3d": b"{", "ledgers/.lock": b"", "a/b/c": b"deep"}
    parcel = pack(filled(tmp_path / "cell", FILES | hidden))
    unpack(parcel, tmp_path / "there" / "cell")
    assert contents(tmp_path / "there" / "cell") == FILES


def test_equal_files_make_equal_parcels(tmp_path: Path) -> None:
    first = pack(filled(tmp_path / "a", FILES))
    assert pack(filled(tmp_path / "b", dict(reversed(FILES.items())))) == first


def test_a_parcel_replaces_the_files_that_were_there(tmp_path: Path) -> None:
    cell = filled(tmp_path / "cell", {"status.json": b"old", "metrics.json": b"old"})
    unpack(pack(filled(tmp_path / "new", FILES)), cell)
    assert contents(cell) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell", "new"]


@pytest.mark.parametrize("folder", ["absent", "empty"])
def test_no_files_are_no_bytes_and_make_an_empty_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    assert pack(tmp_path / folder) == b""
    unpack(b"", tmp_path / "cell")
    assert contents(tmp_path / "cell") == {}


@pytest.mark.parametrize(
    "name",
    ["../up", "/etc/passwd", "a/../../up", ".lock", "a/b/c", "a//b", "a\\b", "a\n", "a" * 201],
)
def test_a_name_that_leads_out_of_the_cell_is_refused(tmp_path: Path, name: str) -> None:
    cell = filled(tmp_path / "run" / "cell", {"status.json": b"old"})
    with pytest.raises(ValueError, match="may not hold"):
        unpack(archive(("status.json", b"new"), (name, b"x")), cell)
    assert contents(tmp_path) == {"run/cell/status.json": b"old"}


def test_a_compressed_parcel_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bomb = archive(("status.json", bytes(1000)), how=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"may not hold status\.json"):
        unpack(bomb, tmp_path / "cell")


# With names of their own: an archive holds the second at which it was made.
@pytest.mark.parametrize(
    "damage",
    [b"nonsense", archive(("status.json", b"{}"))[:-30]],
    ids=["no archive", "cut short"],
)
def test_bytes_that_are_no_parcel_are_refused(tmp_path: Path, damage: bytes) -> None:
    with pytest.raises(ValueError, match="no parcel"):
        unpack(damage, tmp_path / "cell")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names",
    [("a", "A"), ("a", "a/b"), ("a/b", "a"), ("a", "A/b")],
)
def test_two_files_of_one_name_are_refused_on_every_file_system(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    with pytest.raises(ValueError, match="two files of one name"):
        unpack(archive(*((name, b"") for name in names)), tmp_path / "cell")
    assert list(tmp_path.iterdir()) == []


def test_an_encrypted_parcel_is_refused(tmp_path: Path) -> None:
    parcel = bytearray(archive(("status.json", b"{}")))
    # The flag in the file's own header and in the list of files.
    parcel[6] |= 1
    parcel[parcel.find(b"PK\1\2") + 8] |= 1
    with pytest.raises(ValueError, match=r"no parcel.* is encrypted"):
        unpack(bytes(parcel), tmp_path / "cell")


@pytest.mark.parametrize("name", ["status.json", "ledgers"])
def test_a_link_is_neither_sent_nor_left_behind(tmp_path: Path, name: str) -> None:
    # A run folder from elsewhere could name a key; a linked folder's ledgers would be forgotten.
    elsewhere = filled(tmp_path / "elsewhere", {"key": b"secret"})
    cell = filled(tmp_path / "cell", {"rounds.jsonl": b""})
    (cell / name).symlink_to(elsewhere / "key" if name == "status.json" else elsewhere)
    with pytest.raises(RunFolderError, match=f"{name} is a link"):
        pack(cell)


def test_files_that_a_check_refuses_replace_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise ValueError(f"there are {len(contents(folder))} files")

    cell = filled(tmp_path / "cell", {"status.json": b"old"})
    with pytest.raises(ValueError, match="there are 3 files"):
        unpack(pack(filled(tmp_path / "new", FILES)), cell, check=refuse)
    assert contents(cell) == {"status.json": b"old"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell", "new"]


def test_what_a_crash_left_of_an_earlier_parcel_is_no_part_of_the_next(tmp_path: Path) -> None:
    filled(tmp_path / ".cell.new", {"half.json": b""})
    unpack(pack(filled(tmp_path / "new", FILES)), tmp_path / "cell")
    assert contents(tmp_path / "cell") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell", "new"]


def test_a_crash_between_old_and_new_files_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = filled(tmp_path / "cell", {"status.json": b"old"})
    rename = Path.rename

    def crash(self: Path, target: Path) -> Path:
        if target == cell:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        unpack(pack(filled(tmp_path / "new", FILES)), cell)
    monkeypatch.undo()
    assert not cell.exists()
    heal(cell)
    assert contents(cell) == {"status.json": b"old"}
    unpack(pack(tmp_path / "new"), cell)
    assert contents(cell) == FILES
    heal(cell)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell", "new"]
