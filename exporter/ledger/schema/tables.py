"""The tables of the ledger, one schema for every engine.

Owns names and types, and what PostgreSQL has beyond them. Money is never a float: a money column is canonical decimal
text in SQLite, which must never SUM it, and NUMERIC in PostgreSQL; text is compared by its bytes in both. Times are
seconds since the epoch. The surprising fact: the sessions table is the queue; whoever is due is found by its index. The
running exporter never imports it, but reads the statements that `make docs` writes from here.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Float,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy import Integer as SmallInteger
from sqlalchemy import Text as LocalText
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from exporter.ledger.schema.version import GIVEN_UP, LIVE


class Money(TypeDecorator[Decimal]):
    """An exact amount: text in SQLite, where SQLAlchemy's own Numeric would be a float."""

    impl = LocalText
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(LocalText() if dialect.name == "sqlite" else Numeric())


Integer = SmallInteger().with_variant(BigInteger(), "postgresql")
"""SQLite's holds 64 bits by itself."""
Text = LocalText().with_variant(LocalText(collation="C"), "postgresql")
"""Ranges of ids and places in lists are ranges of bytes, whatever the server's language is."""

metadata = MetaData()

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))
"""schema_version, ledger_id, claims (the last claim number given by a file), horizon, metadata (of the API)."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("record_type", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("date_time", Text),
    Column("source", Text, nullable=False),
    Column("configured", Integer, nullable=False),
    Column("due_at", Float),
    Column("claim", Integer, nullable=False, default=0),
    Column("state", Text, nullable=False),
    Column("interval", Float, nullable=False),
    Column("followed_at", Float, nullable=False),
    Column("first_tree_at", Float),
    Column("changed_at", Float),
    Column("rested_at", Float),
    Column("rechecks", Integer, nullable=False),
    Column("observed", Integer, nullable=False),  # 1: it has settled once and stands in the histograms
    Column("owned", Integer, nullable=False),  # events that this session owns
    Column("latest_at", Float),  # the latest readable time of its events
    Column("crossed", Text, nullable=False, server_default=""),  # thresholds it went over, joined by commas
    Column("failing", Text, nullable=False),  # checks that its last tree fails, joined by commas
    Column("polls", Text, nullable=False),  # its last polls as JSON: [at, outcome, reason]
    Column("hint", Text, nullable=False, server_default=""),  # the furthest that a source has said of it
    Column("hinted_due", Float),  # due then at the latest, by words that came since it was claimed
    Column("summary", Text),  # JSON: what the per-session gauges show
    Column("fingerprint", LargeBinary(16)),  # of the last answer; none if booking it again may change something
    UniqueConstraint("account", "record_type", "event_id"),
    Index("sessions_due", "account", "due_at"),
    Index("sessions_prunable", "latest_at"),
    Index("sessions_failing", "failing", sqlite_where=text("failing <> ''"), postgresql_where=text("failing <> ''")),
    Index("sessions_claimed", "claim", sqlite_where=text("claim <> 0"), postgresql_where=text("claim <> 0")),
    Index(
        "sessions_configured",
        "configured",
        sqlite_where=text("configured = 1"),
        postgresql_where=text("configured = 1"),
    ),
    Index("sessions_given_up", "due_at", sqlite_where=text(GIVEN_UP), postgresql_where=text(GIVEN_UP)),
    Index(
        "sessions_treeless",
        "followed_at",
        sqlite_where=text("summary IS NULL"),
        postgresql_where=text("summary IS NULL"),
    ),
    Index("sessions_live", "account", "record_type", sqlite_where=text(LIVE), postgresql_where=text(LIVE)),
)

events = Table(
    "events",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("owner", Integer, nullable=False, index=True),
    Column("claim", Integer, nullable=False),  # of the poll that last changed it
    Column("labels", Integer, nullable=False),
    Column("cost_labels", Integer),
    Column("cost", Money),
    Column("currency", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("billed_seconds", Money, nullable=False),
    Column("at", Float),
    Column("flags", Integer, nullable=False),
    sqlite_with_rowid=False,
)

label_sets = Table(
    "label_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("labels", Text, nullable=False, unique=True),  # JSON: [[name, value], ...]
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("family", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON: [[name, value], ...]
    Column("bounds", Text),
    Column("released", Integer, nullable=False),
    UniqueConstraint("family", "labels"),
)
"""What totals are of, and whether it may be shown; never changes but for that."""

totals = Table(
    "totals",
    metadata,
    Column("writer", Integer, primary_key=True, autoincrement=False),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("value", Money, nullable=False),
    Column("counts", Text),
    Column("exemplars", Text),
    sqlite_with_rowid=False,
)
"""What each writer adds to a series: no two processes change one row. A series without any is 0."""

spend = Table(
    "spend",
    metadata,
    Column("quarter", Integer, primary_key=True),  # the event's own time, in quarters of an hour since the epoch
    Column("labels", Integer, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("writer", Integer, primary_key=True),
    Column("amount", Money, nullable=False),
    sqlite_with_rowid=False,
)
"""Net money by when it was spent rather than when it was booked: time zones are whole quarters of an hour apart."""

substitutes = Table(
    "fallbacks",
    metadata,
    Column("session", Integer, primary_key=True),
    Column("record_type", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""What is followed instead of a session that the API doesn't know; gone once it is, or the session has a tree."""

