"""`ledger`: looks after the ledger of an exporter that is not running.

Owns its actions and what they print; a file's lock sees to it that nobody else has it meanwhile, and a server's ledger
may be checked while exporters use it. The surprising fact: a copy is asked for by two URLs, since the configuration
names but one ledger.
"""

import argparse
from contextlib import closing

from exporter.cli import configuration, flags
from exporter.config import Config
from exporter.core.errors import ConfigError
from exporter.ledger import TotalsSettings, open_existing
from exporter.runtime.plan import policy


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser, configuration.DEFAULT)
    parser.add_argument(
        "action",
        choices=["check", "copy", "rename-account"],
        help="recount it, copy it to another place, or give an account a new name",
    )
    parser.add_argument(
        "old", nargs="?", metavar="OLD", help="rename-account: the name in the ledger; copy: the URL of the ledger"
    )
    parser.add_argument(
        "new",
        nargs="?",
        metavar="NEW",
        help="rename-account: the name in the configuration from now on; copy: the URL of a place that is empty, or "
        "where the same copy was begun",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "copy":
        return _copy(arguments.old, arguments.new)
    path = configuration.file(arguments)
    config = configuration.parsed(path) if path is not None else Config()
    url, password_file = config.ledger.url, config.ledger.password_file
    with closing(open_existing(url, policy(config), TotalsSettings.of(config), password_file)) as ledger:
        if arguments.action == "check":
            differences = ledger.check()
            agreed = f"{ledger.place}: ok, {len(ledger.totals())} totals agree with their events"
            print("\n".join(differences) or agreed)
            return 1 if differences else 0
        if arguments.old is None or arguments.new is None:
            raise ConfigError("ledger rename-account", "expected two names: the account's old one and its new one")
        sessions = ledger.rename_account(arguments.old, arguments.new)
        print(f"{ledger.place}: account {arguments.old} is now {arguments.new}, with {sessions} session(s)")
        return 0


def _copy(source: str | None, target: str | None) -> int:
    # PostgreSQL's driver is slow to import, and no other action needs it.
    from exporter.ledger.copy import CopyReport, copy  # noqa: PLC0415

    def told(table: CopyReport) -> None:
        before = f", {table.found} of them copied before" if table.found else ""
        print(f"{table.table}: {table.rows} row(s){before}", flush=True)

    if source is None or target is None:
        raise ConfigError("ledger copy", "expected two URLs: of the ledger, and of the place that it is copied to")
    copy(source, target, told)
    print("every row is the same; set ledger.url to the copy, and start no exporter on the original again")
    return 0
