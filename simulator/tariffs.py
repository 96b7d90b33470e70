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
    began: tuple[str, ...] = ("created_at",)
    """Names of the time when the event began."""
    ended: tuple[str, ...] = ()

    @property
    def times(self) -> tuple[str, ...]:
        """Return the names of all times."""
        return self.began + self.ended

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

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal:
        return Decimal((tokens_in * self.input_price + tokens_out * self.output_price) // 1000).scaleb(-6)


def _tariff(rate: str, measured_in: str = "event", *durations: str, times: str = "created_at") -> Tariff:
    """Return a tariff; `times` are the names of the begin, then those of the end behind a slash."""
    began, _, ended = times.partition("/")
    return Tariff(Decimal(rate), measured_in, durations, tuple(began.split()), tuple(ended.split()))


def _by_minute(rate: str, *durations: str, times: str = "started_at/finished_at") -> Tariff:
    return _tariff(rate, MINUTES, *durations, times=times)


_ENDED = "started_at/ended_at"

TARIFFS = {
    "call-session": _tariff("0.0000", SESSION, "duration_sec", times=_ENDED),
    "call-control": _by_minute("0.0020", "call_sec", "billed_sec"),
    "sip-trunking": _by_minute("0.00350", "call_sec", "billed_sec"),
    "webrtc": _by_minute("0.0020", "call_sec", "billed_sec"),
    "recording": _by_minute("0.0017", "billed_sec"),
    "ai-voice-assistant": _by_minute("0.0600", "duration_sec", "billed_sec", times="created_at/completed_at"),
    "ai-messaging-assistant": _tariff("0.0010", "reply"),
    "inference": _tariff("0.000000", "tokens"),
    "inference-speech-to-text": _by_minute("0.00250", "audio_sec", times="created_at/completed_at"),
    "inference-text-to-speech": _tariff("0.000030", "character"),
    "summarization": _tariff("0.001500"),
    "embedding": _tariff("0.000120", "thousand tokens"),
    "speech-to-text": _by_minute("0.0150", "duration_sec", "billed_sec", times="start_time/end_time"),
    "text-to-speech": _tariff("7.0E-7", "character"),
    "amd": _tariff("0.00650", "invocation", times="invoked_at"),
    "noise-suppression": _by_minute("0.0030", "billed_sec", times="invoked_at"),
    "media-streaming": _by_minute("0.0035", "duration_sec", times="start_time/end_time"),
    "forking": _by_minute("0.0010", "duration_sec", times=_ENDED),
    "siprec-client": _by_minute("0.0025", "duration_sec", times=_ENDED),
    "fax-api": _tariff("0.0070", "page", "call_duration_sec", times="created_at/updated_at"),
    "conference": _tariff("0.0000", SESSION, "call_sec", times=_ENDED),
    "conference-participant": _by_minute("0.0020", "call_sec", "billed_sec", times="joined_at/left_at"),
    "message": _tariff("0.00400", "message part", times="created_at sent_at/completed_at updated_at"),
    "room-session-event": _tariff("0.0000", SESSION, "duration_sec", times=_ENDED),
    "room-session-participant-event": _by_minute("0.0020", "duration_sec", times="joined_at/left_at"),
    "room-session-recording-event": _by_minute("0.0040", "duration_sec", times=_ENDED),
    "room-session-composition-event": _by_minute("0.0050", "duration_sec", times=_ENDED),
    "verify": _tariff("0.0300", "verification", times="created_at/updated_at"),
    "media_storage": _tariff("0.000750", "GB-month"),
    "sim_card_usage": _tariff("0.000500", "MB", times="created_at/closed_at"),
    "branded-calling": _tariff("0.0250", "call"),
    "customer-service-record": _tariff("0.1500", "order"),
}
"""Which times a type has is measured, but for fax, embedding, speech to text by inference, streaming, SIPREC and noise
suppression, for which no witness is known."""

MODELS = (
    Model("gpt-4o", 2_500, 10_000),
    Model("gpt-4o-mini", 150, 600),
    Model("claude-3-7-sonnet-latest", 3_000, 15_000),
    Model("meta-llama/Llama-3.3-70B-Instruct", 0, 0),  # free, as turns of some models are
)
