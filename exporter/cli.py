"""Commands: thin, each a few lines over the rooms.

Owns flags, exit codes and what is printed. Flags follow the Prometheus convention. Exit 0: done; 1: it failed while
running; 2: something the operator wrote must be mended, and the message says what.
"""

import argparse
import asyncio
import gc
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from exporter import __version__, demo, healthcheck, simulator
from exporter.app import App, SystemClock
from exporter.config import Config, load, parse
from exporter.config.rules import date_or_time
from exporter.errors import ConfigError, ExporterError, LedgerError
from exporter.explain import FORMS, TEXT_MAX, Look
from exporter.ledger import Settings, open_existing
from exporter.log import FORMATS, LEVELS, configure
from exporter.model import SessionRef
from exporter.plan import policy
from exporter.record_types import RecordTypes
from exporter.reloading import Origin
from exporter.web import config as web_config

PROG = "telnyx-session-exporter"
DEFAULT_FILE = Path("config.yaml")
WRONG = 2
PORT_MAX = 65_535
LEAST_SECONDS = 1.0
"""Files are not looked at more often."""


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
    origin = Origin(
        lambda: _config(arguments),
        lambda: _file(arguments),
        lifecycle=arguments.enable_lifecycle,
        look_seconds=arguments.auto_reload_interval,
    )
    app = App(
        origin.read(),
        listen=arguments.listen_address,
        clock=SystemClock(),
        origin=origin,
        web_config=arguments.web_config_file,
    )
    gc.freeze()  # what was imported is never garbage; to look through it again and again stops all threads for 70 ms
    asyncio.run(until_signal(app))
    return 0


async def until_signal(app: App) -> None:
    """Run the exporter until SIGTERM or SIGINT; a second one ends it at once, for nothing is lost by that either."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        app.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, app.reloading.soon)
    await app.run()


def _demo(arguments: argparse.Namespace) -> int:
    return demo.run(arguments.listen_address, arguments.speed, arguments.seconds, time.monotonic, time.time)


_Record = TypeVar("_Record", bound=Struct)


def _given(record: type[_Record], arguments: argparse.Namespace, prefix: str = "") -> _Record:
    """The record with those of its fields that were given as flags, whose names begin with the prefix."""
    flags = {name: vars(arguments).get(prefix + name) for name in record.__struct_fields__}
    return record(**{name: value for name, value in flags.items() if value is not None})


def _simulate(arguments: argparse.Namespace) -> int:
    settings = simulator.Settings(
        seed=arguments.seed,
        start=time.time() if arguments.now else simulator.Settings().start,
        speed=arguments.speed,
        sessions_per_hour=arguments.sessions_per_hour,
        api_key=arguments.api_key,
        history_seconds=arguments.history_seconds,
        sessions_max=arguments.sessions_max,
        rating_delay_scale=arguments.rating_delay_scale,
        requests_per_second=arguments.requests_per_second,
        bills=_given(simulator.Bills, arguments),
        faults=_given(simulator.Faults, arguments),
        detail_records_late_seconds=arguments.detail_records_late_seconds,
        webhooks=_webhooks(arguments),
        documented_example=True,
    )
    host, port = arguments.host, arguments.port

    def begun() -> None:
        print(f"simulator at http://{host}:{port}/v2, key {settings.api_key}, truth at /_truth")
        target = settings.webhooks.url or "where POST /_webhooks says"
        print(f"webhooks to {target}, public key {simulator.Signer(settings).public_key}", flush=True)

    try:
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # both signals end it well
            simulator.serve(settings, host, port, time.monotonic, time.time, begun=begun)
    except OSError as error:
        problem = f"cannot listen on {host}:{port} ({error.strerror}); choose another --host or --port"
        raise ConfigError("simulate", problem) from error
    return 0


def _webhooks(arguments: argparse.Namespace) -> simulator.Webhooks:
    try:
        return _given(simulator.Webhooks, arguments, "webhook_")
    except ValueError as error:
        raise ConfigError("simulate --webhook-*", str(error)) from error


def _parsed(path: Path) -> Config:
    """The file's configuration, without any key."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}); correct --config.file") from error
    return parse(content, str(path))


