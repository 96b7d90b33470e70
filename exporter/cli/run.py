"""`run`: the exporter itself, until a signal ends it.

Owns the signals and how the interpreter is set up for the threads. The surprising fact: a second signal ends it at
once, for nothing is lost by that either.
"""

import argparse
import asyncio
import gc
import signal
import sys

from exporter.cli import configuration, flags
from exporter.runtime.app import App, SystemClock
from exporter.runtime.reload import Origin

SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter: a scrape must not wait 5 ms, Python's default, for each turn of polling."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser, configuration.DEFAULT)
    flags.add_listen_address(parser)
    flags.add_web_config_file(parser)
    parser.add_argument(
        "--config.auto-reload-interval",
        dest="auto_reload_interval",
        type=flags.seconds,
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


def run(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    origin = Origin(
        lambda: configuration.config(arguments),
        lambda: configuration.file(arguments),
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
    """Run the exporter until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        app.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, app.reloader.soon)
    await app.run()
