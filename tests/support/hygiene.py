"""Watch the whole suite for secrets in log lines, HTTP responses and errors.

Every API key of a test has the form of Telnyx's own, `KEY` and then a digit or a dash, and every password starts with
`PASSWORD-`. Text of that form may appear in requests only. Logs are watched at level debug, responses with their
headers and unpacked, errors when they are created. Tests that start processes check those processes' logs themselves.
"""

import logging
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.responses import Response

from exporter.core.errors import ExporterError
from exporter.log import FORMATS

SECRET = re.compile(r"(?<![\w-])(KEY[-0-9]|PASSWORD-)[\w-]{2,}")

_GZIP_WRAPPED = zlib.MAX_WBITS | 16


class SecretWatch(logging.Handler):
    """The leaks found since the last `pop_found`; any thread may add one."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, None] = {}
        self._format = FORMATS["json"]()

    def check(self, source: str, text: str) -> None:
        found = SECRET.search(text)
        if found is not None:
            self._found[f"{source} shows {found[0]}: {text[max(0, found.start() - 200) : found.end() + 50]}"] = None

    def pop_found(self) -> list[str]:
        found, self._found = self._found, {}
        return list(found)

    def emit(self, record: logging.LogRecord) -> None:
        self.check("a log line", self._format.format(record))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Start to watch. Watched classes keep their behaviour."""
        logger = logging.getLogger("exporter")
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)
        patch.setattr(Response, "__init__", self._watched(Response.__init__, "an answer", _answer))
        for kind in (ExporterError, *_subclasses(ExporterError)):
            if "__init__" in vars(kind) or kind is ExporterError:
                init: Callable[..., None] = getattr(kind, "__init__")  # noqa: B009 - mypy rejects the attribute
                patch.setattr(kind, "__init__", self._watched(init, "an error", _error))

    def _watched(self, init: Callable[..., None], source: str, text: Callable[[Any], str]) -> Callable[..., None]:
        def watched(made: Any, *args: Any, **kwargs: Any) -> None:
            init(made, *args, **kwargs)
            self.check(source, text(made))

        return watched


WATCH = SecretWatch()


def _subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _answer(response: Response) -> str:
    """Return headers and body as the client reads them."""
    body = bytes(getattr(response, "body", b""))
    if response.headers.get("content-encoding") == "gzip":
        body = zlib.decompress(body, _GZIP_WRAPPED)
    return f"{response.headers!r}\n{body.decode('utf-8', 'replace')}"


def _error(error: ExporterError) -> str:
    return f"{error} {vars(error)}"
