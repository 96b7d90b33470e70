"""The OpenAPI document of /api/v1.

Owns its wording; its schemas are those of the records that are sent, its parameters the rows by which requests are
checked, so it can't promise what isn't so. The surprising fact: which methods it names depends on the configuration,
since lists of sessions are taken only where that is enabled.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from exporter import __version__
from exporter.web.pages import parameters as asked
from exporter.web.pages.api import (
    AcceptedDocument,
    ConfigurationDocument,
    FailureListDocument,
    ProblemDocument,
    SessionDocument,
    SessionListDocument,
)

_RECORDS = (
    SessionListDocument,
    SessionDocument,
    FailureListDocument,
    ConfigurationDocument,
    ProblemDocument,
    AcceptedDocument,
)
_JSON = "application/json"


def openapi(*, lists_of: Sequence[str]) -> dict[str, Any]:
    """OpenAPI 3.1; `lists_of` are the accounts of which lists are taken, none where that is not enabled."""
    _, components = msgspec.json.schema_components(_RECORDS, ref_template="#/components/schemas/{name}")
    listed = {
        "get": _get("SessionListDocument that are followed, a page at a time.", SessionListDocument, asked.SESSIONS)
    }
    if lists_of:
        listed["post"] = _post(lists_of)
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in (
            ("account", "The account's name."),
            ("record_type", "The record type of the session's root."),
            ("event_id", "The id of its root event, percent-encoded; or `~` and the session's number."),
        )
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "telnyx-session-exporter",
            "version": __version__,
            "description": "What the exporter's ledger knows of sessions. Read only, but for lists of sessions.",
        },
        "paths": {
            "/api/v1/sessions": listed,
            "/api/v1/sessions/{account}/{record_type}/{event_id}": {
                "get": _get(
                    "One session: its events, checks, polls and amendments.", SessionDocument, asked.SESSION, named
                )
            },
            "/api/v1/failures": {"get": _get("The last failed polls.", FailureListDocument, asked.FAILURES)},
            "/api/v1/config": {"get": _get("The effective configuration, without keys.", ConfigurationDocument, ())},
        },
        "components": {"schemas": components},
    }


def _get(
    summary: str,
    record: type[Struct],
    parameters: Iterable[asked.Parameter],
    named: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    named = list(named)
    told_apart = {"404": _problem("There is no such session.")} if named else {}
    return {
        "summary": summary,
        "parameters": [
            *named,
            *(
                {"name": p.name, "in": "query", "required": False, "description": p.meaning, "schema": p.schema}
                for p in parameters
            ),
        ],
        "responses": {
            "200": _answer("As asked.", record),
            "400": _problem("A parameter is wrong; says which, and the cure."),
            **told_apart,
            "503": _problem("The ledger can't be read now, or too many are reading it."),
        },
    }


def _answer(description: str, record: type[Struct]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{record.__name__}"}}},
    }


def _problem(description: str) -> dict[str, Any]:
    return _answer(description, ProblemDocument)


def _post(accounts: Sequence[str]) -> dict[str, Any]:
    entry = {
        "type": "object",
        "required": ["record_type", "event_id", *(["account"] if len(accounts) > 1 else [])],
        "properties": {
            "account": {"type": "string", "enum": list(accounts)},
            "record_type": {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"},
            "event_id": {"type": "string", "minLength": 1, "maxLength": 200, "description": "Printable."},
            "date_time": {"type": "string", "description": "An ISO 8601 date or date-time."},
        },
        "additionalProperties": False,
    }
    problems = {
        "400": "The list has a mistake; says which entry, and the cure.",
        "403": "The caller is not on this machine, or is a browser or behind a proxy.",
        "413": "The list is too large.",
        "415": "It is not JSON.",
        "503": "It can't be taken now; send it again.",
    }
    return {
        "summary": "Follow the sessions of a list; from this machine only.",
        "requestBody": {"required": True, "content": {_JSON: {"schema": {"type": "array", "items": entry}}}},
        "responses": {
            "200": _answer("All are in the ledger.", AcceptedDocument),
            **{status: _problem(description) for status, description in problems.items()},
        },
    }
