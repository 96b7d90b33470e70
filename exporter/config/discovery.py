"""The settings `discovery`: how sessions are found.

By default the exporter polls the detail records API, so it needs only the API key.
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
"""The values that the API documents for `filter[record_type]`."""


class CustomType(Struct, frozen=True, kw_only=True):
    """How one type of detail record is read, if this version doesn't know it or the API has changed."""

    name: Annotated[str, SettingSpec(_TYPE, "The type's name in `filter[record_type]`.")]
    record_type: Annotated[
        str | None,
        SettingSpec(_TYPE, "The record type's name in Session Analysis.", "what this version knows, else `name`"),
    ] = None
    time_field: Annotated[
        str | None,
        SettingSpec(
            _FIELD,
            "The time field by which the API sorts the records.",
            "what this version knows, else the first that the API accepts",
        ),
    ] = None
    id_field: Annotated[
        str | None, SettingSpec(_FIELD, "The field that identifies a record.", "what this version knows, else `id`")
    ] = None
    session_field: Annotated[
        str | None,
        SettingSpec(
            _FIELD,
            "The field with the id of the call that the record belongs to.",
            "what this version knows, else `call_session_id` or `telnyx_session_id` if a record has it",
        ),
    ] = None


class DetailRecordSettings(Struct, frozen=True, kw_only=True):
    record_types: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(_TYPE, at_most=100, check=distinct),
            "The types of detail records that are polled, as in `filter[record_type]` (`messaging`, `fax`, ...). Each "
            "takes one request per interval. `[]`: detail records are not polled.",
        ),
    ] = DETAIL_RECORD_TYPES
    interval_seconds: Annotated[
        float, SettingSpec(number(5), "How often each account's records of each type are polled.")
    ] = 300.0
    lookback_seconds: Annotated[
        float,
        SettingSpec(
            number(60),
            "How far back records are requested again, since they appear hours after their own time: the whole time "
            "every twelfth of it (two hours), a forty-eighth of it (half an hour) in the polls between. A record that "
            "appears later is not found by this source.",
            advanced=True,
        ),
    ] = 86_400.0
    first_lookback_seconds: Annotated[
        float,
        SettingSpec(
            number(0),
            "How far the initial backfill goes back, on an empty ledger. It has no time limit and resumes after a "
            "restart; the ledger's metrics are shown when it is booked. It counts as history: `increase()` doesn't "
            "include it.",
        ),
    ] = 86_400.0
    custom_types: Annotated[
        tuple[CustomType, ...],
        SettingSpec(
            ListOf(Section(CustomType), at_most=100),
            "Types that this version doesn't know, or that the API has changed.",
            formerly="dialect",
        ),
    ] = ()


class WebhookSettings(Struct, frozen=True, kw_only=True):
    insecure: Annotated[
        bool,
        SettingSpec(
            switch(),
            "Accept webhooks without a signature for accounts without a public key. Anybody who can reach the port can "
            "then have any session of the account followed.",
            advanced=True,
        ),
    ] = False


class HttpSettings(Struct, frozen=True, kw_only=True):
    enabled: Annotated[
        bool,
        SettingSpec(
            switch(),
            "Accept lists of sessions by `POST /api/v1/sessions`, from programs on the same machine or in the same "
            "pod, and from those with a password or a client certificate (docs/web-config.md).",
        ),
    ] = False


class DiscoverySettings(Struct, frozen=True, kw_only=True):
    detail_records: Annotated[
        DetailRecordSettings, SettingSpec(Section(DetailRecordSettings), "Polling of the accounts' detail records.")
    ] = DetailRecordSettings()
    files: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(printable(4096), at_most=100, check=distinct),
            "Files with lists of sessions (YAML or JSON, entries as in `sessions`), as paths or patterns such as "
            "`/etc/telnyx/sessions/*.yaml`. A file is read again when it changes.",
        ),
    ] = ()
    webhooks: Annotated[
        WebhookSettings,
        SettingSpec(
            Section(WebhookSettings),
            "Telnyx's webhooks, accepted at `/webhooks/telnyx/ACCOUNT` if the account has a public key.",
        ),
    ] = WebhookSettings()
    http: Annotated[
        HttpSettings, SettingSpec(Section(HttpSettings), "Lists of sessions from other programs, over HTTP.")
    ] = HttpSettings()
