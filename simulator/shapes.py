"""The mix of sessions in the simulated world, and the sessions that are no calls.

`ai-messaging-assistant` is no documented record type, only the child of one. It is served all the same, so that there
is always a type that the metadata doesn't list.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from simulator import voice
from simulator.session_builder import SessionBuilder
from simulator.tariffs import MODELS


class Shape(Struct, frozen=True):
    """A kind of session, and its weight in the random choice."""

    weight: int
    draw: Callable[[SessionBuilder], None]


def message(builder: SessionBuilder) -> None:
    _message(builder)


def ai_message(builder: SessionBuilder) -> None:
    """Add a message that an assistant answered in 1 to 4 turns."""
    sent = _message(builder)
    talk = voice.Conversation.begin(builder)
    record = {**talk.ids, "message_id": builder.id_of(sent)}
    writer = builder.add("ai-messaging-assistant", sent, record=record)
    for turn in range(builder.rng.randint(1, 4)):
        voice.inference(builder, writer, talk, turn, at=turn)


def _message(builder: SessionBuilder) -> int:
    rng = builder.rng
    parts = rng.choices((1, 2, 3, 4), (70, 20, 7, 3))[0]
    sent = builder.plain_id()
    tags = rng.choice(voice.TAGS).split(",")
    record = {
        "cli": voice.phone_number(builder),
        "cld": voice.phone_number(builder),
        "parts": parts,
        "message_type": "SMS",
        "direction": rng.choice(("inbound", "outbound")),
        "profile_id": "40017f8e-3d1b-4a2c-9a55-0c8a4f6d1e01",
        "profile_name": rng.choice(("alerts", "marketing")),
        "tags": ",".join(rng.sample(tags, len(tags))),
    }
    return builder.add("message", seconds=rng.randint(0, 5), units=parts, event_id=sent, record=record)


def video_room(builder: SessionBuilder) -> None:
    """Add a room session: its participants, and perhaps a recording and its composition."""
    rng = builder.rng
    seconds = 120 + int(rng.expovariate(1 / 1800))
    room = builder.add("room-session-event", seconds=seconds, record={"room_id": builder.plain_id()})
    inside = {"room_session_id": builder.id_of(room)}
    for _ in range(rng.randint(2, 6)):
        joined = rng.randint(0, 60)
        present = rng.randint(1, seconds - joined)
        builder.add("room-session-participant-event", room, at=joined, seconds=present, record=inside)
    if builder.happens(0.5):
        builder.add("room-session-recording-event", room, seconds=seconds, record=inside)
        if builder.happens(0.5):
            builder.add("room-session-composition-event", room, at=seconds, seconds=seconds, record=inside)


def fax(builder: SessionBuilder) -> None:
    pages = builder.rng.randint(1, 30)
    builder.add("fax-api", seconds=builder.rng.randint(20, 300), units=pages, record={"pages": pages})


def verification(builder: SessionBuilder) -> None:
    record = {
        "verify_channel_type": builder.rng.choice(("sms", "call", "flashcall")),
        "destination_phone_number": voice.phone_number(builder),
    }
    builder.add("verify", seconds=builder.rng.randint(5, 120), record=record)


def sim_card(builder: SessionBuilder) -> None:
    megabytes = builder.rng.randint(1, 500)
    record = {
        "downlink_data": megabytes - 0.5,
        "uplink_data": 0.5,
        "phone_number": voice.phone_number(builder),
        "sim_card_id": builder.plain_id(),
        "sim_group_id": builder.plain_id(),
    }
    builder.add("sim_card_usage", seconds=3600, units=megabytes, record=record)


def stored_media(builder: SessionBuilder) -> None:
    builder.add("media_storage", units=builder.rng.randint(1, 40), record={"status": "succeeded"})


def embedding(builder: SessionBuilder) -> None:
    thousands = builder.rng.randint(1, 60)
    builder.add("embedding", units=thousands, record={"model": "thenlper/gte-large", "total_tokens": thousands * 1000})


def inference(builder: SessionBuilder) -> None:
    """Add a call of the plain inference API, without an assistant."""
    model = builder.rng.choice(MODELS)
    tokens = (builder.rng.randint(50, 4000), 0, builder.rng.randint(5, 800))
    record = voice.inference_record(model, tokens, "inference-api")
    builder.add("inference", seconds=1, cost=model.cost(tokens[0], tokens[2]), record=record)


def _single(record_type: str) -> Callable[[SessionBuilder], None]:
    def draw(builder: SessionBuilder) -> None:
        builder.add(record_type, seconds=builder.rng.randint(1, 60))

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


def draw(builder: SessionBuilder) -> None:
    """Add a session of a random shape."""
    builder.rng.choices(_SHAPES, _WEIGHTS)[0].draw(builder)
