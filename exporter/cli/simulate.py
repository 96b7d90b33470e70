"""`simulate`: serve a simulated Telnyx API; its flags are the simulator's settings."""

import argparse
import signal
import time
from contextlib import suppress
from typing import TypeVar

from msgspec import Struct

import simulator
from exporter.cli import flags
from exporter.core.errors import ConfigError

_Record = TypeVar("_Record", bound=Struct)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="(default: %(default)s)")
    parser.add_argument("--port", type=flags.port, default=9465, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the random sessions (default: %(default)s)")
    parser.add_argument(
        "--speed", type=flags.positive, default=1.0, help="simulated seconds per second (default: %(default)g)"
    )
    parser.add_argument("--now", action="store_true", help="start the simulated time now instead of at a fixed date")
    parser.add_argument(
        "--sessions-per-hour", type=flags.positive, default=120.0, metavar="N", help="(default: %(default)g)"
    )
    parser.add_argument(
        "--sessions-max", type=int, metavar="N", help="start no more than this many sessions (default: no end)"
    )
    parser.add_argument(
        "--history-seconds",
        type=float,
        default=0.0,
        metavar="N",
        help="how long before the start the first session begins",
    )
    parser.add_argument(
        "--rating-delay-scale",
        type=float,
        default=1.0,
        metavar="N",
        help="multiply the delay of bills by this (default: %(default)g)",
    )
    parser.add_argument(
        "--world",
        choices=simulator.WORLDS,
        default="a",
        help="a: as measured on live accounts; b: as the SDK describes the API; mixed: some of each (default: a)",
    )
    parser.add_argument(
        "--quota",
        type=_quota,
        action="append",
        default=[],
        metavar="ENDPOINT=N",
        help=f"answer 429 to more requests per minute; repeatable; endpoints: {', '.join(simulator.QUOTAS)}",
    )
    bills = parser.add_argument_group("bills", "shares of bills that change after the first rating")
    for name in simulator.Bills.__struct_fields__:
        bills.add_argument(f"--{name.replace('_', '-')}", type=flags.share, metavar="SHARE", help="(default: 0)")
    faults = parser.add_argument_group("faults", "faults of the API; POST /_faults changes them")
    faults.add_argument(
        "--error-share", type=flags.share, metavar="SHARE", help="share of requests answered with a fault (default: 0)"
    )
    faults.add_argument(
        "--latency-seconds", type=float, metavar="N", help="the longest random delay of an answer (default: 0)"
    )
    webhooks = parser.add_argument_group(
        "webhooks", "webhooks of calls and messages; POST /_webhooks changes url and shares"
    )
    webhooks.add_argument("--webhook-url", metavar="URL", help="where webhooks are posted (default: nowhere)")
    webhooks.add_argument(
        "--webhook-lost-share", type=flags.share, metavar="SHARE", help="share of webhooks never delivered (default: 0)"
    )
    webhooks.add_argument(
        "--webhook-duplicated-share",
        type=flags.share,
        metavar="SHARE",
        help="share of webhooks delivered twice (default: 0)",
    )
    webhooks.add_argument(
        "--webhook-delay-seconds", type=float, metavar="N", help="the longest random delay of a webhook (default: 0)"
    )
    parser.add_argument(
        "--detail-records-late-seconds",
        type=float,
        default=0.0,
        metavar="N",
        help="the longest random delay between an event and its detail record (default: %(default)g)",
    )
    parser.add_argument(
        "--api-key", default="KEY-simulator", help="the API key that the simulator accepts (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    settings = simulator.SimulatorSettings(
        seed=arguments.seed,
        start=time.time() if arguments.now else simulator.SimulatorSettings().start,
        speed=arguments.speed,
        sessions_per_hour=arguments.sessions_per_hour,
        api_key=arguments.api_key,
        history_seconds=arguments.history_seconds,
        sessions_max=arguments.sessions_max,
        rating_delay_scale=arguments.rating_delay_scale,
        api=simulator.WORLDS[arguments.world],
        quotas=dict(arguments.quota),
        bills=_given(simulator.Bills, arguments),
        faults=_given(simulator.Faults, arguments),
        detail_records_late_seconds=arguments.detail_records_late_seconds,
        webhooks=_webhooks(arguments),
        documented_example=True,
    )
    host, port = arguments.host, arguments.port

    def announce() -> None:
        print(f"simulator at http://{host}:{port}/v2, key {settings.api_key}, truth at /_truth")
        target = settings.webhooks.url or "where POST /_webhooks says"
        print(f"webhooks to {target}, public key {simulator.Signer(settings).public_key}", flush=True)

    try:
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
            simulator.serve(settings, host, port, time.monotonic, time.time, begun=announce)
    except OSError as error:
        problem = f"cannot listen on {host}:{port} ({error.strerror}); choose another --host or --port"
        raise ConfigError("simulate", problem) from error
    return 0


def _quota(text: str) -> tuple[str, int]:
    """Return an endpoint and its requests per minute."""
    endpoint, _, limit = text.partition("=")
    if endpoint not in simulator.QUOTAS or not limit.isascii() or not limit.isdecimal() or int(limit) < 1:
        raise argparse.ArgumentTypeError(f"expected an endpoint and a number, such as session=600; got {text!r}")
    return endpoint, int(limit)


def _given(record: type[_Record], arguments: argparse.Namespace, prefix: str = "") -> _Record:
    """Return the record with the values of the flags that were given; a flag is the prefix and a field's name."""
    flags = {name: vars(arguments).get(prefix + name) for name in record.__struct_fields__}
    return record(**{name: value for name, value in flags.items() if value is not None})


def _webhooks(arguments: argparse.Namespace) -> simulator.SimulatedWebhooks:
    try:
        return _given(simulator.SimulatedWebhooks, arguments, "webhook_")
    except ValueError as error:
        raise ConfigError("simulate --webhook-*", str(error)) from error
