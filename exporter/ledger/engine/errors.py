"""The address of a PostgreSQL server, and what the driver's errors mean to an operator.

Translates errors by their SQLSTATE into LedgerError, with what to do about them. No message contains a password.
"""

from pathlib import Path
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict

from exporter.config.secret import secret_from_file
from exporter.core.errors import ConfigError, LedgerAway, LedgerError

CONNECT_SECONDS = 5
_PARAMETERS = {
    "application_name": "telnyx-session-exporter",
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS,
    # A server that vanishes without closing its connections is noticed within 15 s, instead of the system's two hours.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    # With several hosts, use the one that accepts writes: after a failover it is another one.
    "target_session_attrs": "read-write",
}

_CURES = {
    "08": "can't be reached; polls wait until it can",
    "25P03": "ended a transaction because this exporter stalled; it is retried",
    "25006": "is read-only: it is a standby, or failing over; name all servers in ledger.url, host1,host2",
    "28": "refuses the exporter's user; check its name, password or certificate, and pg_hba.conf",
    "3D000": "has no such database; create it",
    "40": "aborted a transaction that conflicted with others too often; it is retried",
    "42501": "doesn't let the exporter's user do that; it must own the ledger's tables",
    "42P01": "lacks a table of the ledger; restore it, or start with an empty database",
    "53100": "has a full disk",
    "53200": "is out of memory",
    "53300": "has no free connection; raise max_connections, or put pgbouncer before it",
    "55P03": "had a row locked for too long; look for a transaction that doesn't end, in pg_stat_activity",
    "57014": "took too long; look at its load, and at its waits in pg_stat_activity",
    "57P": "is shutting down or starting up; polls wait until it is up",
}
"""By the beginning of the SQLSTATE; the longest one that matches counts."""

_STATES_BY_TEXT = {
    "authentication failed": "28",
    "no pg_hba.conf entry": "28",
    "FATAL: role ": "28",
    "does not exist": "3D000",
    "too many clients": "53300",
    "connection slots": "53300",
    "starting up": "57P",
    "shutting down": "57P",
    "not accepting connections": "57P",
    "session is read-only": "25006",
}
"""An error while connecting has no SQLSTATE, only text. The first one that matches counts."""

_AWAY = ("08", "25006", "25P03", "40", "53", "55P03", "57")
"""States that pass without a change of the exporter: LedgerAway."""
_DEFECTS = ("21", "22", "23", "54")
"""States that the data of one poll caused: not the ledger's error, so the other polls of a batch are still booked."""


class ServerAddress(Struct, frozen=True):
    """Where the server is, and how to log in."""

    location: str
    """For messages: postgresql://HOST/DATABASE."""
    parameters: dict[str, Any]
    password_file: Path | None = None

    @classmethod
    def of(cls, url: str, password_file: Path | None = None) -> "ServerAddress":
        """Return the address in a URL of libpq; raise LedgerError if libpq can't read it."""
        try:
            parameters = _PARAMETERS | conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise LedgerError("ledger.url can't be read: expected postgresql://USER:PASSWORD@HOST/DATABASE") from None
        named = [str(parameters[name]) for name in ("host", "dbname") if parameters.get(name)]
        return cls("/".join(["postgresql:/", *named]), parameters, password_file)

    def with_password(self) -> dict[str, Any]:
        """Return the parameters with the password that its file holds now; raise LedgerError if it can't be read."""
        if self.password_file is None:
            return self.parameters
        try:
            return {**self.parameters, "password": secret_from_file(self.password_file, "password").reveal()}
        except ConfigError as error:
            raise LedgerError(f"ledger.password_file: {error}") from error

    def without_secrets(self, text: str) -> str:
        for name in ("password", "sslpassword"):
            secret = self.parameters.get(name)
            if secret:
                text = text.replace(str(secret), "***")
        return text


def translate_error(error: BaseException, address: ServerAddress) -> BaseException:
    """Return a LedgerError that says what failed, where, and what to do; return an error of the data as it is."""
    state = (error.sqlstate if isinstance(error, psycopg.Error) else None) or ""
    if isinstance(error, psycopg.DataError) or state.startswith(_DEFECTS):
        return error
    text = address.without_secrets(" ".join(str(error).split()))
    if not state:
        # Conflicts that this exporter found itself are no errors of the driver.
        connecting = next((state for part, state in _STATES_BY_TEXT.items() if part in text), "08")
        state = connecting if isinstance(error, psycopg.OperationalError) else "40"
    cures = [cure for beginning, cure in sorted(_CURES.items()) if state.startswith(beginning)]
    kind = LedgerAway if state.startswith(_AWAY) else LedgerError
    return kind(f"{address.location} {cures[-1] if cures else 'failed'} ({text})")
