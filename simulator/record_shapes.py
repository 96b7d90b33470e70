"""The fields of detail records by record type, as witnessed on live accounts, and how a record writes its cost.

The node of a tree and the list carry the same record. Types without a row in `FIELDS` are not witnessed: their records
have all fields that the simulator knows.
"""

import uuid
from collections.abc import Mapping
from decimal import Decimal

CONVERSATIONAL = "text-to-speech in conversations"
"""The row of a text-to-speech event whose price is part of the conversation's."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    name: tuple(fields.split())
    for name, fields in {
        "ai-voice-assistant": """id record_type call_control_id telnyx_leg_id telnyx_session_id conversation_id
            created_at completed_at duration_sec billed_sec cost rate rate_measured_in currency stt_model tts_provider
            tts_model_id""",
        "amd": """record_type id call_leg_id call_session_id connection_id connection_name feature invoked_at
            is_telnyx_billable rate rate_measured_in cost currency tags""",
        "call-control": """id record_type telnyx_session_id telnyx_leg_id call_control_id connection_id connection_name
            direction cli cld started_at finished_at answered_at call_sec billed_sec cost rate currency tags""",
        "conference": """record_type id name started_at ended_at call_sec participant_count participant_call_sec region
            is_telnyx_billable user_id""",
        "conference-participant": """record_type id call_leg_id call_session_id conference_id joined_at left_at call_sec
            billed_sec is_telnyx_billable rate rate_measured_in cost currency destination_number originating_number""",
        "inference": """id record_type conversation_id billing_group_id created_at model usecase billable
            user_prompt_tokens cached_user_prompt_tokens completion_tokens inference_time service_tier hardware cost
            currency""",
        "media_storage": """record_type id action_type asset_id created_at status user_id rate rate_measured_in cost
            currency""",
        "message": """record_type uuid user_id completed_at created_at sent_at updated_at carrier carrier_fee cld cli
            direction message_type parts status tags profile_id profile_name rate currency cost""",
        "noise-suppression": """record_type id call_leg_id call_session_id connection_id connection_name invoked_at
            billed_sec rate rate_measured_in cost currency tags""",
        "recording": "id record_type telnyx_session_id started_at finished_at billed_sec cost rate currency",
        "sim_card_usage": """record_type id created_at closed_at ip_address downlink_data imsi mcc mnc phone_number
            sim_card_id sim_card_tags sim_group_id sim_group_name uplink_data data_cost data_rate data_unit currency""",
        "sip-trunking": """id record_type sip_call_id telnyx_session_id direction cli cld started_at finished_at
            answered_at attempted connected completed call_sec billed_sec cost rate currency route lrn orig_lrn
            term_lrn_city term_lrn_ocn shaken_stir onnet flow_dest flow_source leg_direction hangup_cause hangup_code
            telnyx_error_code connection_id outbound_profile_id sip_from_url sip_full_to orig_jip auth_username
            fs_channel_id tags""",
        "speech-to-text": "id record_type call_leg_id call_session_id start_time end_time cost currency",
        "text-to-speech": """id record_type call_leg_id call_session_id created_at number_of_characters provider cost
            rate currency""",
        CONVERSATIONAL: """id record_type call_leg_id call_session_id created_at number_of_characters provider cost
            currency""",
        "verify": """record_type id created_at updated_at destination_phone_number delivery_status verification_status
            verify_channel_type verify_profile_id verify_channel_id verify_usage_fee rate rate_measured_in currency""",
        "webrtc": """fs_channel_id finished_at telnyx_call_control_id call_sec connection_name caller_name rate
            auth_username dest_number cld currency id payment_method direction cli cost billing_group_name telnyx_leg_id
            session_id billed_sec record_type tags call_id billing_group_id country_code telnyx_session_id connection_id
            started_at source_country_code caller_number""",
    }.items()
}

SESSION_NAMES = ("call_session_id", "telnyx_session_id", "call_leg_id", "assistant_id")
"""What a record of an LLM turn has besides, where it names its session."""

WORDS: Mapping[str, str] = {
    "amd": "amd_detail_record",
    "conference": "conference_detail_record",
    "conference-participant": "conference_participant_detail_record",
    "media_storage": "media_storage_detail_record",
    "message": "message_detail_record",
    "verify": "verification_detail_record",
    "webrtc": "webrtc_detail_record",
    CONVERSATIONAL: "tts",
}
"""The `record_type` in a record where it is not the type's name: a word that no other part of the API uses."""

COST_FIELDS: Mapping[str, str | None] = {
    "conference": None,
    "sim_card_usage": "data_cost",
    "verify": "verify_usage_fee",
}
"""Where it is not `cost`. A conference costs nothing itself."""

MONEY = frozenset({"cost", "currency", "data_cost", "verify_usage_fee"})
"""The fields that follow from the bill."""

SCIENTIFIC = "text-to-speech"
"""The type whose costs and rates are so small that the API writes them in scientific notation."""

_CONSTANT: Mapping[str, object] = {
    "action_type": "store",
    "asset_id": "asset",
    "attempted": 1,
    "auth_username": "user00001",
    "billable": True,
    "billing_group_id": 60,
    "billing_group_name": "",
    "caller_name": "",
    "carrier": "T-Mobile USA",
    "carrier_fee": "0.003",
    "country_code": 1,
    "data_unit": "MB",
    "delivery_status": "delivered",
    "direction": "inbound",
    "feature": "PREMIUM",
    "flow_dest": "non_telnyx_pstn_number",
    "flow_source": "telnyx_connection",
    "hangup_code": 16,
    "hardware": "gpu",
    "imsi": "311960",
    "ip_address": "192.0.2.1",
    "is_telnyx_billable": True,
    "leg_direction": "inbound",
    "mcc": "410",
    "mnc": "07",
    "onnet": False,
    "orig_jip": "192.0.2.2",
    "outbound_profile_id": "2500000000000000002",
    "payment_method": "rate-deck",
    "provider": "elevenlabs",
    "route": "Inter",
    "service_tier": "default",
    "shaken_stir": "A",
    "sim_card_tags": "fleet,north",
    "sim_group_name": "trucks",
    "source_country_code": 1,
    "status": "delivered",
    "stt_model": "deepgram/flux",
    "telnyx_call_control_id": "",
    "telnyx_error_code": "D00",
    "term_lrn_city": "ANYTOWN",
    "term_lrn_ocn": "515J",
    "tts_model_id": "eleven_flash_v2_5",
    "tts_provider": "elevenlabs",
    "user_id": "3c",
    "verification_status": "accepted",
    "verify_channel_id": "b",
    "verify_profile_id": "a",
}
"""The same in each record that has them."""


def fields_of(record_type: str) -> frozenset[str] | None:
    """Return the fields that records of this type may have; None if they are not witnessed."""
    rows = [FIELDS[row] for row in (record_type, CONVERSATIONAL) if row.startswith(record_type) and row in FIELDS]
    if not rows:
        return None
    return frozenset().union(*rows, SESSION_NAMES if record_type == "inference" else ())


def record_of(record_type: str, values: Mapping[str, object], *, bundled: bool, named: bool) -> dict[str, object]:
    """Return the record without its cost: of these values, those that records of the type have.

    `values` has the event's id, times, usage, and the facts of its call, by their most common names. `named`: an LLM
    turn names its session.
    """
    row = CONVERSATIONAL if bundled else record_type
    known = {**_CONSTANT, **_derived(values), **values, "record_type": WORDS.get(row, record_type)}
    fields = FIELDS.get(row)
    if fields is None:
        return {**values, "record_type": record_type}
    if record_type == "inference" and named:
        fields += tuple(name for name in SESSION_NAMES if name in values)
    return {name: known.get(name) for name in fields if name not in MONEY}


def money(record_type: str, cost: Decimal | None, currency: str, *, bundled: bool) -> dict[str, object]:
    """Return the fields of a record that say what it costs."""
    field = COST_FIELDS.get(record_type, "cost")
    if field is None:
        return {}
    if cost is None:
        return {field: None, "currency": None if bundled else currency}
    # The encoder writes a Decimal as a JSON number, and the fee of a SIM card is one.
    return {field: cost if field == "data_cost" else amount_text(record_type, cost), "currency": currency}


def amount_text(record_type: str, amount: Decimal) -> str:
    """Return an amount as the API writes it for this type."""
    return f"{amount.normalize():E}" if amount and record_type == SCIENTIFIC else format(amount, "f")


def _derived(values: Mapping[str, object]) -> dict[str, object]:
    """Return what follows from the other values."""
    event_id = str(values["id"])
    caller, called = str(values.get("from", "")), str(values.get("to", ""))
    answered = bool(values.get("call_sec"))
    return {
        **dict.fromkeys(("cli", "caller_number", "originating_number"), caller),
        **dict.fromkeys(("cld", "dest_number", "destination_number"), called),
        **dict.fromkeys(("call_id", "fs_channel_id", "sip_call_id"), f"{event_id[:8]}-leg"),
        **dict.fromkeys(("connected", "completed"), int(answered)),
        "answered_at": values.get("started_at") if answered else None,
        "data_rate": values["rate"],
        "hangup_cause": "NORMAL_CLEARING" if answered else "ORIGINATOR_CANCEL",
        "lrn": called[2:8] + "1999",
        "orig_lrn": caller[2:8] + "3080",
        "participant_call_sec": values.get("call_sec"),
        "session_id": _registration(event_id),
        "sip_from_url": f"sip:{caller}@sip.example.com",
        "sip_full_to": f"<sip:{called}@sip.telnyx.com>",
        "telnyx_leg_id": values.get("call_leg_id"),
        "uuid": event_id,
    }


def _registration(event_id: str) -> str:
    """Return the id of a WebRTC client's registration, which leads to no session."""
    return str(uuid.UUID(int=uuid.UUID(event_id).int ^ (2**128 - 1)))
