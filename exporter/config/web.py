"""The settings below `web`: what the web surface shows.

Owns which fields of Telnyx's records name a person. How they are masked is the business of `privacy`, how the surface
is protected that of the web config file. The surprising fact: nobody promises a record's fields, so the list goes by
words that occur in such names, and `privacy` looks at the values of all others.
"""

from typing import Annotated

from msgspec import Struct

from exporter.config.rules import ListOf, SettingSpec, distinct, text

REDACT_FIELDS = (
    *("from", "to", "cli", "cld", "ani", "dnis", "msisdn", "number", "*_number", "*numbers", "*phone", "*phones"),
    *("from_uri", "to_uri", "sip_uri", "*_sip_uri", "destination_uri", "request_uri", "contact", "sip_user*"),
    *("*username", "user_name", "*display_name", "*caller_name", "*callee_name", "caller*id", "caller_id_*"),
    *("caller", "callee", "cnam*", "first_name", "last_name", "full_name", "*person_name", "*customer_name"),
    *("*email", "*emails", "*address", "*addresses", "imsi", "imei", "iccid"),
    *("*sip_headers", "*custom_headers", "client_state", "text", "body", "*transcript", "*transcription"),
)
"""Numbers; SIP URIs; names; other addresses, SIM cards among them; what was said, or was hidden in a header."""


class WebSettings(Struct, frozen=True, kw_only=True):
    redact_fields: Annotated[
        tuple[str, ...],
        SettingSpec(
            ListOf(
                text("the name of a field, with * for any letters", r"(?=.*[A-Za-z0-9*])[A-Za-z0-9_*-]{1,100}"),
                at_most=1000,
                check=distinct,
            ),
            "Fields of the detail records that name a person, in any part of a record: pages, JSON, CSV, `/probe` and "
            "the command `session` mask them, and a label can't be taken from one unless it says `allow_personal`. "
            "Case and `_` make no difference. What looks like a phone number, a SIP URI or an e-mail address is "
            "masked in every other field too. A list replaces the whole default; `[]`: nothing is masked.",
        ),
    ] = REDACT_FIELDS
