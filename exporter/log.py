"""Set up logging, and write each record as one line of logfmt or JSON.

A message is constant text; variable values travel beside it as fields::

    log.info("session settled", extra=fields(account=ref.account, event_id=ref.event_id))

A field is a text or a number. None is left out, and any other value is written as its type, since it might hold a key.
A line is pure ASCII with everything else escaped, so no value of the API can end a line, forge the next one, or control
a terminal.
"""

import json
import logging
import math
import re
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import Any, TextIO

LEVELS: Mapping[str, int] = MappingProxyType(
    {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
)

QUIET = ("apscheduler", "asyncio", "httpcore", "httpx", "uvicorn")
"""Libraries that log every job or request at info; they log below warn only at debug."""

Field = str | int | float | Decimal | None

_LEVEL_NAMES = {**{number: name for name, number in LEVELS.items()}, logging.CRITICAL: "error"}
_BARE = re.compile(r"[A-Za-z0-9_.:/+-]+")
"""Values that logfmt leaves unquoted; all others are written as JSON strings."""


def fields(**values: Field) -> dict[str, Any]:
    """Return the `extra` of a logging call."""
    return {"fields": values}


class _Lines(logging.Formatter):
    """Collects the fields of a record in the order of writing; a subclass writes them."""

    def fields(self, record: logging.LogRecord) -> dict[str, str | int | float]:
        extra: Mapping[str, object] = getattr(record, "fields", {})
        own: dict[str, str | int | float] = {
            "ts": _rfc3339(record.created),
            "level": _LEVEL_NAMES.get(record.levelno, record.levelname.lower()),
            "logger": record.name.removeprefix("exporter."),
            "msg": record.getMessage(),
        }
        own.update((name, _plain(value)) for name, value in extra.items() if name not in own and value is not None)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            own["error"] = f"{type(error).__name__}: {error}"
            own["stack"] = self.formatException(record.exc_info)
        return own


class _Logfmt(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_word(value)}" for name, value in self.fields(record).items())


class _Json(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        return _ascii(self.fields(record))


FORMATS: Mapping[str, type[logging.Formatter]] = MappingProxyType({"logfmt": _Logfmt, "json": _Json})


def configure(level: str, format_: str, stream: TextIO) -> None:
    """Log to the stream, uncaught exceptions too; `level` is a key of LEVELS, `format_` of FORMATS."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FORMATS[format_]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for name in QUIET:
        logging.getLogger(name).setLevel(LEVELS[level] if level == "debug" else max(LEVELS[level], logging.WARNING))
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger(__name__).error("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    thread = args.thread.name if args.thread is not None else None
    logging.getLogger(__name__).error(
        "uncaught exception in a thread",
        exc_info=(args.exc_type, error, args.exc_traceback),
        extra=fields(thread=thread),
    )


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> str | int | float:
    """Return a value for JSON; a Decimal becomes text, since readers of JSON turn numbers into floats."""
    if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value) if isinstance(value, (float, Decimal)) else f"<{type(value).__name__}>"


def _word(value: str | float) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else _ascii(text)


def _ascii(value: object) -> str:
    """Return JSON in printable ASCII; DEL is the only control character that json.dumps leaves."""
    return json.dumps(value).replace("\x7f", "\\u007f")
