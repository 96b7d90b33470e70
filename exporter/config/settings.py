"""Every setting, once: its key, its rule, its default and what it does.

Owns the words that users write and the numbers that hold when they write nothing; a field annotated with a Row is a
setting, and the reader, docs/configuration.md and the test of config.yaml all follow the rows. Knows no YAML and no
other room but the model. The surprising fact: the records are also what the rest of the exporter reads, so there is no
second place where a default could hide.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from exporter.config.discovery import DiscoverySettings
from exporter.config.limits import Budget
from exporter.config.metrics import MetricsSettings
from exporter.config.rules import (
    ListOf,
    Section,
    SettingSpec,
    ascending,
    choice,
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
from exporter.config.web import WebSettings
from exporter.core.model import SessionRef

KEY = ("api_key_env", "api_key_file")
WEBHOOK_KEY = ("webhook_public_key_env", "webhook_public_key_file")

_ACCOUNT = text("1 to 64 of the characters a-z, A-Z, 0-9, _ and -", r"[a-zA-Z0-9_-]{1,64}")


class Account(Struct, frozen=True, kw_only=True):
    """A Telnyx account; `load` puts its key beside its settings."""

    name: Annotated[
        str,
        SettingSpec(
            _ACCOUNT,
            "The account's name, the value of the label `account` and part of every event's identity in the ledger: "
            "an account renamed here counts as a new one, and its sessions are booked again.",
        ),
    ] = "default"
    api_key_env: Annotated[
        str | None,
        SettingSpec(variable(), "The environment variable that holds the API key. This or `api_key_file`, not both."),
    ] = "TELNYX_API_KEY"
    api_key_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "The file that holds the API key and nothing else, such as a mounted secret.",
            "none: the key comes from `api_key_env`",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "Certificate authorities (PEM) to trust instead of the usual ones, as behind a proxy with its own root.",
            "the usual public authorities",
        ),
    ] = None
    base_url: Annotated[
        str,
        SettingSpec(web_url(), "The API, with its version. Plain http sends the key in clear: for the simulator only."),
    ] = "https://api.telnyx.com/v2"
    currencies: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(text("three capital letters (ISO 4217), such as USD", r"[A-Z]{3}"), at_most=20, check=distinct),
            "Currencies that the account is billed in. Their cost counters are exposed at 0 from the start, so that "
            "the first bill is an increase; other currencies are booked all the same.",
        ),
    ] = ("USD",)
    requests_per_second: Annotated[
        float,
        SettingSpec(
            number(0.01, 1000),
            "The most API requests per second for this account; fewer when the API's rate-limit headers ask for it.",
        ),
    ] = 10.0
    max_in_flight: Annotated[
        int, SettingSpec(whole(1, 1000), "The most API requests of this account that wait for an answer at one time.")
    ] = 10
    balance_interval_seconds: Annotated[
        float, SettingSpec(number(0), "How often the account's prepaid balance is asked for. 0: never.")
    ] = 300.0
    webhook_public_key_env: Annotated[
        str | None,
        SettingSpec(
            variable(),
            "The environment variable that holds the public key by which Telnyx's webhooks are verified (Mission "
            "Control, Keys & Credentials, Public Key). This or `webhook_public_key_file`.",
            "none: no webhooks are taken",
        ),
    ] = None
    webhook_public_key_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "The file that holds that public key and nothing else; it is read again when it changes.",
            "none: no webhooks are taken",
        ),
    ] = None
    key: Secret | None = None
    webhook_key: bytes | None = None

    def api_key(self) -> Secret:
        assert self.key is not None, "`load` and `resolve_key` read the keys; `parse` doesn't"
        return self.key


class ConfiguredSession(Struct, frozen=True, kw_only=True):
    """A session that is followed because the configuration names it."""

    account: Annotated[
        str | None,
        SettingSpec(
            _ACCOUNT,
            "The name of the account that the session belongs to.",
            "the only account; needed if there are several",
        ),
    ] = None
    record_type: Annotated[
        str,
        SettingSpec(
            text("a record type, such as call-session", r"[a-z0-9_-]{1,64}"),
            "The record type of the session's root, as in the API's URLs: `call-session`, `message`, `conference`, ...",
        ),
    ]
    event_id: Annotated[
        str, SettingSpec(printable(200), "The id of the session's root event, such as the `call_session_id` of a call.")
    ]
    date_time: Annotated[
        str | None,
        SettingSpec(
            date_or_time(),
            "When the session began. It lets the API search faster; a wrong one is dropped after the first 404. "
            "Write it in quotes.",
            "none",
        ),
    ] = None

    def ref(self, only_account: str) -> SessionRef:
        """The name that the API knows; `only_account` is that of entries that name none."""
        account = only_account if self.account is None else self.account
        return SessionRef(account, self.record_type, self.event_id, self.date_time)


class PollingSettings(Struct, frozen=True, kw_only=True):
    scheduler_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(0.05, 60),
            "How often the exporter looks which sessions are due; a poll starts at most this late.",
            formerly="tick_seconds",
        ),
    ] = 1.0
    min_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "The time between two polls of a session that has just changed. Each poll in which nothing has changed "
            "doubles it. Bills take minutes to hours, so shorter intervals cost requests and find little.",
        ),
    ] = 30.0
    max_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(1), "What the doubled interval grows to; how late, at most, a late bill is seen before settling."
        ),
    ] = 3600.0
    settle_after_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "A session is settled when nothing has changed for so long. The API never says that a bill is final, and "
            "products are rated up to hours apart: six hours outlast the gaps between them.",
        ),
    ] = 21_600.0
    recheck_after_seconds: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(1), at_most=20, check=ascending),
            "When a settled session is looked at again, counted from its settling: after a day, a week, and 35 days, "
            "past the corrections that come with the end of a month. `[]`: never.",
        ),
    ] = (86_400.0, 604_800.0, 3_024_000.0)
    not_found_timeout_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "A session that the API doesn't know for so long is `missing`, and only rechecked. New sessions are "
            "unknown until their first record is rated.",
            formerly="give_up_after_seconds",
        ),
    ] = 172_800.0
    reported_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "The pace of sessions that webhooks or detail records tell of, for they say when it is time to look: so "
            "long between two looks while a call goes on, twice as long once it has ended, eight times once rated.",
            formerly="hinted_interval_seconds",
        ),
    ] = 900.0
    timeout_seconds: Annotated[
        float,
        SettingSpec(
            number(0.1, 600), "How long one API request may take before it counts as failed and is tried again."
        ),
    ] = 30.0
    max_attempts: Annotated[
        int,
        SettingSpec(
            whole(1, 10),
            "How often a failing request is sent in one poll. Telnyx asks for at most 3 to 5 retries.",
            formerly="attempts_max",
        ),
    ] = 5
    configured_recheck_seconds: Annotated[
        float, SettingSpec(number(1), "How often a settled session is looked at for as long as `sessions` names it.")
    ] = 86_400.0


class TreeSettings(Struct, frozen=True, kw_only=True):
    max_depth: Annotated[
        int,
        SettingSpec(
            whole(1, 5),
            "Levels of a tree to ask for at a time. 5 is the API's maximum, and AI calls need 4 to 5 of them; what "
            "lies deeper is fetched by asking again, so less means more requests.",
        ),
    ] = 5
    expand: Annotated[
        Literal["auto", "record", "none"],
        SettingSpec(
            choice("auto", "record", "none"),
            "Whether to ask for the events' detail records, the bulk of every answer: `record` always, `none` never "
            "(no models, tokens, durations or own labels), `auto` when a metric or label needs them.",
        ),
    ] = "auto"
    max_nodes: Annotated[
        int,
        SettingSpec(
            whole(1, 1_000_000), "The most events of one session; a larger tree fails its poll.", formerly="nodes_max"
        ),
    ] = 20_000
    max_subtree_requests: Annotated[
        int,
        SettingSpec(
            whole(1, 10_000),
            "The most further requests that completing one cut tree may take in one poll.",
            formerly="subtrees_max",
        ),
    ] = 200
    max_levels: Annotated[
        int,
        SettingSpec(
            whole(1, 500), "The most levels of a completed tree; a deeper one fails its poll.", formerly="depth_max"
        ),
    ] = 64
    max_body_bytes: Annotated[
        int,
        SettingSpec(
            whole(1024, 1_073_741_824),
            "The largest answer that is read, after decompression (32 MiB).",
            formerly="body_bytes_max",
        ),
    ] = 33_554_432


class LedgerSettings(Struct, frozen=True, kw_only=True):
    url: Annotated[
        str,
        SettingSpec(
            ledger_url(),
            "The ledger's database. Three slashes start a path in the working directory, four an absolute one. Keep it "
            "on a disk that survives restarts. Or `postgresql://USER@HOST/DATABASE`, which any number of exporters "
            "share (docs/fleet.md); a password is better given in `password_file` than in the URL.",
        ),
    ] = "sqlite:///telnyx-sessions.sqlite"
    password_file: Annotated[
        Path | None,
        SettingSpec(
            file_path(),
            "The file that holds PostgreSQL's password and nothing else, such as a mounted secret. It is read for each "
            "new connection, so another password needs no restart.",
            "none: that of the URL, or what libpq finds, as in PGPASSWORD",
        ),
    ] = None
    lease_seconds: Annotated[
        float,
        SettingSpec(
            number(5, 3600),
            "PostgreSQL only. How long after an exporter died the polls it had begun are begun again by another.",
        ),
    ] = 60.0
    exposition_handover_seconds: Annotated[
        float,
        SettingSpec(
            number(0, 3600),
            "PostgreSQL only. How long an exporter that takes over the exposition of the ledger waits before it "
            "exposes: at least the interval at which Prometheus scrapes, so that no scrape ever counts twice.",
            formerly="takeover_seconds",
        ),
    ] = 60.0
    retention_days: Annotated[
        int,
        SettingSpec(
            whole(1, 3650),
            "How long a settled session and its events are kept; totals are kept for ever. Longer than until the "
            "last recheck, else a late correction would meet a session already forgotten.",
        ),
    ] = 90


class Config(Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    accounts: Annotated[
        tuple[Account, ...],
        SettingSpec(
            ListOf(Section(Account, one_of=(KEY, WEBHOOK_KEY)), at_least=1),
            "The Telnyx accounts. Without any, one account `default` reads `TELNYX_API_KEY`.",
        ),
    ] = (Account(),)
    sessions: Annotated[
        tuple[ConfiguredSession, ...],
        SettingSpec(ListOf(Section(ConfiguredSession)), "Sessions to follow, named by hand."),
    ] = ()
    discovery: Annotated[
        DiscoverySettings, SettingSpec(Section(DiscoverySettings), "How sessions are found that nobody names by hand.")
    ] = DiscoverySettings()
    polling: Annotated[
        PollingSettings, SettingSpec(Section(PollingSettings), "When sessions are looked at, and when no longer.")
    ] = PollingSettings()
    tree: Annotated[
        TreeSettings, SettingSpec(Section(TreeSettings), "How event trees are asked for, and what bounds them.")
    ] = TreeSettings()
    metrics: Annotated[MetricsSettings, SettingSpec(Section(MetricsSettings), "What /metrics shows.")] = (
        MetricsSettings()
    )
    ledger: Annotated[LedgerSettings, SettingSpec(Section(LedgerSettings), "Where what was booked is kept.")] = (
        LedgerSettings()
    )
    budgets: Annotated[
        tuple[Budget, ...],
        SettingSpec(
            ListOf(Section(Budget), at_most=100), "What may be spent in a window of time, for dashboards and alerts."
        ),
    ] = ()
    web: Annotated[WebSettings, SettingSpec(Section(WebSettings), "What the exporter's own pages show.")] = (
        WebSettings()
    )

    def session_refs(self) -> Iterator[SessionRef]:
        """The configured sessions by the names that the API knows."""
        return (session.ref(self.accounts[0].name) for session in self.sessions)

    def takes_webhooks(self, account: Account) -> bool:
        """Whether webhooks are taken for the account: signed ones with a key, others only where that is allowed."""
        return account.webhook_key is not None or self.discovery.webhooks.insecure
