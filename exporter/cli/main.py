"""The command line: the list of commands, the flags that all of them have, and the exit codes.

Exit 0: done. Exit 1: the command failed while it ran. Exit 2: the configuration, a flag or the installation is wrong,
and the message says how to correct it. Flags are named as in Prometheus.
"""

import argparse
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType

from msgspec import Struct

from exporter import __version__
from exporter.cli import healthcheck
from exporter.core.errors import ConfigError, ExporterError, LedgerError
from exporter.log import FORMATS, LEVELS, configure

PROG = "telnyx-session-exporter"
USAGE_ERROR = 2


class Command(Struct, frozen=True):
    """The description of a command; its module has `add_flags(parser)` and `run(arguments)`."""

    module: str
    help: str
    log_level: str = "info"
    """The default of --log.level."""


COMMANDS: Mapping[str, Command] = {
    "run": Command("exporter.cli.run", "follow sessions and serve /metrics"),
    # The demo prints a line of progress, so its log holds warnings and errors only.
    "demo": Command("exporter.cli.demo", "run the exporter on simulated sessions, without an account", "warn"),
    "simulate": Command("exporter.cli.simulate", "serve a simulated Telnyx API"),
    "check-config": Command("exporter.cli.check_config", "check a configuration file; reads no API key"),
    "session": Command("exporter.cli.session", "print one session's event tree and its metric samples"),
    "ledger": Command("exporter.cli.ledger", "check or copy a ledger, or rename an account in it"),
    "record-types": Command("exporter.cli.record_types", "print the documented record types as a table"),
    healthcheck.COMMAND: Command("exporter.cli.healthcheck", healthcheck.HELP),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parse(words)
        configure(arguments.log_level, arguments.log_format, sys.stderr)
        return int(_module(COMMANDS[arguments.command]).run(arguments))
    except (ConfigError, LedgerError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return USAGE_ERROR
    except ExporterError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has closed it, as `head` does. Python would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; a wrong one ends the process with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="A Prometheus exporter for Telnyx usage sessions.",
        epilog=f"`{PROG} COMMAND --help` lists a command's flags.",
    )
    version = f"{PROG} {__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        flags = commands.add_parser(name, help=command.help, description=f"{PROG}: {command.help}.")
        if name != named:
            continue  # importing every command would make the exporter half as large again in memory
        _module(command).add_flags(flags)
        flags.add_argument(
            "--log.level",
            dest="log_level",
            choices=list(LEVELS),
            default=command.log_level,
            help="the lowest level that is logged (default: %(default)s)",
        )
        flags.add_argument(
            "--log.format", dest="log_format", choices=list(FORMATS), default="logfmt", help="(default: %(default)s)"
        )
        flags.add_argument("--version", action="version", version=version, help="print the version")
    return parser.parse_args(words)


def _module(command: Command) -> ModuleType:
    gc.disable()  # imported modules are never garbage, and collecting meanwhile takes a tenth of the start
    try:
        return import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name != "simulator":
            raise
        problem = "this command needs the simulator; install telnyx-session-exporter[demo]"
        raise ConfigError(command.module.rpartition(".")[2], problem) from None
    finally:
        gc.enable()
