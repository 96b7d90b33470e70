"""What two configurations differ in, and which of it a running exporter can take up.

Owns the names of differences: paths of settings as in error messages, entries of lists by their names, never a value.
Pure. The surprising fact: a configuration that was read is not always the one in effect, for what shapes every total
and where they are kept stays as it was until a restart.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from exporter.config.settings import Account, Config

_READ = {"key": "api_key", "webhook_key": "webhook_public_key"}
"""What `load` read from elsewhere, by the fields that hold it."""


def in_effect(running: Config, wanted: Config) -> Config:
    """What a running exporter makes of a configuration: all of it but what needs a restart."""
    metrics = replace(wanted.metrics, labels=running.metrics.labels, buckets=running.metrics.buckets)
    before = running.ledger
    ledger = replace(
        wanted.ledger, url=before.url, password_file=before.password_file, lease_seconds=before.lease_seconds
    )
    return replace(wanted, metrics=metrics, ledger=ledger)


def differences(before: Config, after: Config) -> tuple[str, ...]:
    """The settings that differ."""
    return tuple(_between(before, after, ""))


def _between(before: Any, after: Any, path: str) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, Struct) and type(before) is type(after):
        for field in before.__struct_fields__:
            name = _READ.get(field, field) if isinstance(before, Account) else field
            yield from _between(getattr(before, field), getattr(after, field), f"{path}.{name}" if path else name)
    elif _named(before) and _named(after):
        yield from _between_entries(before, after, path)
    else:
        yield path


def _between_entries(before: tuple[Any, ...], after: tuple[Any, ...], path: str) -> Iterator[str]:
    old, new = ({entry.name: entry for entry in entries} for entries in (before, after))
    for name in old | new:
        place = f"{path}[{name}]"
        if name not in new:
            yield f"{place} (removed)"
        elif name not in old:
            yield f"{place} (added)"
        else:
            yield from _between(old[name], new[name], place)


def _named(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(entry, Struct) and hasattr(entry, "name") for entry in value)
