"""Issue certificates for tests: authorities, server certificates and client certificates, with their keys."""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AWAY = datetime(2100, 1, 1, tzinfo=UTC)


class Pair(Struct, frozen=True):
    """A certificate and its key."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @property
    def cert(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key(self) -> str:
        return self.locked(serialization.NoEncryption())

    def locked(self, how: serialization.KeySerializationEncryption) -> str:
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()

    def write(self, folder: Path, name: str) -> None:
        """Write `name`.crt and `name`.key into the folder; both are renamed at the end, so that a busy machine can't
        leave an old key beside a new certificate for as long as the exporter waits for a change to be complete.
        """
        for ending, text in (("crt", self.cert), ("key", self.key)):
            (folder / f"{name}.{ending}.new").write_text(text)
        for ending in ("crt", "key"):
            (folder / f"{name}.{ending}.new").replace(folder / f"{name}.{ending}")


def authority(name: str) -> Pair:
    return _issue(name, (), None)


def issue(by: Pair, name: str, *sans: x509.GeneralName) -> Pair:
    return _issue(name, sans, by)


def issue_server(by: Pair, name: str = "server") -> Pair:
    """Issue a certificate for the loopback address; `name` is its common name."""
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return issue(by, name, x509.DNSName("localhost"), loopback)


def _issue(name: str, sans: tuple[x509.GeneralName, ...], by: Pair | None) -> Pair:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(FAR_AWAY)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(_usage(signs=by is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((by.private if by else private).public_key()),
            critical=False,
        )
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return Pair(builder.sign(private if by is None else by.private, hashes.SHA256()), private)


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Return the key usage extension, without which Python 3.13 rejects a certificate."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
