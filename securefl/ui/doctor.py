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

# For sample rate .064, noise multiplier 1.1, 320 steps and delta 1e-5.
KNOWN_EPSILON = 6.552
# AES-256 of the zero block under the zero key: the hash key H of test case 13 in McGrew and Viega,
# "The Galois/Counter Mode of Operation (GCM)".
KNOWN_KEYSTREAM = "dc95c078a2408989ad48a21492842087"

Check = tuple[str, bool, str]  # its name, whether it passed, and the observation


def examine() -> Iterator[Check]:
    """Yields the outcome of each check."""
    yield _libraries()
    yield _accountant()
    yield _noise()
    yield _heart()
    yield _disk()
    yield _medmnist()


def _libraries() -> Check:
    versions = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    return "libraries", True, ", ".join(versions)


def _accountant() -> Check:
    """A wrong scipy or dp-accounting would give a wrong epsilon without an error."""
    epsilon = subsampled_gaussian_epsilon(0.064, 1.1, 320, 1e-5)
    is_known = abs(epsilon - KNOWN_EPSILON) < 0.001
    return "accountant", is_known, f"epsilon {epsilon:.3f}, known answer {KNOWN_EPSILON}"


def _noise() -> Check:
    """Noise and masks are expanded by this cipher, so a wrong one would protect nothing."""
    stream = Keystream(bytes(32)).bytes(16).hex()
    return "noise", stream == KNOWN_KEYSTREAM, "AES-256-CTR gives the known keystream"


def _heart() -> Check:
    file = resources.files("securefl.data").joinpath("heart_disease.csv")
    is_published = hashlib.sha256(file.read_bytes()).hexdigest() == SHA256
    return "heart data", is_published, "the embedded file has its SHA-256"


def _disk() -> Check:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe")
        write_atomic(path, b"1")
        is_written = path.read_bytes() == b"1"
    return "disk", is_written, "files can be written, synced and renamed"


def _medmnist() -> Check:
    """Compares the files in the folder of SECUREFL_DATA with their published MD5."""
    name = "SECUREFL_DATA"
    value = os.environ.get(name)
    if not value:
        return name, True, "not set (only needed for MedMNIST)"
    folder = Path(value).expanduser()
    if not folder.is_dir():
        return name, False, f"there is no folder {folder}"
    published = [source(data, size) for data in names() for size in sizes(data)]
    # Nobody needs all of them: a set that is not there is no fault.
    present = [file for file in published if (folder / file.file).is_file()]
    wrong = [file.file for file in present if md5_of(folder / file.file) != file.md5]
    if wrong:
        return name, False, f"not the published files: {', '.join(wrong)}; delete them"
    return name, True, f"{len(present)} published files, each with its MD5"
