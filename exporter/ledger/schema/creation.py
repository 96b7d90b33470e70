"""Creates the tables of an empty ledger, from the SQL files beside this module.

tables.sql is the schema of both engines; `WORDS` turns its type words into each engine's own. sqlite.sql and
postgres.sql add what only one engine has. `migrations` upgrades older ledgers.
"""

import re
import uuid
from collections.abc import Mapping
from importlib.resources import files

from exporter.ledger.database import Connection
from exporter.ledger.schema.version import SCHEMA_VERSION

WORDS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {"SERIAL": "INTEGER NOT NULL", "MONEY": "TEXT", "BYTES": "BLOB"},
    "postgres": {
        "SERIAL": "BIGSERIAL NOT NULL",
        "INTEGER": "BIGINT",
        "MONEY": "NUMERIC",
        "TEXT": 'TEXT COLLATE "C"',
        "BYTES": "BYTEA",
        "WITHOUT ROWID": "",
    },
}


def statements(engine: str) -> list[str]:
    """Return the statements that create the tables of `engine` ("sqlite" or "postgres"), in order."""
    words = WORDS[engine]
    common = re.sub("|".join(words), lambda word: words[word[0]], _script("tables"))
    return [statement.strip() for statement in f"{common}{_script(engine)}".split(";\n")[:-1]]


def _script(name: str) -> str:
    """Return the file's SQL without its comments: a `?` in one would be taken for a parameter."""
    return re.sub(r" *--.*", "", files(__package__).joinpath(f"{name}.sql").read_text())


def create(connection: Connection) -> None:
    """Create the tables within the caller's transaction, of a ledger that has an id of its own from then on."""
    for statement in statements("postgres" if connection.shared else "sqlite"):
        connection.execute(statement)
    values = {"schema_version": str(SCHEMA_VERSION), "ledger_id": uuid.uuid4().hex}
    if not connection.shared:
        values["claims"] = "0"
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", list(values.items()))
