"""Every error that the exporter raises on purpose, split by what the caller does about it.

The family::

    ExporterError
    ├── ConfigError           stop, or keep the old configuration; the operator corrects the setting at `path`
    ├── PollError             count the failed poll; `reason` is a label value of telnyx_poll_failures_total
    │   ├── Transient         retry later: timeouts, broken connections, 408, 409, 429, 5xx
    │   ├── Unauthorized      401: wait for the operator to replace the key; the session stays due
    │   ├── Denied            400 or 403: poll the session only at its rechecks
    │   ├── NotFound          404: poll again until not_found_timeout: the event may still appear
    │   ├── TreeError         poll again later: the answer can't be read as a tree
    │   └── IncompleteList    read the list again later: records may be missing
    ├── Rejected              answer the sender with the status of `reason`; keep nothing of the request
    └── LedgerError           nothing was booked: keep the polls and try again
        ├── LedgerLocked      stop: another process holds the ledger
        ├── LedgerAway        wait until the database server can be reached
        ├── LedgerCorrupt     stop: the file is no ledger, or is damaged; restore a backup
        └── LedgerTooNew      stop: a newer version of the exporter wrote it; upgrade

A message says what happened, where, and how to cure it. It never holds a key or the content of a record.
"""


class ExporterError(Exception):
    """Base of all errors that the exporter raises on purpose."""


class ConfigError(ExporterError):
    """A setting is wrong: `path` names it (`discovery.files[0]`), `problem` says what is wrong and how to cure it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class PollError(ExporterError):
    """A request or its answer failed; `reason` is one of a fixed set, and a label value."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Transient(PollError):
    """The same request may succeed later."""


class Unauthorized(PollError):
    """The API refuses the account's key, so nothing of the account can be polled."""


class Denied(PollError):
    """The API refuses this session: its name is wrong, or the key has no right to see it."""


class NotFound(PollError):
    """The API knows no such event, not yet, or not at this `date_time`."""


class TreeError(PollError):
    """The answer is no tree, or one over the configured limits."""


class IncompleteList(PollError):
    """A list can't be proven to be whole; `missing` is by how many records, 0 if that is unknown."""

    def __init__(self, message: str, missing: int = 0) -> None:
        super().__init__("incomplete", message)
        self.missing = missing


class Rejected(ExporterError):
    """A request to the exporter is refused; `reason` is one of a fixed set and quotes nothing of the request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LedgerError(ExporterError):
    """The ledger failed; nothing of the call was booked."""


class LedgerLocked(LedgerError):
    """Another process holds the ledger."""


class LedgerAway(LedgerError):
    """The database server can't be reached or used at the moment."""


class LedgerCorrupt(LedgerError):
    """The file is not a ledger, or is damaged."""


class LedgerTooNew(LedgerError):
    """A newer version of the exporter wrote this ledger."""
