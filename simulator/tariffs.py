"""Prices of the simulated products, and the names of times and durations in their records.

Names differ from product to product, as at Telnyx. Prices have 4 to 6 decimal places on purpose, so that sums have to
keep the finest.
"""

from decimal import Decimal

from msgspec import Struct

MINUTES = "minutes"
SESSION = "session"


class Tariff(Struct, frozen=True):
    """The price of one record type."""

    rate: Decimal
    measured_in: str
    durations: tuple[str, ...] = ()
    """Names of the duration in a record; one that begins with `billed` is rounded up to what is billed."""
    began: str = "created_at"
    ended: str | None = None

    @property
    def groups(self) -> bool:
        """The event costs nothing itself, it holds others together."""
        return self.measured_in == SESSION

    def units(self, seconds: int) -> int:
        return max(1, -(-seconds // 60)) if self.measured_in == MINUTES else 1


class Model(Struct, frozen=True):
    """A language model; prices in millionths of the currency per thousand tokens."""

    name: str
    input_price: int
    output_price: int
    input_field: str
    output_field: str

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal:
        return Decimal((tokens_in * self.input_price + tokens_out * self.output_price) // 1000).scaleb(-6)


def _tariff(
    rate: str,
    measured_in: str = "event",
    *durations: str,
    began: str = "created_at",
    ended: str | None = None,
) -> Tariff:
    return Tariff(Decimal(rate), measured_in, durations, began, ended)


def _by_minute(rate: str, *durations: str, began: str = "started_at", ended: str | None = "ended_at") -> Tariff:
    return _tariff(rate, MINUTES, *durations, began=began, ended=ended)


TARIFFS = {
    "call-session": _tariff("0.0000", SESSION, "duration_sec", began="started_at", ended="ended_at"),
    "call-control": _by_minute("0.0020", "call_sec", "billed_sec"),
    "sip-trunking": _by_minute("0.00350", "call_sec", "billed_sec"),
    "webrtc": _by_minute("0.0020", "duration_sec", "billed_duration_sec"),
    "recording": _by_minute("0.0017", "duration_sec"),
    "ai-voice-assistant": _by_minute("0.0600", "duration_sec", "billed_sec"),
    "ai-messaging-assistant": _tariff("0.0010", "reply"),
    "inference": _tariff("0.000000", "tokens", ended="completed_at"),
    "inference-speech-to-text": _by_minute("0.00250", "audio_sec"),
    "inference-text-to-speech": _tariff("0.000030", "character"),
    "summarization": _tariff("0.001500"),
    "embedding": _tariff("0.000120", "thousand tokens"),
    "speech-to-text": _by_minute("0.0150", "duration_sec", "billed_sec", began="created_at", ended=None),
    "text-to-speech": _tariff("0.000015", "character"),
    "amd": _tariff("0.00650", "invocation", began="invoked_at"),
    "noise-suppression": _by_minute("0.0030", "billed_sec", began="invoked_at", ended=None),
    "media-streaming": _by_minute("0.0035", "duration_sec"),
    "forking": _by_minute("0.0010", "duration_sec"),
    "siprec-client": _by_minute("0.0025", "duration_sec"),
    "fax-api": _tariff("0.0070", "page", "call_duration_sec"),
    "conference": _tariff("0.0000", SESSION, "call_sec", began="started_at", ended="ended_at"),
    "conference-participant": _by_minute("0.0020", "call_sec", "billed_sec", began="joined_at", ended="left_at"),
    "message": _tariff("0.00400", "message part", began="sent_at", ended="completed_at"),
    "room-session-event": _tariff("0.0000", SESSION, "duration_sec", began="started_at", ended="ended_at"),
    "room-session-participant-event": _by_minute("0.0020", "duration_sec", began="joined_at", ended="left_at"),
    "room-session-recording-event": _by_minute("0.0040", "duration_sec"),
    "room-session-composition-event": _by_minute("0.0050", "duration_sec"),
    "verify": _tariff("0.0300", "verification", ended="updated_at"),
    "media_storage": _tariff("0.000750", "GB-month"),
    "sim_card_usage": _tariff("0.000500", "MB", ended="closed_at"),
    "branded-calling": _tariff("0.0250", "call"),
    "customer-service-record": _tariff("0.1500", "order"),
}

MODELS = (
    Model("gpt-4o", 2_500, 10_000, "prompt_tokens", "completion_tokens"),
    Model("gpt-4o-mini", 150, 600, "prompt_tokens", "completion_tokens"),
    Model("claude-3-7-sonnet-latest", 3_000, 15_000, "input_tokens", "output_tokens"),
    Model("meta-llama/Meta-Llama-3.1-70B-Instruct", 880, 880, "prompt_tokens", "completion_tokens"),
)
