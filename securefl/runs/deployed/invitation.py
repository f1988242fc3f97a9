"""How a site joins: the coordinator's public invitation, and the site's signed request."""

from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import RunFolderError
from securefl.runs.deployed.charter import Charter, Shared
from securefl.runs.deployed.documents import (
    Document,
    Hex32,
    Host,
    Name,
    NodeKey,
    Pem,
    Port,
    Signature,
    Version,
    is_signed,
)

INVITATION = "invitation.json"

_LABEL = b"securefl join request 1"
_UNSIGNED = frozenset({"signature"})


class Invitation(Document):
    """What a coordinator publishes; a site compares the fingerprint by telephone.

    Attributes:
        version: of this document.
        host: name or address that sites connect to.
        port: of it.
        authority: certificate of the deployment's CA, in PEM.
        server: the coordinator's Ed25519 public key, in hexadecimal.
        shared: the scenario.
    """

    kind: ClassVar[str] = "invitation"

    version: Version
    host: Host
    port: Port
    authority: Pem
    server: Hex32
    shared: Shared

    def check(self, charter: Charter) -> None:
        """Raises RunFolderError: the charter is of another coordinator than the invitation."""
        if charter.server != self.server:
            raise RunFolderError("the charter is not of the coordinator that sent the invitation")


class JoinRequest(Document):
    """A site's public keys, signed by one of them.

    Attributes:
        version: of this document.
        name: of the site.
        key: its Ed25519 public key, in hexadecimal.
        node: the P-384 public key of its connection, in hexadecimal.
        invitation: SHA-256 of the invitation that the site holds, in hexadecimal.
        signature: Ed25519, over all of this.
    """

    kind: ClassVar[str] = "join request"

    version: Version
    name: Name
    key: Hex32
    node: NodeKey
    invitation: Hex32
    signature: Signature

    @classmethod
    def signed(cls, name: str, node: str, invitation: Invitation, key: Ed25519PrivateKey) -> Self:
        """Returns a site's request. Raises ValidationError: the name cannot be used."""
        draft = cls(
            version=1,
            name=name,
            key=key.public_key().public_bytes_raw().hex(),
            node=node,
            invitation=invitation.digest.hex(),
            signature="0" * 128,
        )
        return draft.model_copy(update={"signature": key.sign(draft._body()).hex()})

    def check(self, invitation: Invitation) -> None:
        """Raises RunFolderError: it answers another invitation, or its key did not sign it."""
        if not is_signed(self._body(), self.signature, self.key):
            raise RunFolderError(f"the request of {self.name} is not signed by its key")
        if self.invitation != invitation.digest.hex():
            raise RunFolderError(f"the request of {self.name} answers another invitation")

    def _body(self) -> bytes:
        return _LABEL + self.canonical(without=_UNSIGNED)
