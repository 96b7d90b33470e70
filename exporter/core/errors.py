"""Every error the exporter raises on purpose, split by what the caller does about it.

The tree, first drawn and then coded::

    ExporterError
    ├── ConfigError        the operator mends the configuration; says the path and the cure
    ├── PollError          one request or its answer failed; `reason` is a label value of telnyx_poll_failures_total
    │   ├── Transient      ask again later: time-outs, broken connections, 408, 409, 429, 5xx
    │   ├── KeyRefused     401: the operator must act; the session stays due
    │   ├── Denied         400 or 403: this session cannot succeed as it is named
    │   ├── Gone           404: no such event yet, or a wrong date_time
    │   └── TreeError      an answer arrived that cannot be read as a tree
    ├── Refused            what somebody sent us is not taken; `reason` is short and from a closed set
    └── LedgerError        the ledger could not do what it was asked; nothing was booked
        ├── LedgerLocked   another process holds it
        ├── LedgerAway     its server can't be reached now
        ├── LedgerCorrupt  it is no ledger, or a damaged one
        └── LedgerTooNew   a newer version of the exporter wrote it

Messages are for the reader: what, where, and how to cure it. They never hold a key, nor what a record says.
"""


class ExporterError(Exception):
    """Base of all errors that the exporter raises on purpose."""


class ConfigError(ExporterError):
    """A setting is wrong.

    `path` is where (`discovery.files[0]`), `problem` what and how to cure it.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class PollError(ExporterError):
    """One poll failed; `reason` is short, from a closed set, and fit to be a label value."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Transient(PollError):
    """The same request may succeed later."""


class Unauthorized(PollError):
    """The API refuses the account's key: nothing of this account can be polled until somebody acts."""


class Denied(PollError):
    """The API says that this session cannot be had: a wrong name, or no right to see it."""


class NotFound(PollError):
    """The API knows no such event, or not yet, or not at this `date_time`."""


class TreeError(PollError):
    """The answer is not a tree that can be read within the configured limits."""


class Rejected(ExporterError):
    """What was sent to the exporter is not taken; the sender is told why by a table, never in words of the content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LedgerError(ExporterError):
    """The ledger could not do what it was asked; nothing of it was booked."""


class LedgerLocked(LedgerError):
    """Another process holds the ledger."""


class LedgerAway(LedgerError):
    """The server that has the ledger can't be reached, or can't be used now; it may be later."""


class LedgerCorrupt(LedgerError):
    """The file is not a ledger, or a damaged one."""


class LedgerTooNew(LedgerError):
    """A newer version of the exporter wrote this ledger."""
