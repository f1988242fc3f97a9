"""A site's approval of a charter; nothing is sent to anyone before all sites have signed."""

from collections.abc import Iterable
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from securefl.errors import RunFolderError
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.documents import Document, Hex32, Signature, Version, is_signed

_LABEL = b"securefl approval of charter 1"


class Approval(Document):
    """One site's signature under a charter.

    Attributes:
        version: of this document.
        site: its number in the roster.
        charter: SHA-256 of the charter, in hexadecimal.
        epoch: of the charter, for messages.
        signature: Ed25519, over site and charter.
    """

    kind: ClassVar[str] = "approval"

    version: Version
    site: int = Field(ge=0)
    charter: Hex32
    epoch: int = Field(ge=1)
    signature: Signature

    @classmethod
    def signed(cls, charter: Charter, site: int, key: Ed25519PrivateKey) -> Self:
        """Returns a site's approval of a charter."""
        return cls(
            version=1,
            site=site,
            charter=charter.digest.hex(),
            epoch=charter.epoch,
            signature=key.sign(_body(charter.digest, site)).hex(),
        )

    def check(self, charter: Charter) -> None:
        """Raises RunFolderError: it approves another charter, or its site did not sign it."""
        if self.charter != charter.digest.hex():
            older = f", of epoch {self.epoch}" if self.epoch != charter.epoch else ""
            raise RunFolderError(
                f"site {self.site} approved another charter{older}; this one has epoch "
                f"{charter.epoch} and fingerprint {charter.fingerprint}"
            )
        member = charter.roster.get(str(self.site))
        if member is None:
            raise RunFolderError(f"an approval is of site {self.site}, which the roster lacks")
        if not is_signed(_body(charter.digest, self.site), self.signature, member.key):
            raise RunFolderError(f"the approval of site {self.site} is not signed by its key")


class Approvals(Document):
    """The approvals of all sites, as the coordinator shows them to each."""

    kind: ClassVar[str] = "list of approvals"

    approvals: tuple[Approval, ...] = Field(max_length=4096)

    def check(self, charter: Charter) -> None:
        """Raises RunFolderError: a site has not approved the charter."""
        for approval in self.approvals:
            approval.check(charter)
        missing = missing_of(charter, self.approvals)
        if missing:
            raise RunFolderError(f"the charter is not approved by {', '.join(missing)}")


def missing_of(charter: Charter, approvals: Iterable[Approval]) -> tuple[str, ...]:
    """Returns the names of the sites without an approval."""
    sites = {str(approval.site) for approval in approvals}
    return tuple(member.name for site, member in charter.roster.items() if site not in sites)


def _body(charter: bytes, site: int) -> bytes:
    return _LABEL + site.to_bytes(4, "little") + charter
