"""The settings of the sources that find sessions by themselves.

Owns their rows and rules; knows no source. The surprising fact: detail records are looked through by default, so that
an exporter without any configuration but a key follows what happens.
"""

from typing import Annotated

from msgspec import Struct

from exporter.config.rules import ListOf, Section, SettingSpec, distinct, number, printable, switch, text

_FIELD = text("the name of a field, such as created_at", r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TYPE = text("a record type, such as call-control", r"[a-z0-9_-]{1,64}")

DETAIL_RECORD_TYPES = (
    *("ai-voice-assistant", "amd", "call-control", "conference", "conference-participant", "embedding", "fax"),
    *("inference", "inference-speech-to-text", "media_storage", "media-streaming", "messaging", "noise-suppression"),
    *("recording", "sip-trunking", "siprec-client", "stt", "tts", "verify", "webrtc", "wireless"),
)
"""What `filter[record_type]` of the API takes."""


class CustomType(Struct, frozen=True, kw_only=True):
    """How one type of detail record is read, where it is not as this version knows it."""

    name: Annotated[str, SettingSpec(_TYPE, "The type as `filter[record_type]` calls it.")]
    record_type: Annotated[
        str | None,
        SettingSpec(_TYPE, "The record type as Session Analysis calls it.", "as this version knows it, else `name`"),
    ] = None
    time_field: Annotated[
        str | None,
        SettingSpec(
            _FIELD,
            "The field by which records are listed in order of time.",
            "as this version knows it, else whichever the API takes",
        ),
    ] = None
    id_field: Annotated[
        str | None, SettingSpec(_FIELD, "The field that identifies a record.", "as this version knows it, else `id`")
    ] = None
    session_field: Annotated[
        str | None,
        SettingSpec(
            _FIELD,
            "The field with the id of the call that the record belongs to.",
            "as this version knows it, else `call_session_id` or `telnyx_session_id`, where a record has it",
        ),
    ] = None


class DetailRecordSettings(Struct, frozen=True, kw_only=True):
    record_types: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(_TYPE, at_most=100, check=distinct),
            "The types that are looked through, each with a request per interval, in the words of "
            "`filter[record_type]` (`messaging`, `fax`, ...). `[]`: none, detail records are not asked for.",
        ),
    ] = DETAIL_RECORD_TYPES
    interval_seconds: Annotated[
        float, SettingSpec(number(5), "How often new records are asked for, of each account and type.")
    ] = 300.0
    lookback_seconds: Annotated[
        float,
        SettingSpec(
            number(60),
            "How far back records are asked for again, since they appear hours after their own time: all of it each "
            "twelfth of it, and a forty-eighth at the looks between. What appears later than that is not found here.",
        ),
    ] = 86_400.0
    first_lookback_seconds: Annotated[
        float,
        SettingSpec(
            number(0),
            "How far the very first look goes back, on an empty ledger. What it finds is booked before /metrics shows "
            "anything, and counts as history: `increase()` never shows it.",
        ),
    ] = 0.0
    custom_types: Annotated[
        tuple[CustomType, ...],
        SettingSpec(
            ListOf(Section(CustomType), at_most=100),
            "Types that this version doesn't know, or that are no longer as it knows them.",
            formerly="dialect",
        ),
    ] = ()


class WebhookSettings(Struct, frozen=True, kw_only=True):
    insecure: Annotated[
        bool,
        SettingSpec(
            switch(),
            "Accept webhooks without a signature, for accounts that have no public key here. Whoever can reach the "
            "port can then have any session of the account followed.",
        ),
    ] = False


class HttpSettings(Struct, frozen=True, kw_only=True):
    enabled: Annotated[
        bool,
        SettingSpec(
            switch(),
            "Take lists of sessions by `POST /api/v1/sessions`, from programs on the same machine or in the same pod, "
            "and from those with a password or a client certificate (docs/web-config.md).",
        ),
    ] = False


class DiscoverySettings(Struct, frozen=True, kw_only=True):
    detail_records: Annotated[
        DetailRecordSettings,
        SettingSpec(Section(DetailRecordSettings), "Looking through the accounts' detail records."),
    ] = DetailRecordSettings()
    files: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(printable(4096), at_most=100, check=distinct),
            "Files with lists of sessions (YAML or JSON, entries as in `sessions`), as paths or patterns such as "
            "`/etc/telnyx/sessions/*.yaml`. They are read again when they change.",
        ),
    ] = ()
    webhooks: Annotated[
        WebhookSettings,
        SettingSpec(
            Section(WebhookSettings),
            "Telnyx's webhooks, taken at `/webhooks/telnyx/ACCOUNT` once the account has a public key.",
        ),
    ] = WebhookSettings()
    http: Annotated[HttpSettings, SettingSpec(Section(HttpSettings), "Sessions handed over by other programs.")] = (
        HttpSettings()
    )