def _check_config(arguments: argparse.Namespace) -> int:
    path = arguments.config_file or DEFAULT_FILE
    config = _parsed(path)
    print(f"{path}: ok, {len(config.accounts)} account(s), {len(config.sessions)} configured session(s)")
    if arguments.web_config_file is not None:
        _check_web_config(arguments.web_config_file)
    return 0


def _check_web_config(path: Path) -> None:
    loaded = web_config.load(path)
    scheme, users = "https" if loaded.tls else "http", len(loaded.config.basic_auth_users)
    print("\n".join([f"{path}: ok, {scheme}, {users} user(s)", *(f"{path}: {remark}" for remark in loaded.remarks)]))


def _ledger(arguments: argparse.Namespace) -> int:
    path = _file(arguments)
    config = _parsed(path) if path is not None else Config()
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


def _session(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    names = [known.name for known in config.accounts]
    name = names[0] if arguments.account is None else arguments.account
    if name not in names:
        raise ConfigError("--account", f"no account {name!r}; configured: {', '.join(names)}")
    ref = SessionRef(name, arguments.record_type, arguments.event_id, arguments.date_time)
    app = App(config, listen="", clock=SystemClock())
    story = app.prober.tell(asyncio.run(_looked(app, ref)))
    if story.look.session is None:
        raise ExporterError(story.wording.line(story.look.problem, TEXT_MAX))
    print(FORMS[arguments.format](story), end="")
    return 0


async def _looked(app: App, ref: SessionRef) -> Look:
    try:
        return await app.prober.look(ref)
    finally:
        await app.close_clients()


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
    "ledger": _ledger,
    healthcheck.COMMAND: healthcheck.run,
}


def _config(arguments: argparse.Namespace) -> Config:
    return load(_file(arguments), os.environ)


def _file(arguments: argparse.Namespace) -> Path | None:
    """The named file; else config.yaml in the working directory, if there is one; else none, for the defaults."""
    path: Path | None = arguments.config_file
    return DEFAULT_FILE if path is None and DEFAULT_FILE.exists() else path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="A Prometheus exporter for Telnyx usage sessions.",
        epilog=f"`{PROG} COMMAND --help` lists a command's flags.",
    )
    _add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, *shared: argparse.ArgumentParser, says: str, level: str = "info") -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[*shared, _common(level)], help=says, description=f"{PROG}: {says}.")

    configured = _configured("config.yaml if it exists, else the built-in defaults")
    _add_reloading(command("run", configured, _listening(), _guarded(), says="follow sessions and serve /metrics"))
    # The line of progress says what the log would, so the log keeps to what went wrong.
    shown = command("demo", _listening(), says="the simulator and the exporter in one go", level="warn")
    shown.add_argument(
        "--speed", type=_positive, default=demo.SPEED, help="session seconds per second (default: %(default)g)"
    )
    shown.add_argument("--seconds", type=_positive, help="end after so many seconds (default: run until Ctrl-C)")
    _add_simulated(command("simulate", says="serve a Telnyx look-alike"))
    checked = "say whether a configuration is right; no API key is read"
    command("check-config", _configured("config.yaml"), _guarded(), says=checked)
    session = command("session", configured, says="print one session's tree, and the metric samples it yields")
    session.add_argument("record_type", metavar="RECORD_TYPE", help="such as call-session; `record-types` lists them")
    session.add_argument("event_id", metavar="EVENT_ID", help="the id of the session's first event")
    session.add_argument("--account", help="the account's name (default: the first one)")
    session.add_argument(
        "--date-time", type=_date_or_time, metavar="TIME", help="when it began (ISO 8601); the API then searches faster"
    )
    session.add_argument(
        "--format",
        choices=list(FORMS),
        default="tree",
        help="a picture with its samples, everything as JSON, a row per event, or what /probe answers"
        " (default: %(default)s)",
    )
    ledger = command("ledger", configured, says="look after the ledger of an exporter that is not running")
    ledger.add_argument("action", choices=["check", "rename-account"], help="recount it, or give an account a new name")
    ledger.add_argument("old", nargs="?", metavar="OLD", help="rename-account: the name in the ledger")
    ledger.add_argument(
        "new", nargs="?", metavar="NEW", help="rename-account: the name in the configuration from now on"
    )
    command("record-types", says="the documented record types as a table")
    healthcheck.add_flags(command(healthcheck.COMMAND, says=healthcheck.SAYS))
    return parser


