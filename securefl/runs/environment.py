"""The environment of a run: versions and the hash of the code, no name of a person or a machine."""

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("securefl", "attacks", "defenses")
LIBRARIES = (
    "torch",
    "opacus",
    "numpy",
    "scipy",
    "cryptography",
    "tenseal",
    "dp-accounting",
    "scikit-learn",
    "pydantic",
    "safetensors",
    "medmnist",
    "typer",
    "rich",
)


def version() -> str:
    """Returns the installed version of securefl."""
    return metadata.version("securefl")


@cache
def code_hash() -> str:
    """Returns 16 hex digits of SHA-256 over the source files of our three packages.

    They are the same in a checkout, an editable install and a wheel. Versions of libraries are no
    part of them; `environment` has those. Computed once a process: it names the imported code, also
    when the files change later.
    """
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    sources = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    for source in sources:
        content = source.read_bytes()
        # The length keeps two files from hashing like one that holds both.
        digest.update(f"{source.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def environment() -> dict[str, object]:
    """Returns versions of Python, the platform and every library that a result depends on."""
    return {
        "securefl": version(),
        "code": code_hash(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }
