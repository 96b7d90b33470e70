"""Voice sessions: calls, calls with an AI assistant, conferences.

An assistant may hand the conversation to another one, at most twice. The turns are then on the sixth level, one below
what the API returns at once.
"""

from decimal import Decimal

from msgspec import Struct

from simulator.events import CACHED_TOKENS, CHARACTERS, INPUT_TOKENS, OUTPUT_TOKENS
from simulator.session_builder import SessionBuilder
from simulator.tariffs import MODELS, Model

TURNS_MAX = 60
_TURNS_MEAN = 12
_TURN_SECONDS = (5, 20)

CONNECTIONS = (
    ("1494404757140276705", "support-line"),
    ("1494404757140276706", "sales-outbound"),
    ("1494404757140276707", "reception"),
    ("1684641123236054244", "webrtc-dialer"),
)
ASSISTANTS = (
    "assistant-5b2a6f3c-8f6e-4d6b-9a55-0c8a4f6d1e01",
    "assistant-77c0de4e-1f7d-4a53-8d57-9b1e2c3d4e02",
    "assistant-c3f1a9d2-6b3e-4c1f-a2b4-5d6e7f809103",
)
TAGS = ("production", "production,vip", "staging", "")

INSIGHTS = "insight-generation"
"""The use case of an inference after a conversation."""

ON_THE_LEG = (
    ("amd", 0.15),
    ("noise-suppression", 0.10),
    ("media-streaming", 0.08),
    ("forking", 0.05),
    ("speech-to-text", 0.12),
)
"""Additional events on a leg, and their probability."""


def ai_call(builder: SessionBuilder) -> None:
    """Add a call that an AI assistant answers: 1 to 60 turns."""
    rng = builder.rng
    turns = min(TURNS_MAX, 1 + int(rng.expovariate(1 / _TURNS_MEAN)))
    seconds = sum(rng.randint(*_TURN_SECONDS) for _ in range(turns))
    talk = Conversation.begin(builder)
    transport = rng.choice(("webrtc", "sip-trunking", "sip-trunking"))
    session, leg = call(builder, seconds, transport, connection=talk.connection)
    assistants = min(turns, rng.choices((1, 2, 3), (80, 15, 5))[0])
    above, at, before = leg, 2, None
    for place in range(assistants):
        share = turns // assistants + (place < turns % assistants)
        during = max(1, (seconds - 2) * share // turns)
        above = assistant(builder, above, talk, at=at, seconds=during, turns=share, handed_by=before)
        if builder.api.bundled_tts:
            speech(builder, leg, talk, at=at, seconds=during, turns=share)
        at += during
        talk, before = Conversation.begin(builder), talk
    extras(builder, leg, seconds)
    if builder.happens(0.5):
        recording(builder, session, seconds)
    if builder.happens(0.2):
        insight(builder, at=seconds)


def plain_call(builder: SessionBuilder) -> None:
    """Add a call between people, or one that is not answered."""
    rng = builder.rng
    seconds = 0 if builder.happens(0.1) else int(rng.expovariate(1 / 240)) + 1
    session, leg = call(builder, seconds, transport="sip-trunking")
    extras(builder, leg, seconds)
    if builder.happens(0.2):
        builder.add("webrtc", session, seconds=seconds)
    if seconds and builder.happens(0.25):
        recording(builder, session, seconds)
    if builder.happens(0.05):
        builder.add("siprec-client", session, seconds=seconds)
    if builder.happens(0.03):
        builder.add("fax-api", session, seconds=seconds, units=rng.randint(1, 12))


def conference(builder: SessionBuilder) -> None:
    """Add a conference and the calls of its participants; each participant is below both."""
    rng = builder.rng
    seconds = 60 + int(rng.expovariate(1 / 1200))
    people = rng.randint(2, 8)
    record = {"name": f"conference-{rng.randint(1, 50)}", "participant_count": people, "region": "US"}
    room = builder.add("conference", seconds=seconds, record=record)
    for _ in range(people):
        joined = rng.randint(1, 50)
        present = rng.randint(1, seconds - joined)
        session, _leg = call(builder, present, transport="sip-trunking", at=joined)
        place = {"conference_id": builder.id_of(room)}
        builder.add("conference-participant", room, session, at=joined, seconds=present, record=place)


def call(
    builder: SessionBuilder, seconds: int, transport: str, at: float = 0.0, connection: tuple[str, str] | None = None
) -> tuple[int, int]:
    """Add a call-session with its transport and a leg under call control; return the session and the leg.

    The session's id is the `telnyx_session_id` of the whole call, and sometimes its first trunk leg's id as well.
    """
    session_id = builder.plain_id()
    builder.shared = call_facts(builder, session_id, connection or builder.rng.choice(CONNECTIONS))
    session = builder.add("call-session", at=at, seconds=seconds, event_id=session_id)
    shared_id = session_id if transport == "sip-trunking" and builder.happens(0.3) else None
    direction = {"direction": builder.rng.choice(("inbound", "outbound"))}
    builder.add(transport, session, at=at, seconds=seconds, event_id=shared_id, record=tagged(builder) | direction)
    leg = builder.add("call-control", session, at=at, seconds=seconds, record=tagged(builder) | direction)
    return session, leg


def call_facts(builder: SessionBuilder, session_id: str, connection: tuple[str, str]) -> dict[str, object]:
    """Return the fields of all records of a call."""
    return {
        "call_session_id": session_id,
        "telnyx_session_id": session_id,
        "call_leg_id": builder.plain_id(),
        "call_control_id": f"v3:{session_id[:8]}",
        "connection_id": connection[0],
        "connection_name": connection[1],
        "from": phone_number(builder),
        "to": phone_number(builder),
        "tags": builder.rng.choice(TAGS),
    }


def tagged(builder: SessionBuilder) -> dict[str, object]:
    """Return the call's tags in another order: each record has its own."""
    tags = str(builder.shared["tags"]).split(",")
    return {"tags": ",".join(builder.rng.sample(tags, len(tags)))}


class Conversation(Struct, frozen=True):
    """The assistant, model and ids that the turns of a conversation share."""

    model: Model
    ids: dict[str, object]

    @classmethod
    def begin(cls, builder: SessionBuilder) -> "Conversation":
        ids: dict[str, object] = {"conversation_id": builder.plain_id(), "assistant_id": builder.rng.choice(ASSISTANTS)}
        return cls(builder.rng.choice(MODELS), ids)

    @property
    def connection(self) -> tuple[str, str]:
        """Return id and name of the application that Telnyx makes for an assistant."""
        name = f"ai-{self.ids['assistant_id']}"
        return f"25{int(name[-12:], 16):017}", name


def assistant(
    builder: SessionBuilder,
    above: int,
    talk: Conversation,
    *,
    at: float,
    seconds: int,
    turns: int,
    handed_by: Conversation | None,
) -> int:
    """Add an assistant's conversation with its turns, perhaps handed over by another one."""
    handed = {"parent_conversation_id": handed_by.ids["conversation_id"]} if handed_by else {}
    record = {**talk.ids, **handed, "llm_model": talk.model.name}
    index = builder.add("ai-voice-assistant", above, at=at, seconds=seconds, record=record)
    for turn in range(turns):
        inference(builder, index, talk, turn, at=at + seconds * turn / turns)
    if builder.happens(0.08):
        builder.add("inference-speech-to-text", index, at=at, seconds=seconds, record=talk.ids)
    if builder.happens(0.08):
        spoken = builder.rng.randint(40, 400) * turns
        record = {**talk.ids, CHARACTERS: spoken}
        builder.add("inference-text-to-speech", index, at=at, units=spoken, record=record)
    if builder.happens(0.15):
        builder.add("summarization", index, at=at + seconds, record=talk.ids)
    return index


def inference(builder: SessionBuilder, above: int, talk: Conversation, turn: int, *, at: float) -> None:
    """Add an LLM turn; the prompt grows with the conversation, and most of it is cached from the turn before."""
    before = turn * builder.rng.randint(60, 120)
    tokens = (builder.rng.randint(400, 900) + before, before, builder.rng.randint(10, 180))
    record = inference_record(talk.model, tokens, "ai-assistant")
    if builder.api.inference_names_session:
        record |= talk.ids
    cost = talk.model.cost(tokens[0], tokens[2])
    builder.add("inference", above, at=at, seconds=1, cost=cost, record=record)


def inference_record(model: Model, tokens: tuple[int, int, int], usecase: str) -> dict[str, object]:
    """Return the usage of an LLM turn; `tokens` are input, of those cached, and output."""
    used = dict(zip((INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS), tokens, strict=True))
    context = {"conversation_id": None, "billing_group_id": None, "inference_time": round(0.2 + tokens[2] / 90, 2)}
    return {"model": model.name, "usecase": usecase, **context, **used}


def insight(builder: SessionBuilder, *, at: float) -> None:
    """Add the generation of insights about a conversation, which no tree of the call shows."""
    model = MODELS[-1]
    tokens = (builder.rng.randint(300, 3000), 0, builder.rng.randint(20, 200))
    cost = Decimal("0.000500")
    builder.shared = {}
    builder.add("inference", at=at, seconds=1, cost=cost, record=inference_record(model, tokens, INSIGHTS))


def speech(builder: SessionBuilder, leg: int, talk: Conversation, *, at: float, seconds: int, turns: int) -> None:
    """Add what an assistant says, once per turn; the price is part of the conversation's."""
    for turn in range(turns):
        said = {"call_leg_id": None, "provider": "telnyx", CHARACTERS: builder.rng.randint(20, 400), **talk.ids}
        builder.add("text-to-speech", leg, at=at + seconds * turn / turns, record=said, bundled=True)


def extras(builder: SessionBuilder, leg: int, seconds: int) -> None:
    for record_type, chance in ON_THE_LEG:
        if builder.happens(chance):
            builder.add(record_type, leg, seconds=seconds)
    if builder.happens(0.12):
        characters = builder.rng.randint(20, 3000)
        builder.add("text-to-speech", leg, units=characters, record={CHARACTERS: characters})


def recording(builder: SessionBuilder, session: int, seconds: int) -> int:
    return builder.add("recording", session, seconds=seconds, record={"channels": 2})


def phone_number(builder: SessionBuilder) -> str:
    return f"+1312555{builder.rng.randint(0, 9999):04}"


def documented_call(builder: SessionBuilder, session_id: str) -> None:
    """Add the AI call of Telnyx's guide: about 152 s, 11 events, 0.2128 in all, each cost as printed there."""
    builder.shared = call_facts(builder, session_id, CONNECTIONS[3])
    session = builder.add("call-session", seconds=152, event_id=session_id)
    for record_type, cost in (("recording", "0.0051"), ("webrtc", "0.0052"), ("sip-trunking", "0.0052")):
        builder.add(record_type, session, seconds=152, cost=Decimal(cost))
    leg = builder.add("call-control", session, seconds=152, cost=Decimal("0.0052"))
    conversation = {"conversation_id": builder.plain_id(), "assistant_id": ASSISTANTS[0], "llm_model": MODELS[0].name}
    speaker = builder.add("ai-voice-assistant", leg, seconds=152, record=conversation)
    for turn, cost in enumerate(("0.0010", "0.0015", "0.0029", "0.0033", "0.0034")):
        tokens = (300 + 150 * turn, 150 * turn, 25 + 10 * turn)
        record = inference_record(MODELS[0], tokens, "ai-assistant")
        if builder.api.inference_names_session:
            record |= conversation
        builder.add("inference", speaker, at=30 * turn, seconds=1, cost=Decimal(cost), record=record)
