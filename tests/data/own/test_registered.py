"""The digest that names a site's data set."""

import hashlib
import os
from pathlib import Path

import pytest

from securefl.data.own.registered import data_digest
from securefl.errors import DataError, NotReady


def file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_the_digest_is_a_sha_256_of_the_files_own(tmp_path: Path) -> None:
    path = file(tmp_path, "visits.csv", b"age\n30\n")
    whole = b"securefl data set 1" + hashlib.sha256(b"age\n30\n").digest()
    assert data_digest([path]) == hashlib.sha256(whole).hexdigest()


def test_a_moved_file_is_the_same_data_set(tmp_path: Path) -> None:
    first, second = file(tmp_path, "a.csv", b"1"), file(tmp_path, "b.csv", b"2")
    before = data_digest([first, second])
    moved = first.rename(tmp_path / "c.csv")
    assert data_digest([second, moved]) == before


@pytest.mark.parametrize("contents", [(b"1", b"3"), (b"12", b""), (b"", b"12"), (b"1", b"2", b"2")])
def test_other_bytes_are_another_data_set(tmp_path: Path, contents: tuple[bytes, ...]) -> None:
    def digest(*contents: bytes) -> str:
        return data_digest([file(tmp_path, f"{i}", content) for i, content in enumerate(contents)])

    assert digest(*contents) != digest(b"1", b"2")


def test_a_file_larger_than_a_piece_counts_to_its_end(tmp_path: Path) -> None:
    long = bytes(2**20)
    one, other = file(tmp_path, "a", long + b"1"), file(tmp_path, "b", long + b"2")
    assert data_digest([one]) != data_digest([other])


def test_a_missing_file_is_named_with_exit_code_2(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"there is no file .*visits\.csv") as refused:
        data_digest([tmp_path / "visits.csv"])
    assert refused.value.exit_code == 2
    assert isinstance(refused.value, DataError)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_opened(tmp_path: Path, make: type) -> None:
    make(tmp_path / "records")
    with pytest.raises(NotReady, match=r"records is no file of records"):
        data_digest([tmp_path / "records"])


def test_a_data_set_has_files() -> None:
    with pytest.raises(ValueError, match="one file or more"):
        data_digest([])
