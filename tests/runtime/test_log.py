"""Log lines: their fields, values that can't forge a line, and uncaught exceptions."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Secret
from exporter.log import FORMATS, LEVELS, QUIET, configure, fields

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
log = logging.getLogger("exporter.polling.poller")


@contextmanager
def logging_to_text(level: str = "info", format_: str = "logfmt") -> Iterator[io.StringIO]:
    """Configure logging inside the block, and restore it afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    levels = {name: logging.getLogger(name).level for name in (*QUIET, "exporter")}
    stream = io.StringIO()
    try:
        logging.getLogger("exporter").setLevel(logging.NOTSET)  # the level that it has outside of tests
        configure(level, format_, stream)
        yield stream
    finally:
        root.handlers[:], _, sys.excepthook, threading.excepthook = before
        root.setLevel(before[1])
        for name, was in levels.items():
            logging.getLogger(name).setLevel(was)


def test_logfmt() -> None:
    """A line has ts, level, logger and msg, then further fields in order; values are quoted only if needed."""
    with logging_to_text() as stream:
        log.warning("bill moved", extra=fields(account="default", cost=Decimal("0.2128"), turns=5, why="a b", at=None))
    line = stream.getvalue()
    assert re.match(STAMP, line.removeprefix("ts="))
    assert line.partition(" ")[2] == (
        'level=warn logger=polling.poller msg="bill moved" account=default cost=0.2128 turns=5 why="a b"\n'
    )


def test_json() -> None:
    """In JSON the same fields are one object; money is text, other numbers are numbers."""
    with logging_to_text(format_="json") as stream:
        log.info("bill moved", extra=fields(cost=Decimal("0.20"), turns=5, lag=0.5, final=False, rate=float("nan")))
    line = json.loads(stream.getvalue())
    assert re.fullmatch(STAMP, line.pop("ts"))
    assert line == {
        "level": "info",
        "logger": "polling.poller",
        "msg": "bill moved",
        "cost": "0.20",
        "turns": 5,
        "lag": 0.5,
        "final": False,
        "rate": "nan",
    }


def test_time_is_utc() -> None:
    """The time of a line is RFC 3339 in UTC, with milliseconds, whatever the machine's zone."""
    record = log.makeRecord(log.name, logging.INFO, __file__, 1, "m", (), None)
    record.created = 1_773_739_800.1239
    assert FORMATS["logfmt"]().format(record) == "ts=2026-03-17T09:30:00.123Z level=info logger=polling.poller msg=m"


@given(st.text(), st.text(), st.sampled_from(sorted(FORMATS)))
def test_no_value_forges_a_line(message: str, value: str, format_: str) -> None:
    """Any message or field is one line of printable ASCII, and JSON restores the text."""
    with logging_to_text(format_=format_) as stream:
        log.info("%s", message, extra=fields(value=value))
    line = stream.getvalue()
    assert line.endswith("\n")
    assert all(" " <= character <= "~" for character in line[:-1])
    if format_ == "json":
        assert (json.loads(line)["msg"], json.loads(line)["value"]) == (message, value)


@given(st.text())
def test_logfmt_keeps_its_fields_apart(value: str) -> None:
    """A value can't end its own field: parsing the line gives the value back."""
    with logging_to_text() as stream:
        log.info("m", extra=fields(value=value, last=1))
    written = stream.getvalue().partition(" msg=m value=")[2].removesuffix(" last=1\n")
    assert (json.loads(written) if written.startswith('"') else written) == value


@pytest.mark.parametrize("format_", FORMATS)
def test_secret(format_: str) -> None:
    """A field that is neither text nor a number is logged as its type, so a key given by mistake is not shown."""
    with logging_to_text(format_=format_) as stream:
        log.info("m", extra={"fields": {"key": Secret("KEY123"), "headers": {"Authorization": "KEY123"}}})
    assert "KEY123" not in stream.getvalue()
    assert "<Secret>" in stream.getvalue()
    assert "<dict>" in stream.getvalue()


def test_facts_replace_no_field() -> None:
    """An extra field can't replace one of the line's own fields."""
    with logging_to_text(format_="json") as stream:
        log.info("true", extra=fields(msg="false", level="false"))
    assert {name: json.loads(stream.getvalue())[name] for name in ("msg", "level")} == {"msg": "true", "level": "info"}


@pytest.mark.parametrize("level", LEVELS)
def test_level(level: str) -> None:
    """Records below the configured level are dropped; verbose libraries log only at debug."""
    with logging_to_text(level, "json") as stream:
        for number in LEVELS.values():
            log.log(number, "ours")
            logging.getLogger("apscheduler.scheduler").log(number, "theirs")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    at_least = list(LEVELS)[list(LEVELS).index(level) :]
    assert [line["level"] for line in lines if line["msg"] == "ours"] == at_least
    theirs = [line["level"] for line in lines if line["msg"] == "theirs"]
    assert theirs == (at_least if level == "debug" else [name for name in at_least if name != "info"])


def test_configured_twice() -> None:
    """Configuring again replaces the set-up: a line is written once, to the new stream."""
    with logging_to_text() as first:
        second = io.StringIO()
        configure("info", "json", second)
        log.info("m")
    assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)


def failure() -> ValueError:
    """Return an error with a traceback and a cause."""
    try:
        try:
            Path("/nowhere\n/ledger").read_text()
        except OSError as error:
            raise ValueError("no ledger") from error
    except ValueError as error:
        return error
    raise AssertionError


def test_exception() -> None:
    """A logged exception is on the same line, with its type, message and traceback, causes included."""
    error = failure()
    with logging_to_text(format_="json") as stream:
        log.error("booking failed", exc_info=error)
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert line["error"] == "ValueError: no ledger"
    assert "FileNotFoundError" in line["stack"]
    assert "in failure" in line["stack"]


def test_uncaught_exception() -> None:
    """An exception that ends the process or a thread is a log line too, with the thread's name."""
    error = failure()
    with logging_to_text(format_="json") as stream:
        sys.excepthook(ValueError, error, error.__traceback__)
        thread = threading.Thread(target=[].pop, name="ledger")
        thread.start()
        thread.join()
    process, in_thread = map(json.loads, stream.getvalue().splitlines())
    assert (process["msg"], process["error"]) == ("uncaught exception", "ValueError: no ledger")
    assert (in_thread["thread"], in_thread["error"]) == ("ledger", "IndexError: pop from empty list")


def test_keyboard_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is no failure: it doesn't become a log line."""
    with logging_to_text() as stream:
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert stream.getvalue() == ""
    assert "KeyboardInterrupt" in capsys.readouterr().err
