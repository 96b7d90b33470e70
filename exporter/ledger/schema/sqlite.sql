-- Written by `make docs` from exporter/ledger/schema/tables.py.

CREATE TABLE amendments (
	id INTEGER NOT NULL, 
	session INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	record_type TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	"before" TEXT, 
	"after" TEXT, 
	currency TEXT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE INDEX ix_amendments_session ON amendments (session);

CREATE TABLE events (
	"key" BLOB NOT NULL, 
	owner INTEGER NOT NULL, 
	claim INTEGER NOT NULL, 
	labels INTEGER NOT NULL, 
	cost_labels INTEGER, 
	cost TEXT, 
	currency TEXT NOT NULL, 
	input_tokens INTEGER NOT NULL, 
	output_tokens INTEGER NOT NULL, 
	billed_seconds TEXT NOT NULL, 
	at FLOAT, 
	flags INTEGER NOT NULL, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID;

CREATE INDEX ix_events_owner ON events (owner);

CREATE TABLE facets (
	id INTEGER NOT NULL, 
	account TEXT NOT NULL, 
	record_type TEXT NOT NULL, 
	state TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (account, record_type, state)
);

CREATE TABLE failures (
	id INTEGER NOT NULL, 
	session INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE INDEX ix_failures_reason ON failures (reason);

CREATE INDEX ix_failures_session ON failures (session);

CREATE TABLE fallbacks (
	session INTEGER NOT NULL, 
	record_type TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	PRIMARY KEY (session, record_type, event_id)
)
 WITHOUT ROWID;

CREATE TABLE label_sets (
	id INTEGER NOT NULL, 
	labels TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (labels)
);

CREATE TABLE listed (
	session INTEGER NOT NULL, 
	facet INTEGER NOT NULL, 
	changed_at FLOAT NOT NULL, 
	events INTEGER NOT NULL, 
	costless INTEGER NOT NULL, 
	PRIMARY KEY (session)
);

CREATE INDEX listed_changed ON listed (facet, changed_at);

CREATE INDEX listed_costless ON listed (facet) WHERE costless = 1;

CREATE INDEX listed_events ON listed (facet, events);

CREATE TABLE listed_costs (
	session INTEGER NOT NULL, 
	currency TEXT NOT NULL, 
	facet INTEGER NOT NULL, 
	amount TEXT NOT NULL, 
	rank BLOB NOT NULL, 
	PRIMARY KEY (session, currency)
)
 WITHOUT ROWID;

CREATE INDEX listed_dear ON listed_costs (facet, currency, rank, session);

CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);

CREATE TABLE records (
	"key" BLOB NOT NULL, 
	account TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	cost TEXT, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID;

CREATE INDEX records_forgettable ON records (account, at);

CREATE TABLE roots (
	event_id TEXT NOT NULL, 
	session INTEGER NOT NULL, 
	PRIMARY KEY (event_id, session)
)
 WITHOUT ROWID;

CREATE INDEX ix_roots_session ON roots (session);

CREATE TABLE series (
	id INTEGER NOT NULL, 
	family TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	bounds TEXT, 
	released INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (family, labels)
);

CREATE TABLE sessions (
	id INTEGER NOT NULL, 
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
	followed_at FLOAT NOT NULL, 
	first_tree_at FLOAT, 
	changed_at FLOAT, 
	rested_at FLOAT, 
	rechecks INTEGER NOT NULL, 
	observed INTEGER NOT NULL, 
	owned INTEGER NOT NULL, 
	latest_at FLOAT, 
	crossed TEXT DEFAULT '' NOT NULL, 
	failing TEXT NOT NULL, 
	polls TEXT NOT NULL, 
	hint TEXT DEFAULT '' NOT NULL, 
	hinted_due FLOAT, 
	summary TEXT, 
	fingerprint BLOB, 
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
	quarter INTEGER NOT NULL, 
	labels INTEGER NOT NULL, 
	currency TEXT NOT NULL, 
	writer INTEGER NOT NULL, 
	amount TEXT NOT NULL, 
	PRIMARY KEY (quarter, labels, currency, writer)
)
 WITHOUT ROWID;

CREATE TABLE totals (
	writer INTEGER NOT NULL, 
	series INTEGER NOT NULL, 
	value TEXT NOT NULL, 
	counts TEXT, 
	exemplars TEXT, 
	PRIMARY KEY (writer, series)
)
 WITHOUT ROWID;

CREATE TABLE trees (
	session INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (session)
);

