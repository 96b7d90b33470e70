"""Python's TLS context from the settings of the web config file, and the check of clients' certificates.

Reads no files: certificates and key are passed in as they were read, so that what was checked is what is used. The
library `cryptography` takes 7 MB of memory, so it is imported only where TLS is on.
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
_OLD_VERSIONS = ("TLS10", "TLS11")
_SUITES_WITH_OLD = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
_SECURITY_LEVEL_0 = ":@SECLEVEL=0"
"""Without it OpenSSL 3 doesn't speak TLS 1.0 and 1.1, whatever the versions are set to."""

_VERIFY_MODES = {
    NO_CERTIFICATE: ssl.CERT_NONE,
    REQUESTED: ssl.CERT_NONE,
    IF_GIVEN: ssl.CERT_OPTIONAL,
    VERIFIED: ssl.CERT_REQUIRED,
}


class TlsMaterial(Struct, frozen=True):
    """PEM texts, each with the setting that it came from; Secrets, so that none is ever shown."""

    cert: tuple[str, Secret]
    key: tuple[str, Secret]
    client_ca: tuple[str, Secret] | None

    @classmethod
    def of(cls, tls: TlsServerConfig, files: Mapping[str, bytes | str]) -> "TlsMaterial":
        """Combine the settings with the files that they name: their contents, or why they can't be read."""
        cert, key = _text("cert", tls, files), _text("key", tls, files)
        return cls(cert, key, _text("client_ca", tls, files) if tls.has_client_ca else None)


def _text(setting: str, tls: TlsServerConfig, files: Mapping[str, bytes | str]) -> tuple[str, Secret]:
    inline: Secret | None = getattr(tls, setting)
    if inline is not None:
        return setting, inline
    setting = f"{setting}_file"
    path, content = getattr(tls, setting), files[setting]
    if isinstance(content, str):
        raise _problem(setting, f"cannot read {path} ({content}); create the file or correct the path")
    if len(content) > BYTES_MAX:
        raise _problem(setting, f"{path} is larger than {BYTES_MAX} bytes; is it the right file?")
    return setting, Secret(content.decode("utf-8", "replace"))


class Tls:
    """A TLS context, and the names that clients' certificates must have."""

    def __init__(self, settings: TlsServerConfig, material: TlsMaterial) -> None:
        """Raise ConfigError if OpenSSL can't use the settings."""
        self._settings = settings
        self._material = material
        self.context = _context(settings, material)

    def __eq__(self, other: object) -> bool:
        """Tell whether a client would notice no difference."""
        if not isinstance(other, Tls):
            return NotImplemented
        return (self._settings, self._material) == (other._settings, other._material)

    __hash__ = None  # type: ignore[assignment]  # compared, never a key

    @cached_property
    def _allowed_names(self) -> frozenset[str] | None:
        allowed = self._settings.client_allowed_sans
        return None if allowed is None else frozenset(allowed)

    def admits(self, certificate: bytes | None) -> bool:
        """Tell whether a client's verified certificate (DER) has one of the names in `client_allowed_sans`."""
        if self._allowed_names is None:
            return True
        return certificate is not None and not self._allowed_names.isdisjoint(_names(certificate))

    @property
    def has_chosen_authority(self) -> bool:
        """A verified certificate identifies its owner only if the operator chose the authority or the names.

        The system's authorities sign certificates for anyone.
        """
        return self._material.client_ca is not None or self._allowed_names is not None


def _names(certificate: bytes) -> Iterator[str]:
    """Yield a certificate's subject alternative names, as Go writes them."""
    from cryptography import x509  # noqa: PLC0415 - only where TLS is on

    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
        yield from names.get_values_for_type(kind)
    yield from map(str, names.get_values_for_type(x509.IPAddress))


def _context(tls: TlsServerConfig, material: TlsMaterial) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    suites = [SUITES[suite] for suite in tls.cipher_suites if suite in SUITES]
    only_13 = tls.cipher_suites and not suites
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # `checks` has already warned about an old version
        context.minimum_version = _VERSIONS["TLS13" if only_13 else tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
    if tls.min_version in _OLD_VERSIONS:
        context.set_ciphers((":".join(suites) or _SUITES_WITH_OLD) + _SECURITY_LEVEL_0)
    elif suites:
        context.set_ciphers(":".join(suites))
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if len(set(tls.curve_preferences)) == 1:
        context.set_ecdh_curve(CURVES[tls.curve_preferences[0]])
    _load_certificate(context, material)
    context.verify_mode = _VERIFY_MODES[tls.client_auth_type]
    if material.client_ca is not None:
        # As with Go, every certificate in the file is trusted, also an intermediate or a client's own one.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        setting, text = material.client_ca
        _check_certificates(setting, text)
        try:
            with _as_path(text) as path:
                context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise _problem(setting, f"can't be used ({error.reason}); it must hold certificates in PEM form") from None
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context


def _load_certificate(context: ssl.SSLContext, material: TlsMaterial) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - only where TLS is on

    (cert_setting, cert), (key_setting, key) = material.cert, material.key
    _check_certificates(cert_setting, cert)
    try:
        load_pem_private_key(key.reveal().encode(), None)
    except TypeError:
        cure = "write it without a password (openssl pkey -in ...)"
        raise _problem(key_setting, f"the key is encrypted; {cure}") from None
    except ValueError:
        raise _problem(key_setting, "holds no private key in PEM form") from None
    try:
        with _as_path(cert) as cert_path, _as_path(key) as key_path:
            context.load_cert_chain(cert_path, key_path, password=b"")  # an empty one, or OpenSSL asks on a terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _problem(key_setting, "is not the key of the certificate; a new one needs both") from None
        raise _problem(cert_setting, f"can't be used ({error.reason}); see `openssl x509 -text`") from None


def _check_certificates(setting: str, text: Secret) -> None:
    from cryptography import x509  # noqa: PLC0415 - only where TLS is on

    try:
        x509.load_pem_x509_certificates(text.reveal().encode())
    except ValueError:
        raise _problem(setting, "holds no certificate in PEM form") from None


@contextmanager
def _as_path(text: Secret) -> Iterator[str]:
    # Python loads a key only from a path. This one is in memory, so the key is never written to a disk.
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
