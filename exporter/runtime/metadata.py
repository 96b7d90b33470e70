"""The record types as they are known now, and the reader of trees that knows them.

Owns when the API's metadata is asked for, and that it is kept for the next start; what it says only adds to what the
documentation has. The surprising fact: any account's answer will do, for the metadata is the same for all.
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
"""How often it is looked whether the metadata is to be asked for."""
METADATA_SECONDS = 86_400.0
KEPT = "metadata"
"""The key under which the ledger keeps it."""


class Metadata:
    """Learns record types that came after this version."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        record_fields: frozenset[str],
    ) -> None:
        """`record_fields` are those of events' records that anything reads."""
        self._fields = record_fields
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._asked_at: float | None = None
        self._clients = dict[str, TelnyxClient]()
        self._limits = TreeLimits()
        self.record_types = RecordTypes.documented()
        self.reader = self._new_reader()

    def adopt(self, plan: Plan) -> None:
        """Read by this plan's limits, and ask its clients."""
        tree = plan.config.tree
        self._clients = dict(plan.clients)
        self._limits = TreeLimits(tree.max_nodes, tree.max_subtree_requests, tree.max_levels)
        self.reader = self._new_reader()

    async def recover(self) -> None:
        """Know what was known before the start; raises LedgerError."""
        kept = await self._ledger.run(Ledger.get_meta, KEPT)
        if kept is not None:
            self._extend(kept)

    async def fetch(self) -> None:
        """Ask for it, once a day."""
        asked_at = self._asked_at
        if asked_at is not None and self._clock.monotonic() - asked_at < METADATA_SECONDS:
            return
        for name, client in self._clients.items():
            try:
                metadata = (await client.metadata()).decode("utf-8", "replace")
                self._extend(metadata)
                await self._ledger.run(Ledger.put_meta, KEPT, metadata)
            except LedgerError as error:
                self._commit_queue.report_failure(error)
                return
            except (ConfigError, PollError) as error:
                log.warning("metadata not fetched", extra=fields(account=name, error=str(error)))
                self._metrics.inc("telnyx_exporter_task_failures_total", ("metadata",))
            else:
                self._asked_at = self._clock.monotonic()
                return

    def _extend(self, metadata: str) -> None:
        self.record_types = RecordTypes.documented().extended(metadata.encode())
        self.reader = self._new_reader()

    def _new_reader(self) -> TreeReader:
        return TreeReader(self._fields, self.record_types, self._limits)
