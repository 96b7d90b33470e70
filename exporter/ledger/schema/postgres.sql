-- What only a ledger with several writers has, after tables.sql.

CREATE INDEX sessions_due ON sessions (account, due_at, id);
-- There is no index of claims here: it would make each claim write to all indexes of the row.
CREATE SEQUENCE claims;
ALTER TABLE sessions ADD COLUMN leased_until TIMESTAMPTZ;  -- when the claim ends, by the server's clock

-- The transaction that changed a row last: replicas read what is new to them.
ALTER TABLE totals ADD COLUMN changed XID8 DEFAULT pg_current_xact_id() NOT NULL;
ALTER TABLE series ADD COLUMN changed XID8 DEFAULT pg_current_xact_id() NOT NULL;

CREATE TABLE writers (
    id BIGSERIAL PRIMARY KEY,
    seen TIMESTAMPTZ DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE leases (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder BIGINT NOT NULL,  -- writers.id; 0: no writer ever had it
    until TIMESTAMPTZ NOT NULL
);
-- Tasks of one process at a time: these rows are only locked (`lock_task`).
INSERT INTO leases VALUES ('budgets', 0, '-infinity');
INSERT INTO leases VALUES ('folding', 0, '-infinity');
INSERT INTO leases VALUES ('pruned_events', 0, '-infinity');

-- fillfactor leaves free space in each page, so that the new version of a changed row often fits into the same page.
-- Vacuum starts early: the usual fifth of a large table would be many dead rows.
ALTER TABLE sessions SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE totals SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE spend SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE events SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE pruned_events SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE trees SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE session_index SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE session_index_costs SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE failures SET (fillfactor = 100, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE writers SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE leases SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE meta SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
