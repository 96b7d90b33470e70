"""The web config file: TLS, users, headers and a rate limit, in the format of Prometheus's exporter-toolkit.

A file that is valid there is valid here; a setting that Python's TLS can't support is either reported as without effect
or refused with a cure. Start with `settings`.
"""

from exporter.web.config.load import LoadedWebConfig, WebConfigFile, load
from exporter.web.config.settings import Headers, HttpServerConfig, RateLimit, TlsServerConfig, WebConfig

__all__ = [
    "Headers",
    "HttpServerConfig",
    "LoadedWebConfig",
    "RateLimit",
    "TlsServerConfig",
    "WebConfig",
    "WebConfigFile",
    "load",
]
