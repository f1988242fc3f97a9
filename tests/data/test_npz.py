"""Headers of .npz files: nothing is unpacked that is damaged, pickled or too large."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.data import npz
from securefl.errors import DataError


def member(shape: tuple[int, ...], dtype: str, content: bytes) -> bytes:
    """Returns the file of an array that states this shape and holds this content."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    return file.getvalue() + content


def archive(path: Path, content: bytes, *, packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as file:
        file.writestr("train_images.npy", content)
    return path


def test_headers_state_shapes_and_types(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"a": np.zeros((2, 3), ">f4"), "b": np.array(["xy"]), "c": np.ones(())}
    np.savez(tmp_path / "f.npz", **arrays)
    stated = npz.headers(tmp_path / "f.npz")
    assert stated == {
        "a": ((2, 3), np.dtype(">f4")),
        "b": ((1,), np.dtype("<U2")),
        "c": ((), np.dtype("f8")),
    }
    read = npz.arrays(tmp_path / "f.npz", ["a"])
    assert [*read] == ["a"]
    assert (read["a"] == arrays["a"]).all()
    assert b"".join(npz.chunks(tmp_path / "f.npz", "b")).endswith(arrays["b"].tobytes())


def test_a_missing_file_a_folder_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.npz"):
        npz.headers(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        npz.headers(tmp_path)
    path = tmp_path / "f.npz"
    np.savez_compressed(path, train_images=np.arange(4000))
    whole = path.read_bytes()
    damaged = (b"", b"hello", whole[:-30], whole[:200] + bytes(200) + whole[400:])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"f\.npz is damaged, or no \.npz file"):
            npz.arrays(path, npz.headers(path))


def test_an_array_of_objects_is_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("raise SystemExit('the pickle ran')",)

    objects: Any = np.array([Bomb()], dtype=object)
    np.savez(tmp_path / "f.npz", allow_pickle=True, train_images=objects)
    with pytest.raises(DataError, match="train_images is an array of Python objects, which are n"):
        npz.headers(tmp_path / "f.npz")
    structured = np.zeros(2, dtype=[("x", "f4"), ("y", object)])
    np.savez(tmp_path / "f.npz", allow_pickle=True, train_images=structured)
    with pytest.raises(DataError, match="array of Python objects"):
        npz.headers(tmp_path / "f.npz")


def test_a_pickle_that_calls_itself_npz_is_no_npz_file(tmp_path: Path) -> None:
    (tmp_path / "f.npz").write_bytes(b"\x80\x04}q\x00.")
    with pytest.raises(DataError, match=r"damaged, or no \.npz file: File is not a zip file"):
        npz.headers(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ((2**40, 2**20), b"x" * 64),
        ((8,), b"x" * 7),
        ((8,), b"x" * 9),
        ((-8,), b"x" * 8),
        ((-2, -4), b"x" * 8),
    ],
    ids=["huge", "short", "long", "negative", "twice negative"],
)
def test_an_array_that_states_another_size_than_it_has_is_damaged(
    tmp_path: Path, shape: tuple[int, ...], content: bytes
) -> None:
    path = archive(tmp_path / "f.npz", member(shape, "|u1", content))
    with pytest.raises(DataError, match=r"is damaged: train_images states -?[0-9]+ bytes of value"):
        npz.headers(path)


def test_arrays_larger_than_the_memory_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "f.npz", member((2**21,), "|u1", bytes(2**21)))
    assert path.stat().st_size < 2**14
    # The header comes on top.
    monkeypatch.setattr(npz, "_memory_bytes", lambda: 2**21)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(DataError, match=r"f\.npz holds 0\.0 GiB of records unpacked, more than th"):
        npz.arrays(path, ["train_images"])


def test_the_memory_of_this_machine_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert npz._memory_bytes() > 2**28
    monkeypatch.delattr("os.sysconf")
    assert npz._memory_bytes() == npz.DEFAULT_MEMORY_BYTES


def test_a_way_to_pack_that_numpy_does_not_write_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "f.npz", member((1,), "|u1", b"x"), packed=zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="train_images is packed in a way that numpy does not wri"):
        npz.headers(path)
