"""Detail records that discovery has seen: each is counted once, however often it is listed.

Owns which are news, which of these their session is to be looked at for, and what they cost together, within the
caller's transaction. The surprising fact: a record's cost counts upward only; the bill is kept by the events, and this
sum is there to be compared with theirs.
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
        """The records that were not seen before, or cost more than when they were; all costs are counted."""
        return [record for record in records if self._count(record, now)]

    def notice_for(self, record: DetailRecord) -> SessionNotice:
        """What the record tells of its session: nothing to look at, if its event is known at this cost already."""
        return replace(record.notice, kind="") if self._is_known(record) else record.notice

    def _is_known(self, record: DetailRecord) -> bool:
        ref = record.notice.ref
        query = "SELECT id FROM sessions WHERE account = ? AND record_type = ? AND event_id = ?"
        session = self._connection.execute(query, (ref.account, ref.record_type, ref.event_id)).fetchone()
        if session is None:
            return False
        return any(
            (node.record_type, node.id) == (record.record_type, record.id)
            and (record.cost is None or (node.cost, node.currency) == (record.cost, record.currency))
            for node in read_tree(self._connection, session[0])
        )

    def forget(self, before: float) -> None:
        """Of records that are older nothing need be known: they are not listed again."""
        self._connection.execute("DELETE FROM records WHERE account = ? AND at < ?", (self._account, before))

    def _count(self, record: DetailRecord, now: float) -> bool:
        key, cost = self._key(record), record.cost
        query = f"SELECT cost FROM records WHERE key = ?{self._connection.for_update}"  # noqa: S608 - literals
        known = self._connection.execute(query, (key,)).fetchone()
        before = Decimal(known[0]) if known is not None and known[0] is not None else None
        if known is not None and (cost is None or (before is not None and cost <= before)):
            return False
        text = None if cost is None else amount_text(cost)
        at = now if record.at is None else record.at
        change = (
            "UPDATE records SET account = ?, at = ?, cost = ? WHERE key = ?"
            if known is not None
            else "INSERT INTO records (account, at, cost, key) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        if self._connection.execute(change, (self._account, at, text, key)).rowcount != 1:
            raise TransactionConflict("another process has just listed the same record")
        if cost is not None and cost > (before or ZERO):
            labels = (("account", self._account), ("record_type", record.record_type), ("currency", record.currency))
            self._totals.add(COST, labels, subtract(cost, before or ZERO))
        return True

    def _key(self, record: DetailRecord) -> bytes:
        name = f"{self._seed}\0{record.record_type}\0{record.id}"
        return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
