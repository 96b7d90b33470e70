"""All settings: the key, the rule, the default and the help of each, once.

A field annotated with a SettingSpec is a setting; the reader, docs/configuration.md and the test of config.yaml follow
from these records. The exporter reads the same records, so there is no second place for a default.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from exporter.config.discovery import DiscoverySettings
from exporter.config.metrics import Budget, MetricsSettings
from exporter.config.polling import PollingSettings, TreeSettings
from exporter.config.rules import (
    ListOf,
    Section,
    SettingSpec,
    date_or_time,
    distinct,
    file_path,
    ledger_url,
    number,
    printable,
    text,
    variable,
    web_url,
    whole,
)
from exporter.config.secret import Secret
from exporter.core.model import SessionRef

REDACT_FIELDS = (
    *("from", "to", "cli", "cld", "ani", "dnis", "msisdn", "number", "*_number", "*numbers", "*phone", "*phones"),
    *("*lrn", "*lrn_*", "*jip", "wa_id"),
    *("from_uri", "to_uri", "sip_uri", "*_sip_uri", "destination_uri", "request_uri", "contact", "contacts"),
    *("sip_user*", "sip_from*", "sip_to*", "sip_full*", "sip_call_id", "cc", "bcc", "reply_to"),
    *("*username", "user_name", "*display_name", "*caller_name", "*callee_name", "caller*id", "caller_id_*"),
    *("caller", "callee", "cnam*", "first_name", "last_name", "full_name", "*person_name", "*customer_name"),
    *("*email", "*emails", "*address", "*addresses", "ip", "ipv4", "ipv6", "imsi", "*imei", "*imeis", "iccid", "eid"),
    *("birthday", "latitude", "longitude", "*device_location"),
    *("*sip_headers", "*custom_headers", "client_state", "*transcript", "*transcription", "transcription_text"),
    *("text", "text_body", "reply_text", "body", "html_body", "content", "subject", "digit", "digits", "results"),
    *("*recording_url", "*recording_urls", "download_url", "download_urls", "*media_url"),
)
"""Phone numbers and what is derived from them; SIP; names; other addresses and SIM cards; birth and place; headers and
spoken, written or typed text; links to recordings."""

KEY = ("api_key_env", "api_key_file")
WEBHOOK_KEY = ("webhook_public_key_env", "webhook_public_key_file")

_ACCOUNT = text("1 to 64 of the characters a-z, A-Z, 0-9, _ and -", r"[a-zA-Z0-9_-]{1,64}")


class Account(Struct, frozen=True, kw_only=True):
    """A Telnyx account; `load` adds its keys."""

    name: Annotated[
        str,
        SettingSpec(
            _ACCOUNT,
            "The account's name: the value of the label `account`, and part of every event's identity in the ledger. "
            "An account renamed here counts as a new one, and its sessions are booked again.",
        ),
    ] = "default"
    api_key_env: Annotated[
        str | None,
        SettingSpec(variable(), "The environment variable with the API key. Give this or `api_key_file`, not both."),
    ] = "TELNYX_API_KEY"
    api_key_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "A file with the API key and nothing else, such as a mounted secret.",
            "none: the key comes from `api_key_env`",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "Certificate authorities (PEM) to trust instead of the public ones, as behind a proxy with its own root.",
            "the public authorities",
            advanced=True,
        ),
    ] = None
    base_url: Annotated[
        str,
        SettingSpec(
            web_url(),
            "The API's URL with its version. Plain http sends the key unencrypted: only for the simulator.",
            advanced=True,
        ),
    ] = "https://api.telnyx.com/v2"
    currencies: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(text("three capital letters (ISO 4217), such as USD", r"[A-Z]{3}"), at_most=20, check=distinct),
            "The currencies of the account's bills. Their cost counters are exposed at 0 from the start, so that "
            "`increase()` includes the first bill. Other currencies are booked as well.",
        ),
    ] = ("USD",)
    requests_per_second: Annotated[
        float,
        SettingSpec(
            number(0.01, 1000),
            "The most API requests per second for this account. The API's rate-limit headers can lower it further.",
        ),
    ] = 10.0
    max_in_flight: Annotated[
        int, SettingSpec(whole(1, 1000), "The most concurrent API requests of this account.", advanced=True)
    ] = 10
    balance_interval_seconds: Annotated[
        float, SettingSpec(number(0), "How often the account's prepaid balance is requested. 0: never.", advanced=True)
    ] = 300.0
    webhook_public_key_env: Annotated[
        str | None,
        SettingSpec(
            variable(),
            "The environment variable with the public key that verifies Telnyx's webhooks (Mission Control, Keys & "
            "Credentials, Public Key). Give this or `webhook_public_key_file`.",
            "none: webhooks are refused",
        ),
    ] = None
    webhook_public_key_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "A file with that public key and nothing else. It is read again when it changes.",
            "none: webhooks are refused",
        ),
    ] = None
    key: Secret | None = None
    webhook_key: bytes | None = None

    def api_key(self) -> Secret:
        assert self.key is not None, "`load` reads the keys, `parse` doesn't"
        return self.key


class ConfiguredSession(Struct, frozen=True, kw_only=True):
    """A session that the configuration names."""

    account: Annotated[
        str | None,
        SettingSpec(_ACCOUNT, "The name of the session's account.", "the only account; required if there are several"),
    ] = None
    record_type: Annotated[
        str,
        SettingSpec(
            text("a record type, such as call-session", r"[a-z0-9_-]{1,64}"),
            "The record type of the session's root, as in the API's URLs: `call-session`, `message`, `conference`, ...",
        ),
    ]
    event_id: Annotated[
        str, SettingSpec(printable(200), "The id of the session's root event: the `call_session_id` of a call.")
    ]
    date_time: Annotated[
        str | None,
        SettingSpec(
            date_or_time(),
            "When the session began, in quotes. The API then finds it faster. A wrong time is dropped after the first "
            "404.",
            "none",
        ),
    ] = None

    def ref(self, only_account: str) -> SessionRef:
        """Return the session's reference; `only_account` is the account of entries that name none."""
        account = only_account if self.account is None else self.account
        return SessionRef(account, self.record_type, self.event_id, self.date_time)


