"""Errors of the simulated API, in Telnyx's format.

Session Analysis calls the short text `message`; the rest of the API, and the rate limit, call it `title`.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace


class ApiError(Exception):
    """An error answer: status, body and headers."""

    def __init__(self, kind: "ErrorKind", detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self._kind, self._detail = kind, detail
        self.status = kind.status
        self.headers = dict(headers or {})
        self.body = msgspec.json.encode({"errors": [{"code": kind.code, kind.key: kind.text, "detail": detail}]})

    def with_title(self) -> "ApiError":
        """Return the error with `title` in place of `message`."""
        return ApiError(replace(self._kind, key="title"), self._detail, self.headers)


class ErrorKind(Struct, frozen=True):
    status: int
    code: str
    text: str
    key: str = "message"


BAD_RECORD_TYPE = ErrorKind(400, "10015", "Invalid record_type")
BAD_EVENT_ID = ErrorKind(400, "10015", "Invalid event_id")
BAD_PARAMETER = ErrorKind(400, "10015", "Invalid parameter")
NO_SUCH_RECORDS = ErrorKind(400, "10015", "No matching record type was found")
UNAUTHORIZED = ErrorKind(401, "10009", "Authentication failed")
FORBIDDEN = ErrorKind(403, "10010", "Authorization failed")
NOT_FOUND = ErrorKind(404, "10005", "Resource not found")
CONFLICT = ErrorKind(409, "10008", "Conflict")
METHOD_NOT_ALLOWED = ErrorKind(405, "10006", "Method not allowed")
SERVER_ERROR = ErrorKind(500, "10007", "Unexpected error")
TOO_MANY_REQUESTS = ErrorKind(429, "10011", "Too many requests", key="title")
