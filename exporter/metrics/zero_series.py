"""The ledger's series whose labels are known in advance, so that they are at 0 before anything is booked.

These are the states, checks, currencies and sources of each account, and the costs of the record types that its sources
can discover. With configured labels (`metrics.labels`) the cost series can't be known in advance.
"""

from collections.abc import Iterator

from exporter.config import Account, Config
from exporter.core.catalog import CHECKS, DETAIL_RECORDS, FILES, HTTP, STATES, WEBHOOKS
from exporter.core.model import Labels
from exporter.core.record_types import RecordTypes

WEBHOOK_ROOTS = ("call-session", "message", "fax-api")
"""Record types of the sessions that webhooks report."""

Series = tuple[str, Labels]
"""A family and the labels of one of its series."""


def configured_sources(config: Config, account: Account) -> Iterator[str]:
    """Yield the sources that the configuration turns on, as values of the label `source`."""
    if config.discovery.files:
        yield FILES
    if config.discovery.http.enabled:
        yield HTTP
    if config.takes_webhooks(account):
        yield WEBHOOKS
    if config.discovery.detail_records.record_types:
        yield DETAIL_RECORDS


def zero_series(config: Config, record_types: RecordTypes) -> Iterator[Series]:
    """Yield the series of all accounts."""
    yield "telnyx_ledger_events", ()
    yield "telnyx_ledger_pruned_events", ()
    for account in config.accounts:
        name = ("account", account.name)
        for state in STATES:
            yield "telnyx_sessions", (name, ("state", state))
        for check in CHECKS:
            yield "telnyx_reconciliation_failures_total", (name, ("check", check))
            yield "telnyx_unreconciled_sessions", (name, ("check", check))
        for currency in account.currencies:
            yield "telnyx_unsettled_cost", (name, ("currency", currency))
        yield "telnyx_discovered_sessions_total", (name, ("source", "config"))
        for source in configured_sources(config, account):
            yield "telnyx_discovered_sessions_total", (name, ("source", source))
            yield "telnyx_discovery_last_success_timestamp_seconds", (name, ("source", source))
        if not config.metrics.labels:
            yield from _costs(config, account, record_types)


def _costs(config: Config, account: Account, record_types: RecordTypes) -> Iterator[Series]:
    """Yield the cost series of all record types that the account's sources can discover, and of those below them."""
    waiting = [ref.record_type for ref in config.session_refs() if ref.account == account.name]
    waiting += WEBHOOK_ROOTS if config.takes_webhooks(account) else ()
    if config.discovery.detail_records.record_types:
        waiting += [known.name for known in record_types]
    found: set[str] = set()
    while waiting:
        record_type = waiting.pop()
        known = record_types.get(record_type)
        if record_type not in found and known is not None:
            found.add(record_type)
            waiting += [child.child for child in known.children]
    for record_type in sorted(found):
        known = record_types.get(record_type)
        product = (known and known.product) or record_type
        labels = (("account", account.name), ("record_type", record_type), ("product", product))
        yield "telnyx_events_total", labels
        for currency in account.currencies:
            yield "telnyx_cost_total", (*labels, ("currency", currency))
            yield "telnyx_cost_credits_total", (*labels, ("currency", currency))