class LedgerSettings(Struct, frozen=True, kw_only=True):
    url: Annotated[
        str,
        SettingSpec(
            ledger_url(),
            "The ledger's database. After `sqlite:`, three slashes start a relative path and four an absolute one; "
            "keep the file on a disk that survives restarts. `postgresql://USER@HOST/DATABASE` can be shared by "
            "several exporters (docs/fleet.md); put its password into `password_file`, not into the URL.",
        ),
    ] = "sqlite:///telnyx-sessions.sqlite"
    password_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "A file with PostgreSQL's password and nothing else, such as a mounted secret. It is read for each new "
            "connection, so a new password needs no restart.",
            "none: the URL's, or what libpq finds, such as PGPASSWORD",
        ),
    ] = None
    lease_seconds: Annotated[
        float,
        SettingSpec(
            number(5, 3600),
            "PostgreSQL only. How long after an exporter's death the others start its unfinished polls again.",
            advanced=True,
        ),
    ] = 60.0
    exposition_handover_seconds: Annotated[
        float,
        SettingSpec(
            number(0, 3600),
            "PostgreSQL only. How long an exporter waits before it exposes a ledger that another one has exposed: at "
            "least Prometheus's scrape interval, so that no scrape counts costs twice.",
            formerly="takeover_seconds",
            advanced=True,
        ),
    ] = 60.0
    retention_days: Annotated[
        int,
        SettingSpec(
            whole(1, 3650),
            "How long settled sessions and their events are kept; totals are kept for ever. It must be longer than "
            "until the last recheck, so that a late correction still finds its session.",
        ),
    ] = 90
    pruned_events_days: Annotated[
        int,
        SettingSpec(
            whole(1, 36_500),
            "How long after its session an event is recognised that was deleted by `retention_days`, so that it isn't "
            "booked twice if it is reported again. It takes about 20 bytes of the ledger. Less than "
            "`retention_days` counts as that.",
            advanced=True,
        ),
    ] = 730


class WebSettings(Struct, frozen=True, kw_only=True):
    redact_fields: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(
                text("the name of a field, with * for any letters", r"(?=.*[A-Za-z0-9*])[A-Za-z0-9_*-]{1,100}"),
                at_most=1000,
                check=distinct,
            ),
            "Fields of the detail records that name a person, in any part of a record. Pages, JSON, CSV, `/probe` and "
            "the command `session` mask them, and a label can use one only with `allow_personal`. Case and `_` make no "
            "difference. Phone numbers, SIP URIs and e-mail addresses are masked in all other fields too. A list "
            "replaces the whole default; `[]`: nothing is masked.",
            advanced=True,
        ),
    ] = REDACT_FIELDS


class Config(Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    accounts: Annotated[
        tuple[Account, ...],
        SettingSpec(
            ListOf(Section(Account, one_of=(KEY, WEBHOOK_KEY)), at_least=1),
            "The Telnyx accounts. Without any, one account `default` reads `TELNYX_API_KEY`.",
        ),
    ] = (Account(),)
    discovery: Annotated[DiscoverySettings, SettingSpec(Section(DiscoverySettings), "How sessions are found.")] = (
        DiscoverySettings()
    )
    sessions: Annotated[
        tuple[ConfiguredSession, ...],
        SettingSpec(ListOf(Section(ConfiguredSession)), "Sessions to follow, in addition to those that are found."),
    ] = ()
    metrics: Annotated[MetricsSettings, SettingSpec(Section(MetricsSettings), "The metrics on /metrics.")] = (
        MetricsSettings()
    )
    budgets: Annotated[
        tuple[Budget, ...],
        SettingSpec(
            ListOf(Section(Budget), at_most=100),
            "Amounts that may be spent in a window of time, for dashboards and alerts. The exporter stops nothing.",
        ),
    ] = ()
    ledger: Annotated[
        LedgerSettings, SettingSpec(Section(LedgerSettings), "The database with all that was booked.")
    ] = LedgerSettings()
    polling: Annotated[PollingSettings, SettingSpec(Section(PollingSettings), "When sessions are polled.")] = (
        PollingSettings()
    )
    tree: Annotated[
        TreeSettings, SettingSpec(Section(TreeSettings), "How event trees are requested, and their limits.")
    ] = TreeSettings()
    web: Annotated[
        WebSettings, SettingSpec(Section(WebSettings), "The exporter's pages and the other answers with records.")
    ] = WebSettings()

    def session_refs(self) -> Iterator[SessionRef]:
        """Yield the references of the configured sessions."""
        return (session.ref(self.accounts[0].name) for session in self.sessions)

    def takes_webhooks(self, account: Account) -> bool:
        """Return whether the account accepts webhooks: signed ones with a public key, unsigned ones if allowed."""
        return account.webhook_key is not None or self.discovery.webhooks.insecure
