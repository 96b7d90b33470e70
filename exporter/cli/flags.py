"""Flags that several commands have, and the values that a flag takes.

Owns their names, their help and what is refused; reads no file. The surprising fact: an empty name of a web config
file is no file, as with Prometheus, so that a chart may leave it empty.
"""

import argparse
import math
from contextlib import suppress
from pathlib import Path

PORT_MAX = 65_535
LEAST_SECONDS = 1.0
"""Files are not looked at more often."""


def add_config_file(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        metavar="FILE",
        help=f"the configuration (default: {default})",
    )


def add_listen_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=":9464",
        metavar="HOST:PORT",
        help="where /metrics is served (default: %(default)s)",
    )


def add_web_config_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=lambda text: Path(text) if text else None,
        metavar="FILE",
        help="TLS, users and headers, in the format of Prometheus's own exporters (default: plain HTTP for everybody)",
    )


def share(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text!r}")


def positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def seconds(text: str) -> float:
    with suppress(ValueError):
        if text == "0" or LEAST_SECONDS <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected 0 or a number of seconds of at least {LEAST_SECONDS:g}, got {text!r}")


def port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= PORT_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 1 to {PORT_MAX}, got {text!r}")
