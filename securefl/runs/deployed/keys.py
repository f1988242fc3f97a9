"""Keys and certificates of a deployment, made by the cryptography library.

Ed25519 signs envelopes. P-256 serves TLS: one CA, one certificate for the coordinator's address,
one for each site, whose common name is the site's number.
"""

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securefl.errors import RunFolderError
from securefl.files import write_atomic

SIGNING_KEY = "identity.pem"
TLS_KEY = "tls.pem"
TLS_CERTIFICATE = "tls.crt"
CA_CERTIFICATE = "ca.crt"
PRIVATE_FILES = (SIGNING_KEY, TLS_KEY)

_LIFE = datetime.timedelta(days=7)
_CLOCK_ERROR = datetime.timedelta(minutes=10)  # that another machine may have


def make_signing_key(folder: Path) -> bytes:
    """Makes a party's Ed25519 key in its folder, and returns the public half, 32 bytes."""
    key = Ed25519PrivateKey.generate()
    write_atomic(folder / SIGNING_KEY, _private(key), secret=True)
    return key.public_key().public_bytes_raw()


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """Returns a party's own Ed25519 key. Raises RunFolderError: there is none."""
    try:
        key = serialization.load_pem_private_key((folder / SIGNING_KEY).read_bytes(), None)
    except (OSError, ValueError):
        raise RunFolderError(f"{folder / SIGNING_KEY} is missing or damaged") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise RunFolderError(f"{folder / SIGNING_KEY} is not an Ed25519 key")
    return key


@dataclass(frozen=True)
class Authority:
    """A CA that certifies the TLS keys of one deployment; its key is never written.

    Args:
        key: of the CA.
        certificate: signed by itself.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def generate(cls) -> "Authority":
        """Returns a new CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("securefl deployment CA")
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(name, name, key.public_key()).add_extension(basic, critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def certify_server(self, folder: Path, address: str) -> None:
        """Makes the coordinator's TLS key and certificate for an IP address, in its folder."""
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        self._certify(folder, "coordinator", ExtendedKeyUsageOID.SERVER_AUTH, [names])

    def certify_site(self, folder: Path, site: int) -> None:
        """Makes a site's TLS key and certificate in its folder."""
        self._certify(folder, str(site), ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _certify(
        self,
        folder: Path,
        name: str,
        usage: x509.ObjectIdentifier,
        extensions: Sequence[x509.ExtensionType],
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self.certificate.subject, key.public_key())
        for extension in (x509.ExtendedKeyUsage([usage]), *extensions):
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        write_atomic(folder / TLS_KEY, _private(key), secret=True)
        write_atomic(folder / TLS_CERTIFICATE, _public(certificate))
        write_atomic(folder / CA_CERTIFICATE, _public(self.certificate))


def server_context(folder: Path) -> ssl.SSLContext:
    """Returns the coordinator's side of TLS 1.3, which asks every site for its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, folder)


def site_context(folder: Path) -> ssl.SSLContext:
    """Returns a site's side of TLS 1.3, which checks the coordinator's name."""
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder)


def _filled(context: ssl.SSLContext, folder: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / TLS_CERTIFICATE, folder / TLS_KEY)
    context.load_verify_locations(folder / CA_CERTIFICATE)
    return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_ERROR)
        .not_valid_after(now + _LIFE)
    )


def _private(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
