"""Rules between settings of the web config file, and remarks on settings without effect.

The rules are exporter-toolkit's, and the differences between Go's TLS and Python's. An unsupported setting is refused
if it would change which clients can connect, else it gets a remark. `RequireAnyClientCert` is the only policy that is
not supported at all: Python can't ask for a certificate without verifying it.
"""

from collections.abc import Iterator

from exporter.config.read import Problem
from exporter.web.config.settings import (
    ANY,
    NO_CERTIFICATE,
    REQUESTED,
    SUITES,
    SUITES_13,
    VERIFIED,
    VERSIONS,
    TlsServerConfig,
    WebConfig,
)

_TLS = "tls_server_config"
_FOR_HTTP2 = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
_RSA = "TLS_RSA_"


def problems_between(config: WebConfig) -> Iterator[Problem]:
    """Yield the path of a setting, and what is wrong with the cure, for every problem."""
    tls = config.tls_server_config
    for key, file, inline in (("cert", tls.cert_file, tls.cert), ("key", tls.key_file, tls.key)):
        if tls.is_enabled and file is None and inline is None:
            yield f"{_TLS}.{key}_file", f"missing, and no {key} either; TLS needs one of the two"
    for key, file, inline in (
        ("cert", tls.cert_file, tls.cert),
        ("key", tls.key_file, tls.key),
        ("client_ca", tls.client_ca_file, tls.client_ca),
    ):
        if file is not None and inline is not None:
            yield f"{_TLS}.{key}", f"given beside {key}_file; keep one of the two"
    yield from _client_problems(tls)
    if VERSIONS.index(tls.max_version) < VERSIONS.index(tls.min_version):
        yield f"{_TLS}.max_version", f"is older than min_version, {tls.min_version}; no client could connect"
    if tls.is_enabled and tls.cipher_suites:
        yield from _suite_problems(tls, http2=config.http_server_config.http2 is not False)
    limit = config.rate_limit
    if limit.interval > 0 and limit.burst < 1:
        yield "rate_limit.burst", "expected at least 1; with less, every request would be refused"


def _client_problems(tls: TlsServerConfig) -> Iterator[Problem]:
    if tls.client_auth_type in ANY:
        problem = f"{tls.client_auth_type} is not supported: a certificate that is asked for is verified too"
        cure = f"use {VERIFIED} with a client_ca_file (of self-signed clients: their own certificates)"
        yield f"{_TLS}.client_auth_type", f"{problem}; {cure}"
    if tls.has_client_ca and tls.client_auth_type == NO_CERTIFICATE:
        key = "client_ca_file" if tls.client_ca_file is not None else "client_ca"
        yield f"{_TLS}.{key}", f"without effect as long as client_auth_type is {NO_CERTIFICATE}; use {VERIFIED}"
    if tls.client_allowed_sans is not None and tls.client_auth_type not in {*ANY, VERIFIED}:
        problem = "a client may come without a certificate, so there is nothing to compare"
        yield f"{_TLS}.client_allowed_sans", f"{problem}; set client_auth_type to {VERIFIED}"


def _suite_problems(tls: TlsServerConfig, *, http2: bool) -> Iterator[Problem]:
    if tls.max_version != "TLS13" and not set(tls.cipher_suites) & SUITES.keys():
        problem = f"has suites of TLS 1.3 only, beside max_version {tls.max_version}"
        yield f"{_TLS}.cipher_suites", f"{problem}; no client could connect"
    elif http2 and tls.min_version != "TLS13" and not set(tls.cipher_suites) & set(_FOR_HTTP2):
        cure = "add one, or write http2: false in http_server_config"
        yield f"{_TLS}.cipher_suites", f"HTTP/2 needs {' or '.join(_FOR_HTTP2)}; {cure}"


def remarks(config: WebConfig) -> Iterator[str]:
    """Yield a warning for every setting that is accepted but has no effect, or not the expected one."""
    tls = config.tls_server_config
    if config.http_server_config.http2 is not None:
        yield "http_server_config.http2 is without effect: HTTP/1.1 is served"
    if not tls.is_enabled:
        if tls != TlsServerConfig():
            yield f"{_TLS} is without effect: it names no certificate, so plain HTTP is served"
        return
    if tls.client_auth_type == REQUESTED:
        yield f"{_TLS}.client_auth_type {REQUESTED} is as {NO_CERTIFICATE}: clients are not asked for certificates"
    if set(tls.cipher_suites) & set(SUITES_13):
        yield f"{_TLS}.cipher_suites is without effect on the suites of TLS 1.3: all are offered"
    if any(suite.startswith(_RSA) for suite in tls.cipher_suites):
        yield f"{_TLS}.cipher_suites has suites without forward secrecy ({_RSA}...); newer exporters refuse them"
    if len(set(tls.curve_preferences)) > 1:
        yield f"{_TLS}.curve_preferences is without effect: only one curve can be chosen, else OpenSSL's are offered"
    if VERSIONS.index(tls.min_version) < VERSIONS.index("TLS12"):
        yield f"{_TLS}.min_version lets clients use {tls.min_version}, which is no longer safe"
