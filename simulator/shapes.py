"""Which sessions there are in the simulated world, how often, and what the ones without a voice look like.

Owns the mix. The surprising fact: `ai-messaging-assistant` is no documented record type, only the child of one; the
simulated API serves it all the same, so that there is always a type that the metadata doesn't know.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from simulator import voice
from simulator.drafting import Draft
from simulator.tariffs import MODELS


class Shape(Struct, frozen=True):
    """A kind of session; of all sessions, `weight` in the sum of all weights are like it."""

    weight: int
    draw: Callable[[Draft], None]


def message(draft: Draft) -> None:
    _message(draft)


def ai_message(draft: Draft) -> None:
    """A message that an assistant answered in 1 to 4 turns."""
    sent = _message(draft)
    talk = voice.Conversation.begin(draft)
    record = {**talk.ids, "message_id": draft.id_of(sent)}
    writer = draft.add("ai-messaging-assistant", sent, record=record)
    for turn in range(draft.rng.randint(1, 4)):
        voice.inference(draft, writer, talk, turn, at=turn)


def _message(draft: Draft) -> int:
    rng = draft.rng
    parts = rng.choices((1, 2, 3, 4), (70, 20, 7, 3))[0]
    sent = draft.plain_id()
    record = {
        "uuid": sent,
        "cli": voice.phone_number(draft),
        "cld": voice.phone_number(draft),
        "parts": parts,
        "message_type": "SMS",
        "direction": rng.choice(("inbound", "outbound")),
        "profile_name": rng.choice(("alerts", "marketing")),
        "tags": rng.choice(voice.TAGS),
    }
    return draft.add("message", seconds=rng.randint(0, 5), units=parts, event_id=sent, record=record)


def video_room(draft: Draft) -> None:
    """A room session: its participants, and perhaps a recording and what was composed of it."""
    rng = draft.rng
    seconds = 120 + int(rng.expovariate(1 / 1800))
    room = draft.add("room-session-event", seconds=seconds, record={"room_id": draft.plain_id()})
    inside = {"room_session_id": draft.id_of(room)}
    for _ in range(rng.randint(2, 6)):
        joined = rng.randint(0, 60)
        present = rng.randint(1, seconds - joined)
        draft.add("room-session-participant-event", room, at=joined, seconds=present, record=inside)
    if draft.happens(0.5):
        draft.add("room-session-recording-event", room, seconds=seconds, record=inside)
        if draft.happens(0.5):
            draft.add("room-session-composition-event", room, at=seconds, seconds=seconds, record=inside)


def fax(draft: Draft) -> None:
    draft.add("fax-api", seconds=draft.rng.randint(20, 300), units=draft.rng.randint(1, 30))


def verification(draft: Draft) -> None:
    record = {"verify_channel_type": draft.rng.choice(("sms", "call", "flashcall"))}
    draft.add("verify", seconds=draft.rng.randint(5, 120), record=record)


def sim_card(draft: Draft) -> None:
    megabytes = draft.rng.randint(1, 500)
    draft.add("sim_card_usage", seconds=3600, units=megabytes, record={"downlink_data": megabytes, "imsi": "311960"})


def stored_media(draft: Draft) -> None:
    draft.add("media_storage", units=draft.rng.randint(1, 40), record={"action_type": "store"})


def embedding(draft: Draft) -> None:
    thousands = draft.rng.randint(1, 60)
    draft.add("embedding", units=thousands, record={"model": "thenlper/gte-large", "total_tokens": thousands * 1000})


def inference(draft: Draft) -> None:
    """A turn of the plain inference API, without an assistant."""
    model = draft.rng.choice(MODELS)
    tokens_in, tokens_out = draft.rng.randint(50, 4000), draft.rng.randint(5, 800)
    record = voice.inference_record(model, tokens_in, tokens_out)
    draft.add("inference", seconds=1, cost=model.cost(tokens_in, tokens_out), record=record)


def _single(record_type: str) -> Callable[[Draft], None]:
    def draw(draft: Draft) -> None:
        draft.add(record_type, seconds=draft.rng.randint(1, 60))

    return draw


SHAPES: Mapping[str, Shape] = {
    "ai call": Shape(30, voice.ai_call),
    "plain call": Shape(20, voice.plain_call),
    "message": Shape(20, message),
    "ai message": Shape(8, ai_message),
    "conference": Shape(4, voice.conference),
    "video room": Shape(4, video_room),
    "verification": Shape(3, verification),
    "inference": Shape(2, inference),
    "fax": Shape(1, fax),
    "sim card": Shape(2, sim_card),
    "stored media": Shape(1, stored_media),
    "embedding": Shape(1, embedding),
    "summarization": Shape(1, _single("summarization")),
    "branded call": Shape(1, _single("branded-calling")),
    "customer service record": Shape(1, _single("customer-service-record")),
    "transcription": Shape(1, _single("speech-to-text")),
}

_SHAPES = tuple(SHAPES.values())
_WEIGHTS = tuple(shape.weight for shape in _SHAPES)


def draw(draft: Draft) -> None:
    """Draw a session of some shape into `draft`."""
    draft.rng.choices(_SHAPES, _WEIGHTS)[0].draw(draft)