records = Table(
    "records",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("account", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("cost", Money),
    Index("records_forgettable", "account", "at"),
    sqlite_with_rowid=False,
)
"""Detail records that discovery has seen, for as long as it may see them again: each is counted once."""

trees = Table(
    "trees",
    metadata,
    Column("session", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),  # the last tree without records, compressed JSON
)

amendments = Table(
    "amendments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session", Integer, nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("record_type", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("before", Money),
    Column("after", Money),
    Column("currency", Text, nullable=False),
)

facets = Table(
    "facets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("record_type", Text, nullable=False),
    Column("state", Text, nullable=False),
    UniqueConstraint("account", "record_type", "state"),
)
"""What sessions are filtered by; few rows, so a list is merged from one ordered range per facet."""

listed = Table(
    "listed",
    metadata,
    Column("session", Integer, primary_key=True, autoincrement=False),
    Column("facet", Integer, nullable=False),
    Column("changed_at", Float, nullable=False),  # or when it was followed, as long as nothing has changed
    Column("events", Integer, nullable=False),
    Column("costless", Integer, nullable=False),  # 1: it has no row in listed_costs
    Index("listed_changed", "facet", "changed_at"),
    Index("listed_events", "facet", "events"),
    Index("listed_costless", "facet", sqlite_where=text("costless = 1"), postgresql_where=text("costless = 1")),
)

listed_costs = Table(
    "listed_costs",
    metadata,
    Column("session", Integer, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("facet", Integer, nullable=False),
    Column("amount", Money, nullable=False),
    Column("rank", LargeBinary(12), nullable=False),  # sorts as the amount does
    Index("listed_dear", "facet", "currency", "rank", "session"),
    sqlite_with_rowid=False,
)

roots = Table(
    "roots",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("session", Integer, primary_key=True, index=True),
    sqlite_with_rowid=False,
)
"""Sessions by the id of their root event, where it isn't the one they are asked for by; exemplars name the root."""

failures = Table(
    "failures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session", Integer, nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False, index=True),
    Column("detail", Text, nullable=False),  # what the error said
)
"""The last failed polls of all sessions, bounded per reason."""


TURNS = ("budgets", "folding")
"""What is done by one process at a time; `leases` has a row of each that can be locked."""

_FILLED = {
    "sessions": 75,
    "totals": 50,
    "spend": 75,
    "events": 90,
    "trees": 90,
    "listed": 80,
    "listed_costs": 90,
    "failures": 100,
    "writers": 50,
    "leases": 50,
    "meta": 50,
}
"""Tables whose rows change, and how full their pages are at first: what changes often finds room beside itself."""

_SHARED = (
    "CREATE SEQUENCE claims",
    "ALTER TABLE sessions ADD COLUMN leased_until TIMESTAMPTZ",
    # Of many that are due at once, the first are found without sorting all.
    "DROP INDEX sessions_due",
    "CREATE INDEX sessions_due ON sessions (account, due_at, id)",
    "DROP INDEX sessions_claimed",  # it would make each claim write to all indexes
    "ALTER TABLE totals ADD COLUMN changed XID8 DEFAULT pg_current_xact_id() NOT NULL",
    "ALTER TABLE series ADD COLUMN changed XID8 DEFAULT pg_current_xact_id() NOT NULL",
    "CREATE TABLE writers (id BIGSERIAL PRIMARY KEY, seen TIMESTAMPTZ DEFAULT clock_timestamp() NOT NULL)",
    'CREATE TABLE leases (name TEXT COLLATE "C" PRIMARY KEY, holder BIGINT NOT NULL, until TIMESTAMPTZ NOT NULL)',
    *(f"INSERT INTO leases VALUES ('{name}', 0, '-infinity')" for name in TURNS),  # noqa: S608 - names of this module
    # What they leave is swept up early: the tables are large, so a usual share of their rows is many.
    *(
        f"ALTER TABLE {table} SET (fillfactor = {full}, autovacuum_vacuum_scale_factor = 0.02,"
        f" autovacuum_analyze_scale_factor = 0.02)"
        for table, full in _FILLED.items()
    ),
)
"""What several writers need: who writes, who holds what, when a claim ends, which transaction changed a total."""


def sqlite_script() -> str:
    """The statements that make an empty ledger of SQLite, each ended by a semicolon and an empty line."""
    return _script(sqlite.dialect(), ())


def postgresql_script() -> str:
    """The same of PostgreSQL."""
    return _script(postgresql.dialect(), _SHARED)  # type: ignore[no-untyped-call]


def _script(dialect: Dialect, further: Iterable[str]) -> str:
    statements: list[DDLElement] = []
    for table in metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [CreateTable(table), *map(CreateIndex, indexes)]
    written = [str(each.compile(dialect=dialect)).strip() for each in statements]
    return "".join(f"{statement};\n\n" for statement in (*written, *further))
