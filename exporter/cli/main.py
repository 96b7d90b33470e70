"""Commands: thin, each a module of its own over the rooms.

Owns the list of commands, exit codes and what is said of a failure. Flags follow the Prometheus convention. Exit 0:
done; 1: it failed while running; 2: something the operator wrote must be mended, and the message says what. The
surprising fact: only the module of the command that was named is imported, since all of them together would cost the
exporter half as much memory again as it needs.
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
WRONG = 2


class Command(Struct, frozen=True):
    """A command, as far as it is known without its module, which has `add_flags(parser)` and `run(arguments)`."""

    module: str
    says: str
    level: str = "info"
    """The least that is logged by default."""


COMMANDS: Mapping[str, Command] = {
    "run": Command("exporter.cli.run", "follow sessions and serve /metrics"),
    # The line of progress says what the log would, so the log keeps to what went wrong.
    "demo": Command("exporter.cli.demo", "the simulator and the exporter in one go", level="warn"),
    "simulate": Command("exporter.cli.simulate", "serve a Telnyx look-alike"),
    "check-config": Command("exporter.cli.check_config", "say whether a configuration is right; no API key is read"),
    "session": Command("exporter.cli.session", "print one session's tree, and the metric samples it yields"),
    "ledger": Command("exporter.cli.ledger", "look after the ledger of an exporter that is not running"),
    "record-types": Command("exporter.cli.record_types", "the documented record types as a table"),
    healthcheck.COMMAND: Command("exporter.cli.healthcheck", healthcheck.SAYS),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parse(words)
        configure(arguments.log_level, arguments.log_format, sys.stderr)
        return int(_module(COMMANDS[arguments.command]).run(arguments))
    except (ConfigError, LedgerError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return WRONG
    except ExporterError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the command line says; one that can't be understood ends the process, as is usual."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="A Prometheus exporter for Telnyx usage sessions.",
        epilog=f"`{PROG} COMMAND --help` lists a command's flags.",
    )
    _add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        below = commands.add_parser(name, help=command.says, description=f"{PROG}: {command.says}.")
        if name == named:
            _module(command).add_flags(below)
            _add_common(below, command.level)
    return parser.parse_args(words)


def _module(command: Command) -> ModuleType:
    """What is imported is no garbage; to look through it meanwhile takes a tenth of the start."""
    gc.disable()
    try:
        return import_module(command.module)
    finally:
        gc.enable()


def _add_common(parser: argparse.ArgumentParser, level: str) -> None:
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=list(LEVELS),
        default=level,
        help="the least that is logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log.format", dest="log_format", choices=list(FORMATS), default="logfmt", help="(default: %(default)s)"
    )
    _add_version(parser)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}", help="print the version")
