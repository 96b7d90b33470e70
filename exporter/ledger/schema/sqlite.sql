-- What only a file has, after tables.sql.

-- Every index of SQLite ends with the row id, so sessions that are due at the same time come in the order of their ids.
CREATE INDEX sessions_due ON sessions (account, due_at);
CREATE INDEX sessions_claimed ON sessions (claim) WHERE claim <> 0;
