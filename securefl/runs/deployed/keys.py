"""Private keys of a deployment, each made where it is used.

Ed25519 signs envelopes. A site's P-384 key authenticates its connection, in TLS or to Flower.
A passphrase comes from the terminal or from the environment variable SECUREFL_PASSPHRASE.
"""

import getpass
import os
import stat
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from securefl.errors import RunFolderError
from securefl.files import write_atomic

SIGNING_KEY = "identity.pem"
NODE_KEY = "node.pem"
TLS_KEY = "tls.pem"
AUTHORITY_KEY = "ca.pem"
PRIVATE_FILES = (SIGNING_KEY, NODE_KEY, TLS_KEY, AUTHORITY_KEY)
PASSPHRASE = "SECUREFL_PASSPHRASE"  # noqa: S105 - the name of a variable


def make_signing_key(folder: Path, passphrase: bytes | None = None) -> bytes:
    """Makes a party's Ed25519 key in its folder, and returns the public half, 32 bytes."""
    key = Ed25519PrivateKey.generate()
    write_private(folder / SIGNING_KEY, key, passphrase)
    return key.public_key().public_bytes_raw()


def make_node_key(folder: Path, passphrase: bytes | None = None) -> str:
    """Makes a site's P-384 key in its folder; returns the public half as `node_public`."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(folder / NODE_KEY, key, passphrase)
    return node_public(key)


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """Returns a party's own Ed25519 key. Raises RunFolderError: there is none."""
    key = read_private(folder / SIGNING_KEY)
    if not isinstance(key, Ed25519PrivateKey):
        raise RunFolderError(f"{folder / SIGNING_KEY} is not an Ed25519 key")
    return key


def node_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Returns a site's own P-384 key. Raises RunFolderError: there is none."""
    key = read_private(folder / NODE_KEY)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise RunFolderError(f"{folder / NODE_KEY} is not a P-384 key")
    return key


def node_public(key: ec.EllipticCurvePrivateKey) -> str:
    """Returns the public half of a node key, a compressed point in hexadecimal."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        .hex()
    )


def node_key_of(point: str) -> ec.EllipticCurvePublicKey:
    """Returns the public key that `node_public` describes. Raises RunFolderError: it is none."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), bytes.fromhex(point))
    except ValueError:
        raise RunFolderError(f"{point} is no point of P-384") from None


def write_private(path: Path, key: PrivateKeyTypes, passphrase: bytes | None = None) -> None:
    """Writes a private key for its owner's eyes only."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    write_atomic(path, data, secret=True)


def read_private(path: Path) -> PrivateKeyTypes:
    """Returns a private key.

    Raises:
        RunFolderError: it is missing or damaged, others may read it, or the passphrase is wrong.
    """
    try:
        data = path.read_bytes()
        check_private(path)
        return serialization.load_pem_private_key(data, None)
    except (OSError, ValueError):
        raise RunFolderError(f"{path} is missing or damaged") from None
    except TypeError:  # it is encrypted
        pass
    try:
        return serialization.load_pem_private_key(data, passphrase_for(path))
    except ValueError:
        raise RunFolderError(f"the passphrase does not open {path}") from None


def passphrase_for(path: Path) -> bytes:
    """Returns the passphrase of a key, which no command line holds. Raises RunFolderError."""
    given = os.environ.get(PASSPHRASE)
    if given is None and sys.stdin.isatty():
        given = getpass.getpass(f"passphrase of {path}: ")
    if not given:
        raise RunFolderError(f"{path} needs a passphrase: set {PASSPHRASE} or use a terminal")
    return given.encode()


def check_private(path: Path) -> None:
    """Raises RunFolderError: users other than the owner may look into a file or a folder."""
    try:
        is_open = stat.S_IMODE(path.stat().st_mode) & 0o077
    except FileNotFoundError:
        raise RunFolderError(f"there is no {path}") from None
    if is_open:
        mode = "700" if path.is_dir() else "600"
        raise RunFolderError(f"{path} is open to other users: chmod {mode} {path}")
