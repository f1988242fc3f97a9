"""The certificates of a deployment: one CA, the coordinator's address, and one for each site."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securefl.errors import RunFolderError
from securefl.files import write_atomic
from securefl.runs.deployed.keys import (
    AUTHORITY_KEY,
    NODE_KEY,
    TLS_KEY,
    passphrase_for,
    read_private,
    write_private,
)

TLS_CERTIFICATE = "tls.crt"
CA_CERTIFICATE = "ca.crt"

LIFE = datetime.timedelta(days=400)
DIRECT = "securefl-direct"  # the protocol in a handshake (RFC 7301); Flower's gate names none
CLOCK_ERROR = datetime.timedelta(minutes=10)  # that another machine may have


@dataclass(frozen=True)
class Authority:
    """A CA that certifies the connections of one deployment.

    Args:
        key: of the CA.
        certificate: signed by itself.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def generate(cls, life: datetime.timedelta = LIFE) -> "Authority":
        """Returns a new CA; what it certifies ends with it."""
        until = datetime.datetime.now(datetime.UTC) + life
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("securefl deployment CA")
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(name, name, key.public_key(), until)
        builder = builder.add_extension(basic, critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def read(cls, folder: Path) -> "Authority":
        """Returns the CA of a coordinator's folder. Raises RunFolderError."""
        key = read_private(folder / AUTHORITY_KEY)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise RunFolderError(f"{folder / AUTHORITY_KEY} is not a key of a CA")
        return cls(key, read_certificate(folder / CA_CERTIFICATE))

    def write(self, folder: Path, passphrase: bytes | None = None) -> None:
        """Writes the CA, whose key stays in the coordinator's folder to admit sites."""
        write_private(folder / AUTHORITY_KEY, self.key, passphrase)
        write_atomic(folder / CA_CERTIFICATE, self.pem.encode())

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return _pem(self.certificate)

    def certify_server(self, folder: Path, host: str, passphrase: bytes | None = None) -> None:
        """Makes the coordinator's TLS key and certificate in its folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general_name(host)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        certificate = self._certified(key.public_key(), "coordinator", usage, [names])
        write_private(folder / TLS_KEY, key, passphrase)
        install(folder, certificate, self.pem)

    def certify_site(self, key: ec.EllipticCurvePublicKey, site: int) -> str:
        """Returns the certificate of a site's node key, in PEM."""
        return self._certified(key, str(site), ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _certified(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        usage: x509.ObjectIdentifier,
        extensions: Sequence[x509.ExtensionType],
    ) -> str:
        until = self.certificate.not_valid_after_utc
        builder = _builder(_named(name), self.certificate.subject, key, until)
        for extension in (x509.ExtendedKeyUsage([usage]), *extensions):
            builder = builder.add_extension(extension, critical=False)
        return _pem(builder.sign(self.key, hashes.SHA256()))


def install(folder: Path, certificate: str, authority: str) -> None:
    """Writes a site's certificate and that of its CA, both in PEM."""
    write_atomic(folder / TLS_CERTIFICATE, certificate.encode())
    write_atomic(folder / CA_CERTIFICATE, authority.encode())


def read_certificate(path: Path) -> x509.Certificate:
    """Returns a certificate. Raises RunFolderError: it is missing or damaged."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise RunFolderError(f"{path} is missing or damaged") from None


def check_certificate(path: Path, now: datetime.datetime) -> None:
    """Raises RunFolderError: a certificate is missing, damaged, expired or not valid yet."""
    certificate = read_certificate(path)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= now <= end:
        raise RunFolderError(
            f"{path} is valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; this "
            f"machine's clock says {now:%Y-%m-%d %H:%M}"
        )


def server_context(folder: Path, admitted: Iterable[str]) -> ssl.SSLContext:
    """Returns the coordinator's side of TLS 1.3, which asks every site for its certificate.

    Args:
        folder: of the coordinator.
        admitted: certificates of the roster, in PEM. No other one is taken, also of the same CA:
            a site that left could sit in the place of the one that has its number now.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return _filled(context, folder, TLS_KEY, cadata="".join(admitted))


def site_context(folder: Path) -> ssl.SSLContext:
    """Returns a site's side of TLS 1.3, which checks the coordinator's name."""
    return _filled(
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder, NODE_KEY, cafile=folder / CA_CERTIFICATE
    )


def _filled(
    context: ssl.SSLContext,
    folder: Path,
    key: str,
    *,
    cafile: Path | None = None,
    cadata: str | None = None,
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([DIRECT])
    asked = partial(passphrase_for, folder / key)
    try:
        context.load_cert_chain(folder / TLS_CERTIFICATE, folder / key, asked)
        context.load_verify_locations(cafile=cafile, cadata=cadata)
    except OSError:  # an ssl.SSLError is one, too
        raise RunFolderError(
            f"{TLS_CERTIFICATE}, {key} or {CA_CERTIFICATE} in {folder} is missing or damaged, or "
            "the certificate is of another key"
        ) from None
    return context


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_ERROR)
        .not_valid_after(until)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
