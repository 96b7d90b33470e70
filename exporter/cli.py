"""Commands: thin, each a few lines over the rooms.

Owns flags, exit codes and what is printed. Flags follow the Prometheus convention. Exit 0: done; 1: it failed while
running; 2: something the operator wrote must be mended, and the message says what.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter import __version__, demo, simulator
from exporter.app import App, SystemClock
from exporter.config import Config, load, parse
from exporter.errors import ConfigError, ExporterError, LedgerError
from exporter.explain import explain
from exporter.log import configure
from exporter.record_types import RecordTypes

PROG = "telnyx-session-exporter"
DEFAULT_FILE = Path("config.yaml")
WRONG = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    configure(arguments.log_level, arguments.log_format, sys.stderr)
    try:
        return _COMMANDS[arguments.command](arguments)
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


SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter: a scrape must not wait 5 ms, Python's default, for each turn of polling."""


def _run(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    app = App(_config(arguments), listen=arguments.listen_address, clock=SystemClock())
    asyncio.run(until_signal(app))
    return 0


async def until_signal(app: App) -> None:
    """Run the exporter until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    await app.run()


def _demo(arguments: argparse.Namespace) -> int:
    return demo.run(arguments.listen_address, arguments.speed, arguments.seconds, time.monotonic)


def _simulate(arguments: argparse.Namespace) -> int:
    settings = simulator.Settings(
        seed=arguments.seed,
        start=time.time() if arguments.now else simulator.Settings().start,
        speed=arguments.speed,
        sessions_per_hour=arguments.sessions_per_hour,
        api_key=arguments.api_key,
        documented_example=True,
    )
    print(f"simulator at http://{arguments.host}:{arguments.port}/v2, key {settings.api_key}, truth at /_truth")
    simulator.serve(settings, arguments.host, arguments.port, time.monotonic)
    return 0


def _check_config(arguments: argparse.Namespace) -> int:
    path = arguments.config_file or DEFAULT_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError("--config.file", f"cannot read {path}: {error.strerror}") from error
    config = parse(content, str(path))
    print(f"{path}: ok, {len(config.accounts)} account(s), {len(config.sessions)} configured session(s)")
    return 0


def _session(arguments: argparse.Namespace) -> int:
    print(
        asyncio.run(explain(_config(arguments), arguments.account, arguments.record_type, arguments.event_id)), end=""
    )
    return 0


def _record_types(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes the arguments
    rows = [("RECORD TYPE", "GROUP", "PRODUCT", "CHILDREN (* not in the parent's cumulative cost)")]
    for known in RecordTypes.documented():
        children = " ".join(f"{child.child}{'' if child.cost_rollup else '*'}" for child in known.children)
        rows.append((known.name, known.group, known.product, children))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join((*cells, row[3])).rstrip())
    return 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "demo": _demo,
    "simulate": _simulate,
    "check-config": _check_config,
    "session": _session,
    "record-types": _record_types,
}


def _config(arguments: argparse.Namespace) -> Config:
    """The named file; else config.yaml in the working directory, if there is one; else the defaults."""
    path = arguments.config_file
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    return load(path, os.environ)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--log.level", dest="log_level", choices=["debug", "info", "warn", "error"], default="info")
    common.add_argument("--log.format", dest="log_format", choices=["logfmt", "json"], default="logfmt")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        metavar="FILE",
        help="the configuration (default: config.yaml if it exists, else the built-in defaults)",
    )
    listening = argparse.ArgumentParser(add_help=False)
    listening.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=":9464",
        metavar="HOST:PORT",
        help="where /metrics is served (default: %(default)s)",
    )
    parser = argparse.ArgumentParser(prog=PROG, description="A Prometheus exporter for Telnyx usage sessions.")
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", parents=[common, configured, listening], help="follow sessions and serve /metrics")
    shown = commands.add_parser("demo", parents=[common, listening], help="the simulator and the exporter in one go")
    shown.add_argument(
        "--speed", type=float, default=demo.SPEED, help="session seconds per second (default: %(default)g)"
    )
    shown.add_argument("--seconds", type=float, help="end after so many seconds (default: run until Ctrl-C)")
    simulate = commands.add_parser("simulate", parents=[common], help="serve a Telnyx look-alike")
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=int, default=9465)
    simulate.add_argument("--seed", type=int, default=1)
    simulate.add_argument("--speed", type=float, default=1.0, help="session seconds per second (default: %(default)g)")
    simulate.add_argument("--now", action="store_true", help="session time starts now, not at a fixed date")
    simulate.add_argument("--sessions-per-hour", type=float, default=120.0)
    simulate.add_argument("--api-key", default="KEY-simulator")
    commands.add_parser("check-config", parents=[common, configured], help="say whether a configuration is right")
    session = commands.add_parser(
        "session", parents=[common, configured], help="print one session's tree, and the metric samples it yields"
    )
    session.add_argument("record_type", metavar="RECORD_TYPE")
    session.add_argument("event_id", metavar="EVENT_ID")
    session.add_argument("--account", help="the account's name (default: the first one)")
    commands.add_parser("record-types", parents=[common], help="the documented record types as a table")
    return parser
