"""Fetch the API's record type metadata once a day, and build the reader of event trees with it.

The metadata adds record types to those that this version knows from the documentation. It is the same for all accounts,
so the first account that answers is enough. It is stored in the ledger for the next start.
"""

import logging

from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, LedgerError, PollError
from exporter.core.record_types import RecordTypes
from exporter.core.tree import TreeLimits, TreeReader
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.runtime.plan import Plan
from exporter.telnyx.client import TelnyxClient

log = logging.getLogger(__name__)

RETRY_SECONDS = 300.0
"""The interval of `fetch`, and so of retries."""
METADATA_SECONDS = 86_400.0
META_KEY = "metadata"
"""The key in the ledger."""


class Metadata:
    """The known record types, and the tree reader for them."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        record_fields: frozenset[str],
    ) -> None:
        """`record_fields` are the fields of detail records that labels and attributes need."""
        self._fields = record_fields
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._fetched_at: float | None = None
        self._clients = dict[str, TelnyxClient]()
        self._limits = TreeLimits()
        self.record_types = RecordTypes.documented()
        self._reader = self._new_reader()

    def tree_reader(self) -> TreeReader:
        """Return the reader for the record types and limits of now."""
        return self._reader

    def apply_plan(self, plan: Plan) -> None:
        tree = plan.config.tree
        self._clients = dict(plan.clients)
        self._limits = TreeLimits(tree.max_nodes, tree.max_subtree_requests, tree.max_levels)
        self._reader = self._new_reader()

    async def recover(self) -> None:
        """Load the metadata of earlier runs; raises LedgerError."""
        stored = await self._ledger.run(Ledger.get_meta, META_KEY)
        if stored is not None:
            self._extend(stored)

    async def fetch(self) -> None:
        """Fetch the metadata unless the last one is less than a day old."""
        if self._fetched_at is not None and self._clock.monotonic() - self._fetched_at < METADATA_SECONDS:
            return
        for name, client in self._clients.items():
            try:
                metadata = (await client.metadata()).decode("utf-8", "replace")
                self._extend(metadata)
                await self._ledger.run(Ledger.put_meta, META_KEY, metadata)
            except LedgerError as error:
                self._commit_queue.report_failure(error)
                return
            except (ConfigError, PollError) as error:
                log.warning("metadata not fetched; retried in 5 minutes", extra=fields(account=name, error=str(error)))
                self._metrics.inc("telnyx_exporter_task_failures_total", ("metadata",))
            else:
                self._fetched_at = self._clock.monotonic()
                return

    def _extend(self, metadata: str) -> None:
        self.record_types = RecordTypes.documented().extended(metadata.encode())
        self._reader = self._new_reader()

    def _new_reader(self) -> TreeReader:
        return TreeReader(self._fields, self.record_types, self._limits)
