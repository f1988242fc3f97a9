"""Self-examination of an installation."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

from securefl.data.heart import SHA256
from securefl.environment import LIBRARIES
from securefl.files import write_atomic
from securefl.privacy.accounting import subsampled_gaussian_epsilon
from securefl.rng import Keystream

_EPSILON = 6.552  # q = .064, noise multiplier 1.1, 320 steps, delta 1e-5
# AES-256 of the zero block under the zero key: the hash key H of test case 13 in McGrew and Viega's GCM specification.
_ZERO_KEY_STREAM = "dc95c078a2408989ad48a21492842087"


def examine() -> Iterator[tuple[str, bool, str]]:
    """Name, verdict and finding of each check."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    yield "libraries", True, ", ".join(f"{name} {number}" for name, number in versions.items())
    found = subsampled_gaussian_epsilon(0.064, 1.1, 320, 1e-5)
    yield "accountant", abs(found - _EPSILON) < 0.001, f"epsilon {found:.3f}, known answer {_EPSILON}"
    stream = Keystream(bytes(32)).bytes(16).hex()
    yield "noise", stream == _ZERO_KEY_STREAM, "AES-256-CTR gives the known keystream"
    data = resources.files("securefl.data").joinpath("heart_disease.csv").read_bytes()
    yield "heart data", hashlib.sha256(data).hexdigest() == SHA256, "the embedded file has its SHA-256"
    yield _disk()
    folder = os.environ.get("SECUREFL_DATA")
    count = len(list(Path(folder).glob("*.npz"))) if folder else 0
    yield "SECUREFL_DATA", True, f"{count} data files" if folder else "not set (only needed for MedMNIST)"


def _disk() -> tuple[str, bool, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe")
        write_atomic(path, b"1")
        return "disk", path.read_bytes() == b"1", "files can be written, synced and renamed"
