"""The settings of the web config file, under exporter-toolkit's names, with their defaults and rules.

Rules between settings are in `checks`. Cipher suites and curves keep Go's names; `tls` translates them for OpenSSL.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Struct, field

from exporter.config.rules import ListOf, Section, SettingSpec, choice, file_path, printable, switch, whole
from exporter.config.secret import Secret
from exporter.web.config.rules import Users, duration, header, optional, pem, users

NO_CERTIFICATE = "NoClientCert"
REQUESTED = "RequestClientCert"
ANY = ("RequireAnyClientCert", "RequireClientCert")
IF_GIVEN = "VerifyClientCertIfGiven"
VERIFIED = "RequireAndVerifyClientCert"

VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
"""The oldest first."""

SUITES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""Cipher suites up to TLS 1.2: Go's name and OpenSSL's."""

SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Cipher suites of TLS 1.3; neither Go nor Python can select among them."""

CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

_PATH = optional(file_path())
_VERSION = choice(*VERSIONS)


class TlsServerConfig(Struct, frozen=True, kw_only=True):
    cert_file: Annotated[Path | None, SettingSpec(_PATH, "The server's certificate and its chain.")] = None
    key_file: Annotated[Path | None, SettingSpec(_PATH, "The private key of the certificate.")] = None
    cert: Annotated[Secret | None, SettingSpec(optional(pem("certificates")), "The certificate as text.")] = None
    key: Annotated[Secret | None, SettingSpec(optional(pem("a private key")), "The key as text.")] = None
    client_auth_type: Annotated[
        str,
        SettingSpec(
            optional(choice(NO_CERTIFICATE, REQUESTED, *ANY, IF_GIVEN, VERIFIED), NO_CERTIFICATE),
            "Whether clients need a certificate.",
        ),
    ] = NO_CERTIFICATE
    client_ca_file: Annotated[Path | None, SettingSpec(_PATH, "Authorities that sign the clients' certificates.")] = (
        None
    )
    client_ca: Annotated[Secret | None, SettingSpec(optional(pem("certificates")), "The same as text.")] = None
    client_allowed_sans: Annotated[
        tuple[str, ...] | None,
        SettingSpec(
            ListOf(printable(4096)), "Names (DNS, IP, e-mail, URI), one of which a client's certificate must have."
        ),
    ] = None
    min_version: Annotated[str, SettingSpec(optional(_VERSION, "TLS12"), "The oldest TLS version.")] = "TLS12"
    max_version: Annotated[str, SettingSpec(optional(_VERSION, "TLS13"), "The newest TLS version.")] = "TLS13"
    cipher_suites: Annotated[
        tuple[str, ...],
        SettingSpec(ListOf(choice(*SUITES, *SUITES_13)), "Cipher suites up to TLS 1.2, the preferred one first."),
    ] = ()
    curve_preferences: Annotated[
        tuple[str, ...], SettingSpec(ListOf(choice(*CURVES)), "The curves of the key exchange.")
    ] = ()
    prefer_server_cipher_suites: Annotated[
        bool,
        SettingSpec(optional(switch(), default=True), "The server's order of suites counts, not the client's."),
    ] = True

    @property
    def is_enabled(self) -> bool:
        """True if any of the settings is given by which exporter-toolkit decides on TLS."""
        given = (self.cert_file, self.key_file, self.cert, self.key, self.client_ca_file, self.client_ca)
        return any(one is not None for one in given) or self.client_auth_type != NO_CERTIFICATE

    @property
    def has_client_ca(self) -> bool:
        return self.client_ca_file is not None or self.client_ca is not None


class Headers(Struct, frozen=True, kw_only=True):
    """The only headers that may be set."""

    csp: Annotated[str | None, SettingSpec(optional(header()), "For answers without one of their own.")] = field(
        default=None, name="Content-Security-Policy"
    )
    frame: Annotated[str | None, SettingSpec(optional(header("deny", "sameorigin")), "Instead of DENY.")] = field(
        default=None, name="X-Frame-Options"
    )
    sniff: Annotated[str | None, SettingSpec(optional(header("nosniff")), "The default already.")] = field(
        default=None, name="X-Content-Type-Options"
    )
    xss: Annotated[str | None, SettingSpec(optional(header()), "For old browsers.")] = field(
        default=None, name="X-XSS-Protection"
    )
    hsts: Annotated[str | None, SettingSpec(optional(header()), "Makes browsers stay with HTTPS.")] = field(
        default=None, name="Strict-Transport-Security"
    )

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of each header that is set."""
        for name, key in zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True):
            value = getattr(self, key)
            if value is not None:
                yield name, value


class HttpServerConfig(Struct, frozen=True, kw_only=True):
    http2: Annotated[bool | None, SettingSpec(optional(switch()), "Without effect: the server speaks HTTP/1.1.")] = None
    """Exporter-toolkit's default is true."""
    headers: Annotated[Headers, SettingSpec(Section(Headers), "Headers of every answer.")] = Headers()


class RateLimit(Struct, frozen=True, kw_only=True):
    interval: Annotated[float, SettingSpec(optional(duration(), 0.0), "The time from one request to the next.")] = 0.0
    """In seconds; 0: no limit."""
    burst: Annotated[int, SettingSpec(optional(whole(0, 1_000_000_000), 0), "Requests that may come at once.")] = 0


class WebConfig(Struct, frozen=True, kw_only=True):
    tls_server_config: Annotated[
        TlsServerConfig, SettingSpec(Section(TlsServerConfig), "TLS; off without a certificate.")
    ] = TlsServerConfig()
    http_server_config: Annotated[HttpServerConfig, SettingSpec(Section(HttpServerConfig), "HTTP.")] = (
        HttpServerConfig()
    )
    basic_auth_users: Annotated[
        Users, SettingSpec(users(), "User names and bcrypt hashes; without any, no password is needed.")
    ] = ()
    rate_limit: Annotated[RateLimit, SettingSpec(Section(RateLimit), "The rate limit of all clients together.")] = (
        RateLimit()
    )
