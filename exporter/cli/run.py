"""`run`: run the exporter until SIGTERM or SIGINT; SIGHUP reloads the configuration."""

import argparse
import asyncio
import gc
import signal
import sys

from exporter.cli import flags
from exporter.runtime.app import App
from exporter.runtime.clock import SystemClock
from exporter.runtime.reload import Origin

SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter. With Python's default of 5 ms a scrape would wait too long for polls."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser)
    flags.add_listen_address(parser)
    flags.add_web_config_file(parser)
    parser.add_argument(
        "--config.auto-reload-interval",
        dest="auto_reload_interval",
        type=flags.seconds,
        default=0.0,
        metavar="SECONDS",
        help="check the configuration file this often, and reload it if it has changed (default: never)",
    )
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="enable_lifecycle",
        action="store_true",
        help="let POST /-/reload reload the configuration; SIGHUP always does",
    )


def run(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    origin = Origin(
        lambda: flags.load_config(arguments),
        lambda: flags.config_path(arguments),
        lifecycle=arguments.enable_lifecycle,
        check_seconds=arguments.auto_reload_interval,
    )
    app = App(
        origin.read(),
        listen=arguments.listen_address,
        clock=SystemClock(),
        origin=origin,
        web_config=arguments.web_config_file,
    )
    gc.freeze()  # imported modules are never garbage; collecting them would stop all threads for 70 ms each time
    asyncio.run(until_signal(app))
    return 0


async def until_signal(app: App) -> None:
    """Run the exporter until SIGTERM or SIGINT; a second signal ends the process at once, which loses nothing."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        app.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, app.reloader.reload_soon)
    await app.run()
