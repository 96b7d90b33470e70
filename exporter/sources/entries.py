"""Read a list of sessions, from a file or a request, or raise one ConfigError.

The entries are as in `sessions` of the configuration. A list is accepted as a whole or not at all; a session may be in
it twice, since programs make such lists from several places.
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
"""Called with the content, its name in syntax errors, and the names of the accounts."""


def json_entries(content: bytes, name: str, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
    """Return the distinct sessions of a JSON list, in its order."""
    return _entries(read_json(content, name), name, accounts)


def yaml_entries(content: bytes, name: str, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
    """Return the distinct sessions of a YAML list, in its order; a text without values has none."""
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
