"""Series of the ledger whose labels are known before anything is booked, so that they are at 0 from the start.

Owns which they are: states, checks and currencies of each account, its sources, and the costs of the record types that
those can show. Pure. The surprising fact: with labels of the user's own no cost series can be known.
"""

from collections.abc import Iterable, Iterator

from exporter.config import Account, Config
from exporter.core.catalog import CHECKS, DETAIL_RECORDS, FILES, HTTP, STATES, WEBHOOKS
from exporter.core.model import Labels
from exporter.core.record_types import RecordTypes

WEBHOOK_ROOTS = ("call-session", "message")
"""Record types of the sessions that webhooks report."""

Series = tuple[str, Labels]
"""A family and the labels of one of its series."""


def configured_sources(config: Config, account: Account) -> Iterator[str]:
    """The sources that the configuration turns on, as values of the label `source`."""
    if config.discovery.files:
        yield FILES
    if config.discovery.http.enabled:
        yield HTTP
    if config.takes_webhooks(account):
        yield WEBHOOKS
    if config.discovery.detail_records.record_types:
        yield DETAIL_RECORDS


def zero_series(config: Config, record_types: RecordTypes) -> Iterator[Series]:
    """All of them, of all accounts."""
    yield "telnyx_ledger_events", ()
    for account in config.accounts:
        yield from _of_account(account)
        for source in configured_sources(config, account):
            labels = (("account", account.name), ("source", source))
            yield "telnyx_discovered_sessions_total", labels
            yield "telnyx_discovery_last_success_timestamp_seconds", labels
        if not config.metrics.labels:
            roots = {ref.record_type for ref in config.session_refs() if ref.account == account.name}
            roots.update(WEBHOOK_ROOTS if config.takes_webhooks(account) else ())
            if config.discovery.detail_records.record_types:
                roots.update(known.name for known in record_types)
            yield from _costs(account, _reachable(roots, record_types), record_types)


def _of_account(account: Account) -> Iterator[Series]:
    name = ("account", account.name)
    for state in STATES:
        yield "telnyx_sessions", (name, ("state", state))
    for check in CHECKS:
        yield "telnyx_reconciliation_failures_total", (name, ("check", check))
        yield "telnyx_unreconciled_sessions", (name, ("check", check))
    for currency in account.currencies:
        yield "telnyx_unsettled_cost", (name, ("currency", currency))
    yield "telnyx_discovered_sessions_total", (name, ("source", "config"))


def _costs(account: Account, names: Iterable[str], record_types: RecordTypes) -> Iterator[Series]:
    for record_type in names:
        known = record_types.get(record_type)
        if known is None:
            continue
        product = known.product or record_type
        labels = (("account", account.name), ("record_type", record_type), ("product", product))
        yield "telnyx_events_total", labels
        for currency in account.currencies:
            yield "telnyx_cost_total", (*labels, ("currency", currency))
            yield "telnyx_cost_credits_total", (*labels, ("currency", currency))


def _reachable(roots: Iterable[str], record_types: RecordTypes) -> list[str]:
    """The roots and whatever may stand below them."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        record_type = waiting.pop()
        known = record_types.get(record_type)
        if record_type not in found and known is not None:
            found.add(record_type)
            waiting += [child.child for child in known.children]
    return sorted(found)
