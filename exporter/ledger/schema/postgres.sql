-- Written by `make docs` from exporter/ledger/schema/tables.py.

CREATE TABLE amendments (
	id BIGSERIAL NOT NULL, 
	session BIGINT NOT NULL, 
	at FLOAT NOT NULL, 
	record_type TEXT COLLATE "C" NOT NULL, 
	event_id TEXT COLLATE "C" NOT NULL, 
	before NUMERIC, 
	after NUMERIC, 
	currency TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (id)
);

CREATE INDEX ix_amendments_session ON amendments (session);

CREATE TABLE events (
	key BYTEA NOT NULL, 
	owner BIGINT NOT NULL, 
	claim BIGINT NOT NULL, 
	labels BIGINT NOT NULL, 
	cost_labels BIGINT, 
	cost NUMERIC, 
	currency TEXT COLLATE "C" NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	billed_seconds NUMERIC NOT NULL, 
	at FLOAT, 
	flags BIGINT NOT NULL, 
	PRIMARY KEY (key)
);

CREATE INDEX ix_events_owner ON events (owner);

CREATE TABLE facets (
	id BIGSERIAL NOT NULL, 
	account TEXT COLLATE "C" NOT NULL, 
	record_type TEXT COLLATE "C" NOT NULL, 
	state TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (account, record_type, state)
);

CREATE TABLE failures (
	id BIGSERIAL NOT NULL, 
	session BIGINT NOT NULL, 
	at FLOAT NOT NULL, 
	outcome TEXT COLLATE "C" NOT NULL, 
	reason TEXT COLLATE "C" NOT NULL, 
	detail TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (id)
);

CREATE INDEX ix_failures_reason ON failures (reason);

CREATE INDEX ix_failures_session ON failures (session);

CREATE TABLE fallbacks (
	session BIGINT NOT NULL, 
	record_type TEXT COLLATE "C" NOT NULL, 
	event_id TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (session, record_type, event_id)
);

CREATE TABLE label_sets (
	id BIGSERIAL NOT NULL, 
	labels TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (labels)
);

CREATE TABLE listed (
	session BIGINT NOT NULL, 
	facet BIGINT NOT NULL, 
	changed_at FLOAT NOT NULL, 
	events BIGINT NOT NULL, 
	costless BIGINT NOT NULL, 
	PRIMARY KEY (session)
);

CREATE INDEX listed_changed ON listed (facet, changed_at);

CREATE INDEX listed_costless ON listed (facet) WHERE costless = 1;

CREATE INDEX listed_events ON listed (facet, events);

CREATE TABLE listed_costs (
	session BIGINT NOT NULL, 
	currency TEXT COLLATE "C" NOT NULL, 
	facet BIGINT NOT NULL, 
	amount NUMERIC NOT NULL, 
	rank BYTEA NOT NULL, 
	PRIMARY KEY (session, currency)
);

CREATE INDEX listed_dear ON listed_costs (facet, currency, rank, session);

CREATE TABLE meta (
	key TEXT COLLATE "C" NOT NULL, 
	value TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (key)
);

CREATE TABLE records (
	key BYTEA NOT NULL, 
	account TEXT COLLATE "C" NOT NULL, 
	at FLOAT NOT NULL, 
	cost NUMERIC, 
	PRIMARY KEY (key)
);

CREATE INDEX records_forgettable ON records (account, at);

CREATE TABLE roots (
	event_id TEXT COLLATE "C" NOT NULL, 
	session BIGINT NOT NULL, 
	PRIMARY KEY (event_id, session)
);

CREATE INDEX ix_roots_session ON roots (session);

CREATE TABLE series (
	id BIGSERIAL NOT NULL, 
	family TEXT COLLATE "C" NOT NULL, 
	labels TEXT COLLATE "C" NOT NULL, 
	bounds TEXT COLLATE "C", 
	released BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (family, labels)
);

