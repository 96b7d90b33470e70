-- The tables of a ledger, for both engines.
--
-- These type words become each engine's own (schema/creation.py):
--   SERIAL   a row id that the database counts up
--   INTEGER  64 bits
--   FLOAT    a time is seconds since the epoch
--   MONEY    an exact amount, never a float: canonical decimal text in SQLite, which must never sum it up
--   TEXT     compared by its bytes, whatever language the server speaks: ranges of ids are ranges of bytes
--   BYTES
-- A table WITHOUT ROWID is stored in the order of its primary key by SQLite; PostgreSQL has no such thing.

-- Keys: schema_version, ledger_id, claims (number of the last claim, in a file only), retention_watermark, backfill,
-- metadata (of the API), copying (in an unfinished copy).
CREATE TABLE meta (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key)
);

-- This table is also the queue: the index sessions_due finds the sessions that are due.
CREATE TABLE sessions (
    id SERIAL,
    account TEXT NOT NULL,
    record_type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    date_time TEXT,
    source TEXT NOT NULL,
    configured INTEGER NOT NULL,
    due_at FLOAT,
    claim INTEGER NOT NULL,
    state TEXT NOT NULL,
    interval FLOAT NOT NULL,
    discovered_at FLOAT NOT NULL,
    first_tree_at FLOAT,
    changed_at FLOAT,
    closed_at FLOAT,  -- since when it is settled, missing or denied
    rechecks INTEGER NOT NULL,
    observed INTEGER NOT NULL,  -- 1: it has settled once and is counted in the histograms; 2: it was counted and pruned before
    owned INTEGER NOT NULL,  -- how many events this session owns
    latest_at FLOAT,  -- the latest known time of its events
    crossed TEXT DEFAULT '' NOT NULL,  -- thresholds that it exceeded, joined by commas
    failing TEXT NOT NULL,  -- checks that its last tree fails, joined by commas
    polls TEXT NOT NULL,  -- its last polls as JSON: [[at, outcome, reason], ...]
    notice TEXT DEFAULT '' NOT NULL,  -- the furthest kind of notice that a source has sent
    notice_due FLOAT,  -- due at the latest then, by notices that came while it was claimed
    summary TEXT,  -- JSON for the gauges of single sessions; NULL until the first tree
    fingerprint BYTES,  -- of the last answer; NULL if booking the same answer again may change something
    date_time_accepted INTEGER,  -- 1: the API found the session with date_time, 0: it did not; NULL: not known
    plan TEXT DEFAULT '' NOT NULL,  -- times of the rechecks that are left
    stated_cost TEXT,  -- total that a webhook stated ('0.0942 USD'), until a tree has confirmed it
    PRIMARY KEY (id),
    UNIQUE (account, record_type, event_id)
);
CREATE INDEX sessions_prunable ON sessions (latest_at);
-- A query uses a partial index only if it repeats the condition word for word: schema/version.py has them.
CREATE INDEX sessions_failing ON sessions (failing) WHERE failing <> '';
CREATE INDEX sessions_configured ON sessions (configured) WHERE configured = 1;
CREATE INDEX sessions_given_up ON sessions (due_at) WHERE state IN ('missing', 'denied');
CREATE INDEX sessions_treeless ON sessions (discovered_at) WHERE summary IS NULL;
CREATE INDEX sessions_live ON sessions (account, record_type) WHERE state IN ('discovered', 'active');

-- Every event that was ever booked, until retention forgets it: the truth that all totals are the sum of.
CREATE TABLE events (
    key BYTES NOT NULL,  -- hash of (account, product, event name, id)
    owner INTEGER NOT NULL,  -- id of the session that the event is booked under
    claim INTEGER NOT NULL,  -- number of the claim whose poll changed it last
    labels INTEGER NOT NULL,  -- label_sets.id of its counters
    cost_labels INTEGER,  -- label_sets.id of its cost; NULL while unpriced
    cost MONEY,
    currency TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    billed_seconds MONEY NOT NULL,
    at FLOAT,
    flags INTEGER NOT NULL,  -- bits: schema/rows.py
    cached_input_tokens INTEGER DEFAULT 0 NOT NULL,  -- part of input_tokens
    characters INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (key)
) WITHOUT ROWID;
CREATE INDEX ix_events_owner ON events (owner);

-- Events that were pruned, so that none of them is booked again: see accounting/pruned_events.py. Ordinary rows, since a row of a
-- table WITHOUT ROWID of this size would need pages of its own.
CREATE TABLE pruned_events (
    first BYTES NOT NULL,  -- no entry of the row is smaller, and those of the next row aren't smaller than its own
    entries BYTES NOT NULL,  -- sorted: the front of an event's key, and the day of its session
    PRIMARY KEY (first)
);

CREATE TABLE label_sets (
    id SERIAL,
    labels TEXT NOT NULL,  -- JSON: [[name, value], ...]
    PRIMARY KEY (id),
    UNIQUE (labels)
);