def _common(level: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
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
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}", help="print the version")


def _configured(default: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        metavar="FILE",
        help=f"the configuration (default: {default})",
    )
    return parser


def _listening() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=":9464",
        metavar="HOST:PORT",
        help="where /metrics is served (default: %(default)s)",
    )
    return parser


def _add_reloading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config.auto-reload-interval",
        dest="auto_reload_interval",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="how often the file is looked at, to be reloaded when it has changed (default: never)",
    )
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="enable_lifecycle",
        action="store_true",
        help="have POST /-/reload read the configuration again; SIGHUP always does",
    )


def _guarded() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=lambda text: Path(text) if text else None,  # as with Prometheus, no name is no file
        metavar="FILE",
        help="TLS, users and headers, in the format of Prometheus's own exporters (default: plain HTTP for everybody)",
    )
    return parser


def _add_simulated(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="(default: %(default)s)")
    parser.add_argument("--port", type=_port, default=9465, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another number, other sessions (default: %(default)s)")
    parser.add_argument(
        "--speed", type=_positive, default=1.0, help="session seconds per second (default: %(default)g)"
    )
    parser.add_argument("--now", action="store_true", help="session time starts now, not at a fixed date")
    parser.add_argument(
        "--sessions-per-hour", type=_positive, default=120.0, metavar="N", help="(default: %(default)g)"
    )
    parser.add_argument("--sessions-max", type=int, metavar="N", help="after so many no more begin (default: no end)")
    parser.add_argument(
        "--history-seconds", type=float, default=0.0, metavar="N", help="how long before the start the first one begins"
    )
    parser.add_argument(
        "--rating-delay-scale", type=float, default=1.0, metavar="N", help="how late bills are (default: %(default)g)"
    )
    parser.add_argument(
        "--requests-per-second", type=int, default=1000, metavar="N", help="more get 429 (default: %(default)s)"
    )
    bills = parser.add_argument_group("bills", "what becomes of them after the first rating")
    for name in simulator.Bills.__struct_fields__:
        bills.add_argument(f"--{name.replace('_', '-')}", type=_share, metavar="SHARE", help="(default: 0)")
    faults = parser.add_argument_group("faults", "of the API's answers; POST /_faults changes them")
    faults.add_argument("--error-share", type=_share, metavar="SHARE", help="requests answered by a fault (default: 0)")
    faults.add_argument(
        "--latency-seconds", type=float, metavar="N", help="answers come up to so much later (default: 0)"
    )
    webhooks = parser.add_argument_group("webhooks", "of calls and messages; POST /_webhooks changes url and shares")
    webhooks.add_argument("--webhook-url", metavar="URL", help="where they are posted (default: nowhere)")
    webhooks.add_argument("--webhook-lost-share", type=_share, metavar="SHARE", help="never delivered (default: 0)")
    webhooks.add_argument(
        "--webhook-duplicated-share", type=_share, metavar="SHARE", help="delivered twice (default: 0)"
    )
    webhooks.add_argument(
        "--webhook-delay-seconds", type=float, metavar="N", help="they come up to so much later (default: 0)"
    )
    parser.add_argument(
        "--detail-records-late-seconds",
        type=float,
        default=0.0,
        metavar="N",
        help="detail records are listed up to so much later than their events exist (default: %(default)g)",
    )
    parser.add_argument("--api-key", default="KEY-simulator", help="the key that it accepts (default: %(default)s)")


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text!r}")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if text == "0" or LEAST_SECONDS <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected 0 or a number of seconds of at least {LEAST_SECONDS:g}, got {text!r}")


def _date_or_time(text: str) -> str:
    try:
        return str(date_or_time().take(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= PORT_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 1 to {PORT_MAX}, got {text!r}")
