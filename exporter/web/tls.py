"""Certificates and settings -> Python's TLS, and whom it lets in.

Owns what OpenSSL is told, and what is refused because it could not be told. Reads no file: the certificates and the key
are handed over as they were read, so that what is used is what was looked at. The surprising fact: Python loads a key
only from a path, so it gets one that is memory, and the key is never written to a disk.
"""

import os
import ssl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from msgspec import Struct

from exporter.config.document import BYTES_MAX
from exporter.config.secret import Secret
from exporter.core.errors import ConfigError
from exporter.web.config.settings import CURVES, IF_GIVEN, NO_CERTIFICATE, REQUESTED, SUITES, VERIFIED, TlsServerConfig

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_OLD = ("TLS10", "TLS11")
_SUITES_WITH_OLD = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
_LEAST_SECURITY = ":@SECLEVEL=0"
"""Without it OpenSSL 3 does not speak TLS 1.0 and 1.1, whatever the versions are set to."""

_CLIENTS = {
    NO_CERTIFICATE: ssl.CERT_NONE,
    REQUESTED: ssl.CERT_NONE,
    IF_GIVEN: ssl.CERT_OPTIONAL,
    VERIFIED: ssl.CERT_REQUIRED,
}


class TlsMaterial(Struct, frozen=True):
    """PEM texts; all are Secrets, so that none is ever shown."""

    cert: tuple[str, Secret]
    """The key of the setting that it came from, and the text."""
    key: tuple[str, Secret]
    client_ca: tuple[str, Secret] | None

    @classmethod
    def of(cls, tls: TlsServerConfig, files: Mapping[str, bytes | str]) -> "TlsMaterial":
        """Of the settings and the files that they name: their content, or why they can't be read."""
        cert, key = _text("cert", tls, files), _text("key", tls, files)
        return cls(cert, key, _text("client_ca", tls, files) if tls.has_client_ca else None)


def _text(key: str, tls: TlsServerConfig, files: Mapping[str, bytes | str]) -> tuple[str, Secret]:
    inline: Secret | None = getattr(tls, key)
    if inline is not None:
        return key, inline
    key = f"{key}_file"
    content = files[key]
    if isinstance(content, str):
        raise _problem(key, f"cannot read {getattr(tls, key)} ({content}); create the file or correct the path")
    if len(content) > BYTES_MAX:
        raise _problem(key, f"{getattr(tls, key)} is larger than {BYTES_MAX} bytes; is it the right file?")
    return key, Secret(content.decode("utf-8", "replace"))


class Tls:
    """TLS as the web config file wants it."""

    def __init__(self, settings: TlsServerConfig, material: TlsMaterial) -> None:
        """Raises ConfigError if OpenSSL can't use it."""
        self._settings = settings
        self._material = material
        self.context = _context(settings, material)

    def __eq__(self, other: object) -> bool:
        """Whether a client would notice no difference."""
        if not isinstance(other, Tls):
            return NotImplemented
        return (self._settings, self._material) == (other._settings, other._material)

    __hash__ = None  # type: ignore[assignment]  # compared, never looked up

    @cached_property
    def _sans(self) -> frozenset[str] | None:
        allowed = self._settings.client_allowed_sans
        return None if allowed is None else frozenset(allowed)

    def admits(self, certificate: bytes | None) -> bool:
        """Whether a client with this verified certificate (DER) has one of the names that it must have."""
        if self._sans is None:
            return True
        from exporter.web.certificates import names  # noqa: PLC0415 - only who has TLS has it in memory

        return certificate is not None and not self._sans.isdisjoint(names(certificate))

    @property
    def vouches(self) -> bool:
        """Whether a verified certificate says who its owner is; the system's roots have given some to everybody."""
        return self._material.client_ca is not None or self._sans is not None


def _context(tls: TlsServerConfig, material: TlsMaterial) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(context, tls)
    _set_suites(context, tls)
    if len(set(tls.curve_preferences)) == 1:
        context.set_ecdh_curve(CURVES[tls.curve_preferences[0]])
    _load_certificate(context, material)
    context.verify_mode = _CLIENTS[tls.client_auth_type]
    if material.client_ca is not None:
        # As with Go, whatever is in the file is trusted, also an intermediate or a client's own certificate.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load_client_ca(context, *material.client_ca)
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context


def _set_versions(context: ssl.SSLContext, tls: TlsServerConfig) -> None:
    only_13 = tls.cipher_suites and not _suites(tls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # who asks for an old version has been told
        context.minimum_version = _VERSIONS["TLS13" if only_13 else tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]


def _suites(tls: TlsServerConfig) -> list[str]:
    return [SUITES[suite] for suite in tls.cipher_suites if suite in SUITES]


def _set_suites(context: ssl.SSLContext, tls: TlsServerConfig) -> None:
    chosen = ":".join(_suites(tls))
    if tls.min_version in _OLD:
        context.set_ciphers((chosen or _SUITES_WITH_OLD) + _LEAST_SECURITY)
    elif chosen:
        context.set_ciphers(chosen)
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _load_certificate(context: ssl.SSLContext, material: TlsMaterial) -> None:
    (cert_setting, cert), (key_setting, key) = material.cert, material.key
    _check_certificates(cert_setting, cert)
    _check_key(key_setting, key)
    try:
        with _as_path(cert) as cert_path, _as_path(key) as key_path:
            context.load_cert_chain(cert_path, key_path, password=b"")  # never ask on a terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _problem(key_setting, "is not the key of the certificate; a new one needs both") from None
        raise _problem(cert_setting, f"can't be used ({error.reason}); see `openssl x509 -text`") from None


def _check_certificates(setting: str, text: Secret) -> None:
    from exporter.web.certificates import holds_certificates  # noqa: PLC0415 - as above

    if not holds_certificates(text.reveal()):
        raise _problem(setting, "holds no certificate in PEM form")


def _check_key(setting: str, text: Secret) -> None:
    from exporter.web.certificates import holds_key  # noqa: PLC0415 - as above

    try:
        found = holds_key(text.reveal())
    except TypeError:
        raise _problem(setting, "the key is encrypted; write it without a password (openssl pkey -in ...)") from None
    if not found:
        raise _problem(setting, "holds no private key in PEM form")


def _load_client_ca(context: ssl.SSLContext, setting: str, text: Secret) -> None:
    _check_certificates(setting, text)
    try:
        with _as_path(text) as path:
            context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise _problem(setting, f"can't be used ({error.reason}); it must hold certificates in PEM form") from None


@contextmanager
def _as_path(text: Secret) -> Iterator[str]:
    """A path at which the text can be read, without a file."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        content = text.reveal().encode()
        while content:
            content = content[os.write(descriptor, content) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _problem(setting: str, problem: str) -> ConfigError:
    return ConfigError(f"tls_server_config.{setting}", problem)
