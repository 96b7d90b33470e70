"""`demo`: run the simulator and the exporter in one process, as `make demo` does; see `simulator.demo`."""

import argparse
import time

from exporter.cli import flags
from simulator import demo


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_listen_address(parser)
    parser.add_argument(
        "--speed", type=flags.positive, default=demo.SPEED, help="simulated seconds per second (default: %(default)g)"
    )
    parser.add_argument(
        "--seconds", type=flags.positive, help="stop after this many seconds (default: run until Ctrl-C)"
    )


def run(arguments: argparse.Namespace) -> int:
    return demo.run(arguments.listen_address, arguments.speed, arguments.seconds, time.monotonic, time.time)
