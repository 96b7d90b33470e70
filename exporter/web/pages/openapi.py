"""The OpenAPI document of /api/v1.

Its schemas are those of the documents that are sent, and its parameters are the rows that requests are checked by, so
it can't drift. The method POST is in it only if the configuration enables lists of sessions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from exporter import __version__
from exporter.web.pages import parameters
from exporter.web.pages.api import (
    AcceptedDocument,
    ConfigurationDocument,
    FailureListDocument,
    ProblemDocument,
    SessionDocument,
    SessionListDocument,
)

_DOCUMENTS = (
    SessionListDocument,
    SessionDocument,
    FailureListDocument,
    ConfigurationDocument,
    ProblemDocument,
    AcceptedDocument,
)


def openapi(*, list_accounts: Sequence[str]) -> dict[str, Any]:
    """Return OpenAPI 3.1; `list_accounts` may send lists of sessions, none if that is not enabled."""
    _, components = msgspec.json.schema_components(_DOCUMENTS, ref_template="#/components/schemas/{name}")
    sessions = {"get": _get("The followed sessions, a page at a time.", SessionListDocument, parameters.SESSIONS)}
    if list_accounts:
        sessions["post"] = _post(list_accounts)
    path_parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in (
            ("account", "The account's name."),
            ("record_type", "The record type of the session's root."),
            ("event_id", "The id of its root event, percent-encoded; or `~` and the session's number."),
        )
    ]
    summary = "One session: its events, checks, polls and amendments."
    session = {"get": _get(summary, SessionDocument, parameters.SESSION, path_parameters)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "telnyx-session-exporter",
            "version": __version__,
            "description": "The sessions in the exporter's ledger. Read only, except for lists of sessions.",
        },
        "paths": {
            "/api/v1/sessions": sessions,
            "/api/v1/sessions/{account}/{record_type}/{event_id}": session,
            "/api/v1/failures": {"get": _get("The last failed polls.", FailureListDocument, parameters.FAILURES)},
            "/api/v1/config": {"get": _get("The effective configuration, without keys.", ConfigurationDocument, ())},
        },
        "components": {"schemas": components},
    }


def _get(
    summary: str,
    document: type[Struct],
    query: Iterable[parameters.Parameter],
    path_parameters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    query_parameters = [
        {"name": p.name, "in": "query", "required": False, "description": p.meaning, "schema": p.schema} for p in query
    ]
    problems = {
        "400": "A parameter is wrong; the error names it and the cure.",
        **({"404": "There is no such session."} if path_parameters else {}),
        "503": "The ledger can't be read now, or too many clients are reading it.",
    }
    return {
        "summary": summary,
        "parameters": [*path_parameters, *query_parameters],
        "responses": {"200": _response("The result.", document), **_problem_responses(problems)},
    }


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
        "400": "An entry of the list is wrong; the error names it and the cure.",
        "403": "The caller is not on this machine, or is a browser or behind a proxy.",
        "413": "The list is too large.",
        "415": "The body is not JSON.",
        "503": "The list can't be stored now; send it again.",
    }
    return {
        "summary": "Follow the sessions of a list; from this machine only.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "array", "items": entry}}},
        },
        "responses": {
            "200": _response("All sessions are in the ledger.", AcceptedDocument),
            **_problem_responses(problems),
        },
    }


def _response(description: str, document: type[Struct]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{document.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem_responses(problems: Mapping[str, str]) -> dict[str, Any]:
    return {status: _response(description, ProblemDocument) for status, description in problems.items()}
