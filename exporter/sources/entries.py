"""Lists of sessions, as files and other programs write them: bytes -> the sessions they name, or one ConfigError.

Owns what such a list may be: entries as in `sessions` of the configuration, read by the same rows. Pure; knows neither
files nor HTTP. The surprising fact: a list is taken whole or not at all, and an entry that stands in it twice is one
session and no mistake, since programs put such lists together from several places.
"""

from collections.abc import Callable, Sequence
from typing import Any

from exporter.config.checks import account_problems
from exporter.config.document import read_json, read_yaml
from exporter.config.quoting import quoted
from exporter.config.read import raise_problems, read_records
from exporter.config.settings import ConfiguredSession
from exporter.core.errors import ConfigError
from exporter.core.model import SessionRef

Reader = Callable[[bytes, str, Sequence[str]], tuple[SessionRef, ...]]
"""Takes the content, what a syntax error calls it, and the names of the accounts."""


def json_entries(content: bytes, name: str, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
    """The distinct sessions of a JSON list, in its order."""
    return _entries(read_json(content, name), name, accounts)


def yaml_entries(content: bytes, name: str, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
    """The distinct sessions of a YAML list, in its order; an empty text, or one of comments, has none."""
    read = read_yaml(content, name)
    return _entries([] if read is None else read, name, accounts)


def _entries(read: Any, name: str, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
    if not isinstance(read, list):
        raise ConfigError(name, f"expected a list of sessions at the top, got {quoted(read)}")
    sessions = read_records(ConfiguredSession, read)
    raise_problems(account_problems(sessions, accounts, ""))
    first: dict[tuple[str, str, str], SessionRef] = {}
    for session in sessions:
        ref = session.ref(accounts[0])
        first.setdefault((ref.account, ref.record_type, ref.event_id), ref)
    return tuple(first.values())
