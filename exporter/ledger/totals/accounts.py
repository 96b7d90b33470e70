"""Rename an account with all that was booked under its name.

An account's event keys are made with its seed, which is its first name. A key can't be taken apart to be made again, so
the seed stays when the account is renamed. The old name gets a random seed, so an account that is given this name later
shares no event with the renamed one.
"""

import json
import uuid

from exporter.core.errors import LedgerError
from exporter.ledger.database import Connection
from exporter.ledger.views.index import rename_account_groups

_SEED = "seed:"


def account_seeds(connection: Connection) -> dict[str, str]:
    """Return the seeds of accounts whose name was changed or belonged to another account; else it is the name."""
    found = connection.execute("SELECT key, value FROM meta WHERE key LIKE 'seed:%'")
    return {key.removeprefix(_SEED): value for key, value in found}


def rename_account(connection: Connection, old: str, new: str) -> int:
    """Rename an account; return how many sessions it has. Raises LedgerError if `new` is in use."""
    known = {account for (account,) in connection.execute("SELECT DISTINCT account FROM sessions")}
    if old not in known:
        raise LedgerError(f"no account {old!r} in this ledger; it has {', '.join(sorted(known)) or 'none'}")
    # An account whose sessions were pruned, or that has none yet, still has series.
    labels = connection.execute("SELECT labels FROM series UNION ALL SELECT labels FROM label_sets")
    if new in known or any(["account", new] in json.loads(text) for (text,) in labels):
        raise LedgerError(f"account {new!r} is in this ledger already; two accounts can't become one")
    seed = account_seeds(connection).get(old, old)
    values = [(_SEED + new, seed), (_SEED + old, uuid.uuid4().hex)]
    connection.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key, _ in values])
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values)
    for table in ("label_sets", "series"):
        _relabel(connection, table, old, new)
    rename_account_groups(connection, old, new)
    for table in ("records", "awaited_records"):
        connection.execute(f"UPDATE {table} SET account = ? WHERE account = ?", (new, old))  # noqa: S608 - literals
    for state in ("cursors", "detail_records", "ratings"):  # the first is the second's key in an older version
        connection.execute("DELETE FROM meta WHERE key = ?", (f"{state}:{new}",))
        connection.execute("UPDATE meta SET key = ? WHERE key = ?", (f"{state}:{new}", f"{state}:{old}"))
    return connection.execute("UPDATE sessions SET account = ? WHERE account = ?", (new, old)).rowcount


def _relabel(connection: Connection, table: str, old: str, new: str) -> None:
    changed = []
    for number, text in connection.execute(f"SELECT id, labels FROM {table}").fetchall():  # noqa: S608 - a literal of this module
        labels = [[name, new if name == "account" and value == old else value] for name, value in json.loads(text)]
        renamed = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
        if renamed != text:
            changed.append((renamed, number))
    connection.executemany(f"UPDATE {table} SET labels = ? WHERE id = ?", changed)  # noqa: S608 - a literal of this module
