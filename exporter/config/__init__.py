"""Every setting, its default and its rule: YAML -> a frozen Config, or one ConfigError with the path and the cure.

Read `settings` first: a field annotated with a Row is a setting, and everything else follows the rows (the reader, the
reference page, the test that config.yaml is complete). `load` reads the file, then the keys it points to. The
surprising fact: defaults are the records' own, so `Config()` is what runs without a file, but for the key.
"""

from exporter.config.difference import differences, in_effect
from exporter.config.discovery import (
    DETAIL_RECORD_TYPES,
    CustomType,
    DetailRecordSettings,
    DiscoverySettings,
    HttpSettings,
    WebhookSettings,
)
from exporter.config.limits import Budget, Threshold
from exporter.config.load import load, parse, resolve_key, resolve_webhook_key
from exporter.config.metrics import RESERVED_LABELS, Buckets, Label, MetricsSettings
from exporter.config.reference import dump, reference, setting_paths
from exporter.config.secret import Secret, public_key
from exporter.config.settings import Account, Config, ConfiguredSession, LedgerSettings, PollingSettings, TreeSettings
from exporter.config.web import REDACT_FIELDS, WebSettings

__all__ = [
    "DETAIL_RECORD_TYPES",
    "REDACT_FIELDS",
    "RESERVED_LABELS",
    "Account",
    "Buckets",
    "Budget",
    "Config",
    "ConfiguredSession",
    "CustomType",
    "DetailRecordSettings",
    "DiscoverySettings",
    "HttpSettings",
    "Label",
    "LedgerSettings",
    "MetricsSettings",
    "PollingSettings",
    "Secret",
    "Threshold",
    "TreeSettings",
    "WebSettings",
    "WebhookSettings",
    "differences",
    "dump",
    "in_effect",
    "load",
    "parse",
    "public_key",
    "reference",
    "resolve_key",
    "resolve_webhook_key",
    "setting_paths",
]
