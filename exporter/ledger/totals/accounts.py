"""An account's other name, with everything booked under the old one.

Owns the seeds: the name that an account's event keys are made with, which stays when the account is renamed, because
a key can't be taken apart to be made anew. The surprising fact: the old name gets a new seed at once, so an account
that takes it later shares no event with the renamed one.
"""

import json
import uuid

from exporter.core.errors import LedgerError
from exporter.ledger.database import Connection
from exporter.ledger.views import index as facets

_SEED = "seed:"


def account_seeds(connection: Connection) -> dict[str, str]:
    """The seeds of accounts that were renamed, or whose name another account had; every other's is its name."""
    found = connection.execute("SELECT key, value FROM meta WHERE key LIKE 'seed:%'")
    return {key.removeprefix(_SEED): value for key, value in found}


def rename_account(connection: Connection, old: str, new: str) -> int:
    """Rename within the caller's transaction; returns how many sessions the account has."""
    known = {account for (account,) in connection.execute("SELECT DISTINCT account FROM sessions")}
    if old not in known:
        raise LedgerError(f"no account {old!r} in this ledger; it has {', '.join(sorted(known)) or 'none'}")
    if new in known or _has_series(connection, new):
        raise LedgerError(f"account {new!r} is in this ledger already; two accounts can't become one")
    seed = account_seeds(connection).get(old, old)
    values = [(_SEED + new, seed), (_SEED + old, uuid.uuid4().hex)]
    connection.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key, _ in values])
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values)
    for table in ("label_sets", "series"):
        _relabel(connection, table, old, new)
    facets.rename_account_groups(connection, old, new)
    connection.execute("UPDATE records SET account = ? WHERE account = ?", (new, old))
    connection.execute("DELETE FROM meta WHERE key = ?", (f"cursors:{new}",))
    connection.execute("UPDATE meta SET key = ? WHERE key = ?", (f"cursors:{new}", f"cursors:{old}"))
    return connection.execute("UPDATE sessions SET account = ? WHERE account = ?", (new, old)).rowcount


def _has_series(connection: Connection, account: str) -> bool:
    """Also of one whose sessions were pruned, or that has none yet: an exporter was started with it."""
    found = connection.execute("SELECT labels FROM series UNION ALL SELECT labels FROM label_sets")
    return any(["account", account] in json.loads(text) for (text,) in found)


def _relabel(connection: Connection, table: str, old: str, new: str) -> None:
    rows = connection.execute(f"SELECT id, labels FROM {table}").fetchall()  # noqa: S608 - a literal of this module
    changed = []
    for number, text in rows:
        labels = [[name, new if name == "account" and value == old else value] for name, value in json.loads(text)]
        renamed = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
        if renamed != text:
            changed.append((renamed, number))
    connection.executemany(f"UPDATE {table} SET labels = ? WHERE id = ?", changed)  # noqa: S608 - a literal of this module
