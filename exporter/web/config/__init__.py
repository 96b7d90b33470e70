"""The web config file: TLS, users, headers and a rate limit of the web surface, as Prometheus's own exporters have it.

Owns the format of exporter-toolkit: a file that is good there is good here, and what Python's TLS can't do is either
said to be without effect or refused with a cure. Read `settings` first. Knows no server. The surprising fact: an empty
file is a good one, and means plain HTTP for everybody, which is why a change is only taken once it has stood still.
"""

from exporter.web.config.load import Loaded, WebConfigFile, load
from exporter.web.config.settings import Headers, HttpServerConfig, RateLimit, TlsServerConfig, WebConfig

__all__ = [
    "Headers",
    "HttpServerConfig",
    "Loaded",
    "RateLimit",
    "TlsServerConfig",
    "WebConfig",
    "WebConfigFile",
    "load",
]
