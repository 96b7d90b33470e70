"""Compare two configurations, and keep the settings that only a restart can change.

A difference is named by the path of its setting, with list entries by name: `accounts[main].base_url`. Values are
never shown. Labels, buckets and the ledger's place shape all totals, so they stay as they are until a restart.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from exporter.config.settings import Account, Config

_LOADED = {"key": "api_key", "webhook_key": "webhook_public_key"}
"""Names for the fields that `load` fills from variables and files."""


def in_effect(running: Config, wanted: Config) -> Config:
    """Return the wanted configuration, but with the running one's settings where a change needs a restart."""
    metrics = replace(wanted.metrics, labels=running.metrics.labels, buckets=running.metrics.buckets)
    before = running.ledger
    ledger = replace(
        wanted.ledger, url=before.url, password_file=before.password_file, lease_seconds=before.lease_seconds
    )
    return replace(wanted, metrics=metrics, ledger=ledger)


def differences(before: Config, after: Config) -> tuple[str, ...]:
    """Return the paths of the settings that differ."""
    return tuple(_between(before, after, ""))


def _between(before: Any, after: Any, path: str) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, Struct) and type(before) is type(after):
        for field in before.__struct_fields__:
            name = _LOADED.get(field, field) if isinstance(before, Account) else field
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
