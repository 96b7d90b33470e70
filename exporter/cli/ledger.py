"""`ledger`: looks after the ledger of an exporter that is not running.

Owns its actions and what they print; the ledger's lock sees to it that nobody else has it meanwhile.
"""

import argparse
from contextlib import closing

from exporter.cli import configuration, flags
from exporter.config import Config
from exporter.errors import ConfigError
from exporter.ledger import Settings, open_existing
from exporter.plan import policy


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser, configuration.DEFAULT)
    parser.add_argument("action", choices=["check", "rename-account"], help="recount it, or give an account a new name")
    parser.add_argument("old", nargs="?", metavar="OLD", help="rename-account: the name in the ledger")
    parser.add_argument(
        "new", nargs="?", metavar="NEW", help="rename-account: the name in the configuration from now on"
    )


def run(arguments: argparse.Namespace) -> int:
    path = configuration.file(arguments)
    config = configuration.parsed(path) if path is not None else Config()
    with closing(open_existing(config.ledger.url, policy(config), Settings.of(config))) as ledger:
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
