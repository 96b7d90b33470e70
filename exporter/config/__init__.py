"""Every setting with its default and its rule, and how the YAML file becomes a frozen Config.

Read `settings` first: a field annotated with a SettingSpec is a setting, and everything else follows from these
records. `load` reads the file, then the keys that it points to. `Config()` is what runs without a file.
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
from exporter.config.load import load, parse, resolve_key, resolve_webhook_key
from exporter.config.metrics import Buckets, Budget, Label, MetricsSettings, Threshold
from exporter.config.polling import PollingSettings, TreeSettings
from exporter.config.read import dump
from exporter.config.secret import Secret, public_key
from exporter.config.settings import REDACT_FIELDS, Account, Config, ConfiguredSession, LedgerSettings, WebSettings

__all__ = [
    "DETAIL_RECORD_TYPES",
    "REDACT_FIELDS",
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
    "resolve_key",
    "resolve_webhook_key",
]
