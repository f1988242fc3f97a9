"""The keyed digest of records, and the key in the user's cache."""

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from securefl.data.own.digest import PUBLIC_KEY, digest_key, digest_of
from securefl.errors import DataError

KEY = bytes(range(32))


def digest(*parts: tuple[str, list[bytes]], key: bytes = KEY) -> str:
    return digest_of(key, parts)


def test_known_answer_of_the_digest() -> None:
    def part(content: bytes) -> bytes:
        return hashlib.blake2b(content, key=KEY, person=b"securefl part").digest()

    expected = hashlib.blake2b(
        part(b"name") + part(b"content"), key=KEY, digest_size=16, person=b"securefl records"
    )
    assert digest(("name", [b"con", b"", b"tent"])) == expected.hexdigest()
    assert len(expected.hexdigest()) == 32


def test_no_byte_moves_between_names_and_contents() -> None:
    digests = {
        digest(("ab", [b"cd"])),
        digest(("a", [b"bcd"])),
        digest(("ab", [b"c"]), ("", [b"d"])),
        digest(("ab", [b"cd"]), ("", [])),
        digest(("cd", [b"ab"])),
        digest(("a", []), ("b", [b"cd"])),
        digest(("b", [b"cd"]), ("a", [])),
        digest(("ab", [b"cd"]), key=bytes(32)),
        digest(("\ud800", [b"cd"])),
        digest(("\udc80", [b"cd"])),
        digest(),
    }
    assert len(digests) == 11


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "cache/securefl"
    old_mask = os.umask(0)
    try:
        key = digest_key(folder)
    finally:
        os.umask(old_mask)
    assert len(key) == 32
    assert digest_key(folder) == key
    path = folder / "data-digest.key"
    assert path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert digest_key(tmp_path / "other") != key
    # Nothing half-made stays.
    assert {entry.name for entry in folder.iterdir()} <= {"data-digest.key", ".lock"}


def test_two_that_race_get_the_same_key(tmp_path: Path) -> None:
    keys = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        keys.append(digest_key(tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_key_that_others_could_have_put_there_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "data-digest.key"
    key.write_bytes(bytes(32))
    for mode in (0o640, 0o602):
        key.chmod(mode)
        with pytest.raises(DataError, match="is a secret that others may read or write"):
            digest_key(tmp_path)
    key.chmod(0o600)
    assert digest_key(tmp_path) == bytes(32)


def test_the_public_key_needs_no_file_and_is_the_same_everywhere(tmp_path: Path) -> None:
    assert digest_key(tmp_path / "none", public=True) == PUBLIC_KEY
    assert not (tmp_path / "none").exists()
    assert PUBLIC_KEY.hex() == hashlib.sha256(b"securefl digest of public records").hexdigest()


def test_a_damaged_key_and_a_folder_that_cannot_be_made_are_named(tmp_path: Path) -> None:
    (tmp_path / "data-digest.key").write_bytes(b"short")
    (tmp_path / "data-digest.key").chmod(0o600)
    with pytest.raises(DataError, match=r"data-digest\.key is damaged: it holds 5 bytes, not 32"):
        digest_key(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot read or make the key .*: Not a directory"):
        digest_key(tmp_path / "file/cache")
