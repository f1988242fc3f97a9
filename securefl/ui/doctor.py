"""Self-examination of an installation."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

from securefl.data.download import md5_of
from securefl.data.heart import SHA256
from securefl.data.medmnist_info import names, sizes, source
from securefl.files import write_atomic
from securefl.privacy.accounting.epsilon import subsampled_gaussian_epsilon
from securefl.rng import Keystream
from securefl.runs.environment import LIBRARIES

_EPSILON = 6.552  # q = .064, noise multiplier 1.1, 320 steps, delta 1e-5
# AES-256 of the zero block under the zero key: the hash key H of test case 13 in McGrew and Viega's GCM specification.
_ZERO_KEY_STREAM = "dc95c078a2408989ad48a21492842087"


def examine() -> Iterator[tuple[str, bool, str]]:
    """Name, verdict and finding of each check."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    yield "libraries", True, ", ".join(f"{name} {number}" for name, number in versions.items())
    found = subsampled_gaussian_epsilon(0.064, 1.1, 320, 1e-5)
    yield (
        "accountant",
        abs(found - _EPSILON) < 0.001,
        f"epsilon {found:.3f}, known answer {_EPSILON}",
    )
    stream = Keystream(bytes(32)).bytes(16).hex()
    yield "noise", stream == _ZERO_KEY_STREAM, "AES-256-CTR gives the known keystream"
    data = resources.files("securefl.data").joinpath("heart_disease.csv").read_bytes()
    yield (
        "heart data",
        hashlib.sha256(data).hexdigest() == SHA256,
        "the embedded file has its SHA-256",
    )
    yield _disk()
    yield _medmnist()


def _medmnist() -> tuple[str, bool, str]:
    """Are the published files that lie in the folder of SECUREFL_DATA what their publisher says?"""
    named = os.environ.get("SECUREFL_DATA")
    if not named:
        return "SECUREFL_DATA", True, "not set (only needed for MedMNIST)"
    folder = Path(named).expanduser()
    if not folder.is_dir():
        return "SECUREFL_DATA", False, f"there is no folder {folder}"
    published = [source(name, size) for name in names() for size in sizes(name)]
    found = [one for one in published if (folder / one.file).is_file()]
    if wrong := [one.file for one in found if md5_of(folder / one.file) != one.md5]:
        return "SECUREFL_DATA", False, f"not the published files: {', '.join(wrong)}; delete them"
    return "SECUREFL_DATA", True, f"{len(found)} published files, each with its MD5"


def _disk() -> tuple[str, bool, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe")
        write_atomic(path, b"1")
        return "disk", path.read_bytes() == b"1", "files can be written, synced and renamed"
