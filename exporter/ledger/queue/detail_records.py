"""Detail records that discovery has listed: each is counted once, however often the API lists it.

Decides which records are new, and whether a record's session must be polled because of it. The sum of their costs only
rises; it is there to be compared with the costs of the events, which are the bill.
"""

import hashlib
from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from exporter.core.model import DetailRecord, SessionNotice
from exporter.core.money import ZERO, amount_text, subtract
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.totals.accounts import account_seeds
from exporter.ledger.totals.totals import Totals
from exporter.ledger.views.trees import read_tree

COST = "telnyx_detail_record_cost_total"


class DetailRecordTable:
    """The records of one account."""

    def __init__(self, connection: Connection, totals: Totals, account: str) -> None:
        self._connection = connection
        self._totals = totals
        self._account = account
        self._seed = account_seeds(connection).get(account, account)

    def count_new(self, records: Iterable[DetailRecord], now: float) -> list[DetailRecord]:
        """Count the costs of the records that are new, or cost more than before; return these records."""
        return [record for record in records if self._count(record, now)]

    def notice_for(self, record: DetailRecord) -> SessionNotice | None:
        """Return the notice for the record's session; one without a kind, if a poll has seen the event at this cost.

        None for an awaited record.
        """
        if record.notice is None:
            return None
        ref = record.notice.ref
        query = "SELECT id FROM sessions WHERE account = ? AND record_type = ? AND event_id = ?"
        session = self._connection.execute(query, (ref.account, ref.record_type, ref.event_id)).fetchone()
        for node in read_tree(self._connection, session[0]) if session is not None else ():
            same_cost = record.cost is None or (node.cost, node.currency) == (record.cost, record.currency)
            if (node.record_type, node.id) == (record.record_type, record.id) and same_cost:
                return replace(record.notice, kind="")
        return record.notice

    def _count(self, record: DetailRecord, now: float) -> bool:
        name = f"{self._seed}\0{record.record_type}\0{record.id}"
        key = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        cost = record.cost
        query = f"SELECT cost FROM records WHERE key = ?{self._connection.for_update}"  # noqa: S608 - literals
        known = self._connection.execute(query, (key,)).fetchone()
        before = Decimal(known[0]) if known is not None and known[0] is not None else None
        if known is not None and (cost is None or (before is not None and cost <= before)):
            return False
        text = None if cost is None else amount_text(cost)
        at = now if record.at is None else record.at
        change = (
            "UPDATE records SET account = ?, at = ?, cost = ?, record_type = ? WHERE key = ?"
            if known is not None
            else "INSERT INTO records (account, at, cost, record_type, key) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING"
        )
        if self._connection.execute(change, (self._account, at, text, record.record_type, key)).rowcount != 1:
            raise TransactionConflict("another process has just listed the same record")
        if cost is not None and cost > (before or ZERO):
            labels = (("account", self._account), ("record_type", record.record_type), ("currency", record.currency))
            self._totals.add(COST, labels, subtract(cost, before or ZERO))
        return True