-- The series of /metrics: what totals are of, and whether their value may be shown. Nothing else of a row ever changes.
CREATE TABLE series (
    id SERIAL,
    family TEXT NOT NULL,
    labels TEXT NOT NULL,  -- JSON: [[name, value], ...]
    bounds TEXT,  -- JSON: upper bounds of a histogram's buckets
    exposed INTEGER NOT NULL,  -- 0: shown as 0 until a scrape has seen it
    PRIMARY KEY (id),
    UNIQUE (family, labels)
);

-- Each writer's part of a series: no two processes change one row. A series without any row is 0.
CREATE TABLE totals (
    writer INTEGER NOT NULL,
    series INTEGER NOT NULL,
    value MONEY NOT NULL,
    counts TEXT,
    exemplars TEXT,
    PRIMARY KEY (writer, series)
) WITHOUT ROWID;

-- Net cost by the time of the events, not of the booking. Time zones are whole quarters of an hour apart.
CREATE TABLE spend (
    quarter INTEGER NOT NULL,  -- quarters of an hour since the epoch
    labels INTEGER NOT NULL,
    currency TEXT NOT NULL,
    writer INTEGER NOT NULL,
    amount MONEY NOT NULL,
    PRIMARY KEY (quarter, labels, currency, writer)
) WITHOUT ROWID;

-- Sessions to follow instead of one that the API doesn't know. A row is deleted when its session is followed, or when the
-- other one has a tree.
CREATE TABLE substitutes (
    session INTEGER NOT NULL,
    record_type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (session, record_type, event_id)
) WITHOUT ROWID;

-- Detail records that discovery has seen, for as long as it may see them again: each is counted once.
CREATE TABLE records (
    key BYTES NOT NULL,
    account TEXT NOT NULL,
    at FLOAT NOT NULL,
    cost MONEY,
    record_type TEXT DEFAULT '' NOT NULL,  -- '': listed by an exporter that didn't store it
    PRIMARY KEY (key)
) WITHOUT ROWID;
CREATE INDEX records_forgettable ON records (account, at);

-- Detail records that name no session: their events are expected in the trees of sessions. A row is deleted when its
-- event is booked, or when it is followed by itself.
CREATE TABLE awaited_records (
    account TEXT NOT NULL,
    record_type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    date_time TEXT,
    due_at FLOAT NOT NULL,  -- followed by itself then
    PRIMARY KEY (account, record_type, event_id)
) WITHOUT ROWID;
CREATE INDEX awaited_records_due ON awaited_records (account, due_at);

-- The names under which events of a record type were booked: an event's key is made with them.
CREATE TABLE event_names (
    record_type TEXT NOT NULL,
    product TEXT NOT NULL,
    event_name TEXT NOT NULL,
    PRIMARY KEY (record_type, product, event_name)
) WITHOUT ROWID;

-- The last tree of each session, without its records: compressed JSON.
CREATE TABLE trees (
    session INTEGER NOT NULL,
    body BYTES NOT NULL,
    PRIMARY KEY (session)
);

-- Changes of an event's cost after its first price.
CREATE TABLE amendments (
    id SERIAL,
    session INTEGER NOT NULL,
    at FLOAT NOT NULL,
    record_type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    before MONEY,
    after MONEY,
    currency TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_amendments_session ON amendments (session);

-- The last failed polls of all sessions, bounded per reason.
CREATE TABLE failures (
    id SERIAL,
    session INTEGER NOT NULL,
    at FLOAT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,  -- text of the error
    PRIMARY KEY (id)
);
CREATE INDEX ix_failures_session ON failures (session);
CREATE INDEX ix_failures_reason ON failures (reason);

-- The combinations that the pages filter sessions by. There are few, so a list is merged from one ordered range of each.
CREATE TABLE session_groups (
    id SERIAL,
    account TEXT NOT NULL,
    record_type TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (account, record_type, state)
);

-- The lists of the pages: a table of its own, so that a poll that changed nothing doesn't write to these indexes.
CREATE TABLE session_index (
    session INTEGER NOT NULL,
    session_group INTEGER NOT NULL,
    changed_at FLOAT NOT NULL,  -- the time of discovery as long as nothing has changed
    events INTEGER NOT NULL,
    costless INTEGER NOT NULL,  -- 1: it has no row in session_index_costs
    PRIMARY KEY (session)
);
CREATE INDEX session_index_changed ON session_index (session_group, changed_at);
CREATE INDEX session_index_events ON session_index (session_group, events);
CREATE INDEX session_index_costless ON session_index (session_group) WHERE costless = 1;

CREATE TABLE session_index_costs (
    session INTEGER NOT NULL,
    currency TEXT NOT NULL,
    session_group INTEGER NOT NULL,
    amount MONEY NOT NULL,
    rank BYTES NOT NULL,  -- 12 bytes that sort as the amounts do
    PRIMARY KEY (session, currency)
) WITHOUT ROWID;
CREATE INDEX session_index_costs_ranked ON session_index_costs (session_group, currency, rank, session);

-- Root event ids that differ from the id that the session is polled by: exemplars have the root's.
CREATE TABLE root_ids (
    event_id TEXT NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (event_id, session)
) WITHOUT ROWID;
CREATE INDEX ix_root_ids_session ON root_ids (session);
