"""The settings of a simulated world, its bills, its webhooks, and the faults of its API.

The start of session time is a setting with a fixed default, so two runs with the same seed are equal to the byte.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Literal, get_args

from msgspec import Struct

from exporter.core.money import read_amount
from simulator.behaviour import ApiBehaviour

FaultKind = Literal[
    "500",
    "502",
    "503",
    "429",
    "reset",
    "truncated",
    "corrupt_json",
    "slow_body",
    "content_type",
    "empty_body",
    "redirect",
    "403",
    "404",
]
FAULT_KINDS: tuple[FaultKind, ...] = tuple(kind for kind in get_args(FaultKind) if kind not in {"403", "404"})
"""The faults that a client can recognise; a 403 or 404 by mistake looks like a true one."""

START = 1_773_748_800.0
"""2026-03-17T12:00:00Z, two hours after the documented example's call."""

QUOTAS: Mapping[str, int] = {
    "balance": 60_000,
    "detail_record_options": 40,
    "detail_records": 40,
    "metadata": 60_000,
    "session": 60_000,
}
"""Requests per minute by endpoint. That of detail records was measured; the others are unknown, and large here."""


def _check(chosen: Struct, *limits: tuple[str, bool, str]) -> None:
    for name, holds, expected in limits:
        if not holds:
            raise ValueError(f"{name}: expected {expected}, got {getattr(chosen, name)!r}")


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name}: expected a share from 0 to 1, got {share!r}")


class Bills(Struct, frozen=True, kw_only=True):
    """How often a bill changes after its first price; shares from 0 to 1."""

    amended_share: float = 0.0
    """Of the events with a price: amended up or down, once or several times, hours to days later."""
    late_share: float = 0.0
    """Of all events: shown without a price at first, priced hours to days later."""
    never_priced_share: float = 0.0
    """Of all events: shown without a price for ever."""
    currency_changed_share: float = 0.0
    """Of the events with a price: shown in another currency from some later time on."""
    growing_usage_share: float = 0.0
    """Of all events: their tokens and billed seconds are shown in part first, in full hours later."""
    vanished_share: float = 0.0
    """Of the priced events with nothing below them: they vanish from every tree long after their last change."""
    overlapping_share: float = 0.0
    """Of the call legs, assistants and participants: also listed as sessions of their own."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_share(name, getattr(self, name))


class Faults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The faults of the API; times are real time."""

    error_share: float = 0.0
    """Of the requests: answered with one of the `kinds`."""
    kinds: tuple[FaultKind, ...] = FAULT_KINDS
    """The possible faults; all are equally likely."""
    latency_seconds: float = 0.0
    """Every answer is late by a random time from 0 to this."""
    slow_body_seconds: float = 2.0
    """The duration of a slow body."""
    retry_after_seconds: int = 1
    """The `retry-after` of a 429."""

    def __post_init__(self) -> None:
        _check_share("error_share", self.error_share)
        _check(
            self,
            ("kinds", len(self.kinds) > 0, "at least one"),
            ("latency_seconds", 0 <= self.latency_seconds < math.inf, "at least 0"),
            ("slow_body_seconds", 0 <= self.slow_body_seconds < math.inf, "at least 0"),
            ("retry_after_seconds", self.retry_after_seconds >= 0, "at least 0"),
        )


SIGNING_KEY_BYTES = 32
"""The seed of an Ed25519 key."""


class SimulatedWebhooks(Struct, frozen=True, kw_only=True):
    """The receiver of webhooks, and how reliably they are delivered."""

    url: str | None = None
    """None: webhooks wait until there is a URL."""
    lost_share: float = 0.0
    """Of all webhooks: never delivered."""
    duplicated_share: float = 0.0
    """Of the delivered webhooks: delivered twice."""
    delay_seconds: float = 0.0
    """Each delivery is late by a random session time from 0 to this, so webhooks overtake each other."""
    signing_key: str | None = None
    """Base64 of the seed of the Ed25519 key that signs; None: one that follows from the world's seed."""
    in_flight_max: int = 16
    """Deliveries in progress at once."""
    attempts_max: int = 3
    """Failed deliveries after which a webhook is given up."""
    retry_seconds: float = 0.1
    """Real time before the second attempt; it doubles with each one."""

    def __post_init__(self) -> None:
        _check_share("lost_share", self.lost_share)
        _check_share("duplicated_share", self.duplicated_share)
        _check(
            self,
            ("url", self.url is None or self.url.startswith(("http://", "https://")), "an http or https URL"),
            ("delay_seconds", 0 <= self.delay_seconds < math.inf, "at least 0"),
            ("in_flight_max", self.in_flight_max >= 1, "at least 1"),
            ("attempts_max", self.attempts_max >= 1, "at least 1"),
            ("retry_seconds", 0 <= self.retry_seconds < math.inf, "at least 0"),
        )
        if self.signing_key is not None and not _is_key(self.signing_key):  # the key itself is not for messages
            raise ValueError(f"signing_key: expected {SIGNING_KEY_BYTES} bytes in base64")


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == SIGNING_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


class SimulatorSettings(Struct, frozen=True, kw_only=True):
    """All settings of a simulated world."""

    seed: int = 1
    start: float = START
    """Session time at the start, seconds since the epoch."""
    speed: float = 1.0
    """Session seconds per real second; with 0 time stands still until it is stepped."""
    history_seconds: float = 0.0
    """How long before the start the first session begins."""
    sessions_per_hour: float = 120.0
    sessions_max: int | None = None
    """The number of sessions; None: unlimited."""
    rating_delay_scale: float = 1.0
    """Multiplies how late events are rated; with 0 an event exists as soon as it has ended."""
    currencies: tuple[str, ...] = ("USD",)
    """Each session is billed in one of these, chosen at random."""
    documented_example: bool = False
    """The call of Telnyx's guide is a session too."""
    api_key: str = "KEY-simulator"
    api: ApiBehaviour = ApiBehaviour()
    quotas: Mapping[str, int] = {}
    """Requests per minute by endpoint; others have those of `QUOTAS`."""
    detail_records_late_seconds: float = 0.0
    """A detail record is listed later than its event exists, by a random time from 0 to this."""
    balance: str = "1000.00"
    """The balance before the first session, in the first of the currencies."""
    bills: Bills = Bills()
    faults: Faults = Faults()
    """At the start; `/_faults` can change them."""
    webhooks: SimulatedWebhooks = SimulatedWebhooks()
    """At the start; `/_webhooks` can change the URL and the shares of lost and duplicated webhooks."""

    def __post_init__(self) -> None:
        _check(
            self,
            ("history_seconds", self.history_seconds >= 0, "at least 0"),
            ("sessions_per_hour", self.sessions_per_hour > 0, "more than 0"),
            ("rating_delay_scale", self.rating_delay_scale >= 0, "at least 0"),
            ("currencies", len(self.currencies) > 0, "at least one"),
            ("detail_records_late_seconds", 0 <= self.detail_records_late_seconds < math.inf, "at least 0"),
            ("balance", read_amount(self.balance) is not None, "a decimal amount"),
            ("quotas", self.quotas.keys() <= QUOTAS.keys(), f"some of {', '.join(QUOTAS)}"),
            ("quotas", all(quota >= 1 for quota in self.quotas.values()), "at least 1"),
        )