CREATE TABLE sessions (
	id BIGSERIAL NOT NULL, 
	account TEXT COLLATE "C" NOT NULL, 
	record_type TEXT COLLATE "C" NOT NULL, 
	event_id TEXT COLLATE "C" NOT NULL, 
	date_time TEXT COLLATE "C", 
	source TEXT COLLATE "C" NOT NULL, 
	configured BIGINT NOT NULL, 
	due_at FLOAT, 
	claim BIGINT NOT NULL, 
	state TEXT COLLATE "C" NOT NULL, 
	interval FLOAT NOT NULL, 
	followed_at FLOAT NOT NULL, 
	first_tree_at FLOAT, 
	changed_at FLOAT, 
	rested_at FLOAT, 
	rechecks BIGINT NOT NULL, 
	observed BIGINT NOT NULL, 
	owned BIGINT NOT NULL, 
	latest_at FLOAT, 
	crossed TEXT COLLATE "C" DEFAULT '' NOT NULL, 
	failing TEXT COLLATE "C" NOT NULL, 
	polls TEXT COLLATE "C" NOT NULL, 
	hint TEXT COLLATE "C" DEFAULT '' NOT NULL, 
	hinted_due FLOAT, 
	summary TEXT COLLATE "C", 
	fingerprint BYTEA, 
	PRIMARY KEY (id), 
	UNIQUE (account, record_type, event_id)
);

CREATE INDEX sessions_claimed ON sessions (claim) WHERE claim <> 0;

CREATE INDEX sessions_configured ON sessions (configured) WHERE configured = 1;

CREATE INDEX sessions_due ON sessions (account, due_at);

CREATE INDEX sessions_failing ON sessions (failing) WHERE failing <> '';

CREATE INDEX sessions_given_up ON sessions (due_at) WHERE state IN ('missing', 'denied');

CREATE INDEX sessions_live ON sessions (account, record_type) WHERE state IN ('discovered', 'active');

CREATE INDEX sessions_prunable ON sessions (latest_at);

CREATE INDEX sessions_treeless ON sessions (followed_at) WHERE summary IS NULL;

CREATE TABLE spend (
	quarter BIGINT NOT NULL, 
	labels BIGINT NOT NULL, 
	currency TEXT COLLATE "C" NOT NULL, 
	writer BIGINT NOT NULL, 
	amount NUMERIC NOT NULL, 
	PRIMARY KEY (quarter, labels, currency, writer)
);

CREATE TABLE totals (
	writer BIGINT NOT NULL, 
	series BIGINT NOT NULL, 
	value NUMERIC NOT NULL, 
	counts TEXT COLLATE "C", 
	exemplars TEXT COLLATE "C", 
	PRIMARY KEY (writer, series)
);

CREATE TABLE trees (
	session BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (session)
);

CREATE SEQUENCE claims;

ALTER TABLE sessions ADD COLUMN leased_until TIMESTAMPTZ;

DROP INDEX sessions_due;

CREATE INDEX sessions_due ON sessions (account, due_at, id);

DROP INDEX sessions_claimed;

ALTER TABLE totals ADD COLUMN changed XID8 DEFAULT pg_current_xact_id() NOT NULL;

ALTER TABLE series ADD COLUMN changed XID8 DEFAULT pg_current_xact_id() NOT NULL;

CREATE TABLE writers (id BIGSERIAL PRIMARY KEY, seen TIMESTAMPTZ DEFAULT clock_timestamp() NOT NULL);

CREATE TABLE leases (name TEXT COLLATE "C" PRIMARY KEY, holder BIGINT NOT NULL, until TIMESTAMPTZ NOT NULL);

INSERT INTO leases VALUES ('budgets', 0, '-infinity');

INSERT INTO leases VALUES ('folding', 0, '-infinity');

ALTER TABLE sessions SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE totals SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE spend SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE events SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE trees SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE listed SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE listed_costs SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE failures SET (fillfactor = 100, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE writers SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE leases SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

ALTER TABLE meta SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

