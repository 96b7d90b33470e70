"""Upgrades an older ledger to this version's schema, one step per version.

The caller runs all steps in one transaction, so a ledger never is between two versions. A released step is never
edited: ledgers have been through it. So a step has the names of its time, and only tables.sql those of now.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal

from exporter.core.money import ZERO, add, amount_text
from exporter.ledger.database import Connection
from exporter.ledger.schema.ranks import rank
from exporter.ledger.schema.version import SCHEMA_VERSION

QUARTER_SECONDS = 900


def migrate(connection: Connection, version: int) -> None:
    """Upgrade the ledger from `version` to this one, within the caller's transaction."""
    for step in range(version, SCHEMA_VERSION):
        STEPS[step](connection)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))


def _from_1(connection: Connection) -> None:
    """Add what retention, thresholds and budgets need: when money was spent, and how old a session is."""
    connection.execute("ALTER TABLE sessions ADD COLUMN latest_at FLOAT")
    connection.execute("ALTER TABLE sessions ADD COLUMN crossed TEXT DEFAULT '' NOT NULL")
    connection.execute("CREATE INDEX sessions_prunable ON sessions (latest_at)")
    connection.execute("UPDATE sessions SET latest_at = (SELECT max(at) FROM events WHERE owner = sessions.id)")
    connection.execute(
        "CREATE TABLE spend (quarter INTEGER NOT NULL, labels INTEGER NOT NULL, currency TEXT NOT NULL,"
        " amount TEXT NOT NULL, PRIMARY KEY (quarter, labels, currency)) WITHOUT ROWID"
    )
    spent: dict[tuple[int, int, str], Decimal] = defaultdict(lambda: ZERO)
    priced = connection.execute(
        "SELECT cost_labels, at, currency, cost FROM events WHERE cost IS NOT NULL AND at IS NOT NULL"
    )
    for labels, at, currency, cost in priced:
        key = (int(at // QUARTER_SECONDS), labels, currency)
        spent[key] = add(spent[key], Decimal(cost))
    rows = [(*key, amount_text(amount)) for key, amount in spent.items()]
    connection.executemany("INSERT INTO spend VALUES (?, ?, ?, ?)", rows)


def _from_2(connection: Connection) -> None:
    """Add the index of live sessions, for overlapping ones; and the notices, substitutes and records of discovery."""
    connection.execute(
        "CREATE INDEX sessions_live ON sessions (account, record_type) WHERE state IN ('discovered', 'active')"
    )
    connection.execute("ALTER TABLE sessions ADD COLUMN hint TEXT DEFAULT '' NOT NULL")
    connection.execute("ALTER TABLE sessions ADD COLUMN hinted_due FLOAT")
    connection.execute(
        "CREATE TABLE fallbacks (session INTEGER NOT NULL, record_type TEXT NOT NULL, event_id TEXT NOT NULL,"
        " PRIMARY KEY (session, record_type, event_id)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE records (key BLOB NOT NULL, account TEXT NOT NULL, at FLOAT NOT NULL, cost TEXT,"
        " PRIMARY KEY (key)) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX records_forgettable ON records (account, at)")


def _from_3(connection: Connection) -> None:
    """Add the session index and the failed polls, for the pages."""
    for statement in _LISTS:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO facets (account, record_type, state) SELECT DISTINCT account, record_type, state FROM sessions"
    )
    found = connection.execute(
        "SELECT sessions.id, facets.id, coalesce(changed_at, followed_at), summary"
        " FROM sessions JOIN facets USING (account, record_type, state)"
    )
    while rows := found.fetchmany(10_000):
        listed: list[tuple[object, ...]] = []
        costs: list[tuple[object, ...]] = []
        for session, facet, changed_at, summary in rows:
            known = json.loads(summary or '{"events": 0, "costs": []}')
            amounts: dict[str, Decimal] = defaultdict(lambda: ZERO)
            for _, currency, amount in known["costs"]:
                amounts[currency] = add(amounts[currency], Decimal(amount))
            listed.append((session, facet, changed_at, known["events"], not amounts))
            costs += [(session, currency, facet, amount_text(cost), rank(cost)) for currency, cost in amounts.items()]
        connection.executemany("INSERT INTO listed VALUES (?, ?, ?, ?, ?)", listed)
        connection.executemany("INSERT INTO listed_costs VALUES (?, ?, ?, ?, ?)", costs)
    for statement in _LIST_INDEXES:
        connection.execute(statement)


def _from_4(connection: Connection) -> None:
    """Let several writers have totals and spend of their own; series become a table.

    Also fingerprints of answers, and the indexes without which regular tasks would read all sessions.
    """
    for statement in (*_WRITERS, *_FEW):
        connection.execute(statement)


def _from_5(connection: Connection) -> None:
    """Rename tables and columns as the documentation names them. The first step for PostgreSQL too."""
    # Renames only touch the catalogue, so the step takes no longer in a large ledger; the index rebuilds of SQLite do.
    for table, old, new in _RENAMED_COLUMNS:
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for old, new in _RENAMED_TABLES.items():
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    for old, (new, columns) in _RENAMED_INDEXES.items():
        if connection.shared:
            connection.execute(f"ALTER INDEX {old} RENAME TO {new}")
        else:  # SQLite can't rename an index
            connection.execute(f"DROP INDEX {old}")
            connection.execute(f"CREATE INDEX {new} ON {columns}")
    if connection.shared:
        for old, new in _RENAMED_BY_POSTGRESQL.items():
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")  # also renames indexes and sequences
    connection.execute("UPDATE sessions SET notice = 'started' WHERE notice = 'begun'")
    connection.execute("UPDATE meta SET key = 'retention_watermark' WHERE key = 'horizon'")
    connection.execute("UPDATE meta SET key = 'backfill' WHERE key = 'look_back'")
    if connection.shared:
        connection.execute("UPDATE leases SET name = 'backfill' WHERE name = 'look_back'")


def _from_6(connection: Connection) -> None:
    """Add usage, totals stated by webhooks, and records that name no session."""
    for statement in _AWAITED:
        connection.execute(_translated(statement, connection))


def _from_7(connection: Connection) -> None:
    """Add plans of rechecks, which dates the API has accepted, and the memory of pruned events."""
    for statement in _MEMORY:
        connection.execute(_translated(statement, connection))
    if connection.shared:
        connection.execute("INSERT INTO leases VALUES ('pruned_events', 0, '-infinity')")
        scale = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
        connection.execute(f"ALTER TABLE pruned_events SET (fillfactor = 90, {scale})")


def _translated(statement: str, connection: Connection) -> str:
    """Return a statement in the engine's own types, which PostgreSQL compares by bytes, too."""
    if not connection.shared:
        return statement
    words = (
        ("INTEGER", "BIGINT"),
        ("FLOAT", "DOUBLE PRECISION"),
        ("TEXT", 'TEXT COLLATE "C"'),
        ("BLOB", "BYTEA"),
        ("WITHOUT ROWID", ""),
    )
    for word, own in words:
        statement = statement.replace(word, own)
    return statement


_LISTS = (
    """CREATE TABLE facets (
        id INTEGER NOT NULL, account TEXT NOT NULL, record_type TEXT NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (id), UNIQUE (account, record_type, state)
    )""",
    """CREATE TABLE listed (
        session INTEGER NOT NULL, facet INTEGER NOT NULL, changed_at FLOAT NOT NULL, events INTEGER NOT NULL,
        costless INTEGER NOT NULL, PRIMARY KEY (session)
    )""",
    """CREATE TABLE listed_costs (
        session INTEGER NOT NULL, currency TEXT NOT NULL, facet INTEGER NOT NULL, amount TEXT NOT NULL,
        rank BLOB NOT NULL, PRIMARY KEY (session, currency)
    ) WITHOUT ROWID""",
    """CREATE TABLE roots (
        event_id TEXT NOT NULL, session INTEGER NOT NULL, PRIMARY KEY (event_id, session)
    ) WITHOUT ROWID""",
    """CREATE TABLE failures (
        id INTEGER NOT NULL, session INTEGER NOT NULL, at FLOAT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL, PRIMARY KEY (id)
    )""",
)
_LIST_INDEXES = (
    "CREATE INDEX sessions_failing ON sessions (failing) WHERE failing <> ''",
    "CREATE INDEX listed_changed ON listed (facet, changed_at)",
    "CREATE INDEX listed_events ON listed (facet, events)",
    "CREATE INDEX listed_costless ON listed (facet) WHERE costless = 1",
    "CREATE INDEX listed_dear ON listed_costs (facet, currency, rank, session)",
    "CREATE INDEX ix_roots_session ON roots (session)",
    "CREATE INDEX ix_failures_session ON failures (session)",
    "CREATE INDEX ix_failures_reason ON failures (reason)",
)
_FEW = (
    "ALTER TABLE sessions ADD COLUMN fingerprint BLOB",
    "CREATE INDEX sessions_claimed ON sessions (claim) WHERE claim <> 0",
    "CREATE INDEX sessions_configured ON sessions (configured) WHERE configured = 1",
    "CREATE INDEX sessions_given_up ON sessions (due_at) WHERE state IN ('missing', 'denied')",
    "CREATE INDEX sessions_treeless ON sessions (followed_at) WHERE summary IS NULL",
)
_WRITERS = (
    """CREATE TABLE series (
        id INTEGER NOT NULL, family TEXT NOT NULL, labels TEXT NOT NULL, bounds TEXT, released INTEGER NOT NULL,
        PRIMARY KEY (id), UNIQUE (family, labels)
    )""",
    "INSERT INTO series SELECT id, family, labels, bounds, released FROM totals",
    "ALTER TABLE totals RENAME TO old_totals",
    """CREATE TABLE totals (
        writer INTEGER NOT NULL, series INTEGER NOT NULL, value TEXT NOT NULL, counts TEXT, exemplars TEXT,
        PRIMARY KEY (writer, series)
    ) WITHOUT ROWID""",
    "INSERT INTO totals SELECT 0, id, value, counts, exemplars FROM old_totals",
    "DROP TABLE old_totals",
    "ALTER TABLE spend RENAME TO old_spend",
    """CREATE TABLE spend (
        quarter INTEGER NOT NULL, labels INTEGER NOT NULL, currency TEXT NOT NULL, writer INTEGER NOT NULL,
        amount TEXT NOT NULL, PRIMARY KEY (quarter, labels, currency, writer)
    ) WITHOUT ROWID""",
    "INSERT INTO spend SELECT quarter, labels, currency, 0, amount FROM old_spend",
    "DROP TABLE old_spend",
)


_AWAITED = (
    "ALTER TABLE sessions ADD COLUMN stated_cost TEXT",
    "ALTER TABLE events ADD COLUMN cached_input_tokens INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE events ADD COLUMN characters INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE records ADD COLUMN record_type TEXT DEFAULT '' NOT NULL",
    """CREATE TABLE awaited_records (
        account TEXT NOT NULL, record_type TEXT NOT NULL, event_id TEXT NOT NULL, date_time TEXT,
        due_at FLOAT NOT NULL, PRIMARY KEY (account, record_type, event_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX awaited_records_due ON awaited_records (account, due_at)",
    """CREATE TABLE event_names (
        record_type TEXT NOT NULL, product TEXT NOT NULL, event_name TEXT NOT NULL,
        PRIMARY KEY (record_type, product, event_name)
    ) WITHOUT ROWID""",
)
_MEMORY = (
    "ALTER TABLE sessions ADD COLUMN date_time_accepted INTEGER",
    "ALTER TABLE sessions ADD COLUMN plan TEXT DEFAULT '' NOT NULL",
    # The default times, of which `rechecks` were used up; a session without a due time has none left.
    """UPDATE sessions SET plan = trim(
        CASE WHEN rechecks < 1 THEN (closed_at + 86400) || ' ' ELSE '' END
        || CASE WHEN rechecks < 2 THEN (closed_at + 604800) || ' ' ELSE '' END
        || CASE WHEN rechecks < 3 THEN (closed_at + 3024000) || '' ELSE '' END
    ) WHERE closed_at IS NOT NULL AND due_at IS NOT NULL""",
    "ALTER TABLE sessions DROP COLUMN rechecks",
    "CREATE TABLE pruned_events (first BLOB NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (first))",
)

_RENAMED_COLUMNS = (
    ("sessions", "hint", "notice"),
    ("sessions", "hinted_due", "notice_due"),
    ("sessions", "followed_at", "discovered_at"),
    ("sessions", "rested_at", "closed_at"),
    ("series", "released", "exposed"),
    ("listed", "facet", "session_group"),
    ("listed_costs", "facet", "session_group"),
)
_RENAMED_TABLES = {
    "facets": "session_groups",
    "listed": "session_index",
    "listed_costs": "session_index_costs",
    "roots": "root_ids",
    "fallbacks": "substitutes",
}
_RENAMED_INDEXES = {
    "listed_changed": ("session_index_changed", "session_index (session_group, changed_at)"),
    "listed_events": ("session_index_events", "session_index (session_group, events)"),
    "listed_costless": ("session_index_costless", "session_index (session_group) WHERE costless = 1"),
    "listed_dear": ("session_index_costs_ranked", "session_index_costs (session_group, currency, rank, session)"),
    "ix_roots_session": ("ix_root_ids_session", "root_ids (session)"),
}
_RENAMED_BY_POSTGRESQL = {
    "facets_pkey": "session_groups_pkey",
    "facets_account_record_type_state_key": "session_groups_account_record_type_state_key",
    "facets_id_seq": "session_groups_id_seq",
    "listed_pkey": "session_index_pkey",
    "listed_costs_pkey": "session_index_costs_pkey",
    "roots_pkey": "root_ids_pkey",
    "fallbacks_pkey": "substitutes_pkey",
}
"""Names that the server itself made from those of the tables."""

STEPS: Mapping[int, Callable[[Connection], None]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
    5: _from_5,
    6: _from_6,
    7: _from_7,
}
OLDEST_SHARED = 5
"""PostgreSQL had ledgers from this version on: this step and later ones must run there too."""
