"""Where PostgreSQL is, and what its errors mean to whoever runs the exporter.

Owns the translation of the driver's errors into ours, by SQLSTATE, and the address without its password: no message,
log or page has that. The surprising fact: an error of the data in one poll is left as it is, a defect, so that the
booker books the others; everything else is the ledger's, and all polls wait for it.
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
    # A server that vanishes without a word is noticed within some 15 s, not within the two hours of the system.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    # Of several hosts, the one that can be written: after a failover that is another.
    "target_session_attrs": "read-write",
}

_CURES = {
    "08": "can't be reached; polls wait until it can",
    "25P03": "ended a transaction in which this exporter stood still; it is begun again",
    "25006": "can be read only: it is a standby, or failing over; name all servers in ledger.url, host1,host2",
    "28": "refuses the exporter's user; mend its name, password or certificate, or pg_hba.conf",
    "3D000": "has no such database; create it",
    "40": "had others in the way for too long; it is tried again",
    "42501": "doesn't let the exporter's user do that; it must own the ledger's tables",
    "42P01": "lacks a table of the ledger; restore it, or start with an empty database",
    "53100": "has no room on its disk",
    "53200": "is out of memory",
    "53300": "has no connection left; raise max_connections, or put pgbouncer before it",
    "55P03": "had a row locked for too long; look for a transaction that doesn't end, in pg_stat_activity",
    "57014": "took too long; look at its load, and at what waits in pg_stat_activity",
    "57P": "is shutting down or starting up; polls wait until it is there",
}
"""By the beginning of the SQLSTATE, the longest that fits."""

_WORDS = {
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
"""Why no connection was made is told in words alone."""

_AWAY = ("08", "25006", "25P03", "40", "53", "55P03", "57")
"""What passes by itself, or once somebody has looked after the server."""
_DEFECTS = ("21", "22", "23", "54")
"""Of what was to be written, rather than of the server."""


class ServerAddress(Struct, frozen=True):
    """Where the server is."""

    location: str
    parameters: dict[str, Any]
    password_file: Path | None = None

    @classmethod
    def of(cls, url: str, password_file: Path | None = None) -> "ServerAddress":
        """Raises LedgerError if libpq can't read it."""
        try:
            parameters = _PARAMETERS | conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise LedgerError("ledger.url can't be read: expected postgresql://USER:PASSWORD@HOST/DATABASE") from None
        named = [str(parameters[name]) for name in ("host", "dbname") if parameters.get(name)]
        return cls("/".join(["postgresql:/", *named]), parameters, password_file)

    def with_password(self) -> dict[str, Any]:
        """The parameters, with the password as it is in its file now; raises LedgerError if that can't be read."""
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
    """A LedgerError that says what, where and how to cure it; a defect of the data is given back."""
    state = (error.sqlstate if isinstance(error, psycopg.Error) else None) or ""
    if isinstance(error, psycopg.DataError) or state.startswith(_DEFECTS):
        return error
    words = address.without_secrets(" ".join(str(error).split()))
    if not state:
        told = next((state for said, state in _WORDS.items() if said in words), "08")
        state = told if isinstance(error, psycopg.OperationalError) else "40"
    cures = [cure for beginning, cure in sorted(_CURES.items()) if state.startswith(beginning)]
    kind = LedgerAway if state.startswith(_AWAY) else LedgerError
    return kind(f"{address.location} {cures[-1] if cures else 'failed'} ({words})")
