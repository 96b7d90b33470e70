"""`ledger`: check a ledger, copy it, or rename an account in it.

The exporter must be stopped: SQLite's ledger is locked while it runs. A ledger on PostgreSQL can be checked meanwhile.
"""

import argparse
from contextlib import closing

from exporter.cli import flags
from exporter.config import Config
from exporter.core.errors import ConfigError
from exporter.ledger import TotalsSettings, open_existing
from exporter.runtime.plan import policy


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser)
    parser.add_argument(
        "action",
        choices=["check", "copy", "rename-account"],
        help="compare all totals with their events, copy the ledger to another database, or rename an account",
    )
    parser.add_argument(
        "old", nargs="?", metavar="OLD", help="rename-account: the name in the ledger; copy: the ledger's URL"
    )
    parser.add_argument(
        "new",
        nargs="?",
        metavar="NEW",
        help="rename-account: the new name, as in the configuration; copy: the URL of an empty database, or of one "
        "where this copy was interrupted",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "copy":
        return _copy(arguments.old, arguments.new)
    path = flags.config_path(arguments)
    config = flags.parse_file(path) if path is not None else Config()
    url, password_file = config.ledger.url, config.ledger.password_file
    with closing(open_existing(url, policy(config), TotalsSettings.of(config), password_file)) as ledger:
        if arguments.action == "check":
            differences = ledger.check()
            agreed = f"{ledger.location}: ok, {len(ledger.totals())} totals agree with their events"
            print("\n".join(differences) or agreed)
            return 1 if differences else 0
        if arguments.old is None or arguments.new is None:
            raise ConfigError("ledger rename-account", "expected two names: the account's old and new one")
        sessions = ledger.rename_account(arguments.old, arguments.new)
        print(f"{ledger.location}: account {arguments.old} is now {arguments.new}, with {sessions} session(s)")
        return 0


def _copy(source: str | None, target: str | None) -> int:
    # Imported here because PostgreSQL's driver is slow to import, and no other action needs it.
    from exporter.ledger.copy import CopyReport, copy  # noqa: PLC0415

    def report(table: CopyReport) -> None:
        before = f", {table.found} of them copied before" if table.found else ""
        print(f"{table.table}: {table.rows} row(s){before}", flush=True)

    if source is None or target is None:
        raise ConfigError("ledger copy", "expected two URLs: the ledger's and the new database's")
    copy(source, target, report)
    print("every row is the same; set ledger.url to the copy, and don't start an exporter on the original again")
    return 0
