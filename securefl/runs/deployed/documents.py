"""Documents that parties hand to each other: strict JSON, bounded before it is read."""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from securefl.errors import RunFolderError
from securefl.files import write_json
from securefl.messages import sentences

MAX_BYTES = 4 << 20
TIME = "%Y-%m-%dT%H:%M:%SZ"

_DIGITS_OF_A_GROUP = 4
_GROUPS = 8  # 128 bits, short enough to be read aloud

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # a digest or an Ed25519 public key
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
# A point of P-384, compressed.
NodeKey = Annotated[str, Field(pattern=r"^0[23][0-9a-f]{96}$")]
# A name is also a part of file names.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Pem = Annotated[str, Field(max_length=8192)]
Version = Annotated[int, Field(ge=1, le=1)]


class Document(BaseModel):
    """A document of one version; unknown or missing keys and other types are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    kind: ClassVar[str] = "document"

    @property
    def digest(self) -> bytes:
        """The SHA-256 of everything in it, under a label of its own kind."""
        return hashlib.sha256(f"securefl {self.kind} 1".encode() + self.canonical()).digest()

    @property
    def fingerprint(self) -> str:
        """The first half of the digest, in groups that people read to each other."""
        digits = self.digest.hex()
        starts = range(0, _GROUPS * _DIGITS_OF_A_GROUP, _DIGITS_OF_A_GROUP)
        return " ".join(digits[start : start + _DIGITS_OF_A_GROUP] for start in starts)

    def canonical(self, *, without: frozenset[str] = frozenset()) -> bytes:
        """Returns the same bytes for the same content, whatever the file looks like."""
        values = self.model_dump(exclude=set(without))
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def write(self, path: Path) -> None:
        """Writes the document, which holds no secret."""
        write_json(path, self.model_dump())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the document in a file. Raises RunFolderError."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as reason:
            raise RunFolderError(f"cannot read {path}: {reason.strerror}") from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, source: str) -> Self:
        """Returns the document in some bytes. Raises RunFolderError: names the source."""
        refused = f"{source} is no {cls.kind} of version 1"
        if len(data) > MAX_BYTES:
            raise RunFolderError(f"{refused}: it is larger than {MAX_BYTES} bytes")
        try:
            return cls.model_validate_json(data)
        except ValidationError as reason:
            first = sentences(reason, cls, "the file").splitlines()[0]
            raise RunFolderError(f"{refused}: {first[:300]}") from None


def is_valid(kind: Any, value: object) -> bool:
    """Whether a value is of one of the kinds above, such as `Name`."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def is_signed(data: bytes, signature: str, key: str) -> bool:
    """Whether an Ed25519 key has signed the data; key and signature are in hexadecimal."""
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def utc_now() -> datetime.datetime:
    """Returns this machine's time."""
    return datetime.datetime.now(datetime.UTC)


def stamp(moment: datetime.datetime) -> str:
    """Returns a moment in UTC, to the second, as documents write it."""
    return moment.astimezone(datetime.UTC).strftime(TIME)


def moment_of(stamped: str) -> datetime.datetime:
    """Returns the moment that a document names. Raises ValueError."""
    if not stamped.isascii():  # `strptime` takes any script's digits, other readers do not
        raise ValueError("a moment is written with the digits 0 to 9")
    return datetime.datetime.strptime(stamped, TIME).replace(tzinfo=datetime.UTC)
