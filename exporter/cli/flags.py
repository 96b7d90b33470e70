"""Flags that several commands share, the configuration that --config.file names, and the types of flag values."""

import argparse
import math
import os
from contextlib import suppress
from pathlib import Path

from exporter.config import Config, load, parse
from exporter.core.errors import ConfigError

DEFAULT_FILE = Path("config.yaml")
DEFAULT = "config.yaml if it exists, else the built-in defaults"
PORT_MAX = 65_535
MIN_RELOAD_SECONDS = 1.0


def add_config_file(parser: argparse.ArgumentParser, default: str = DEFAULT) -> None:
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        metavar="FILE",
        help=f"the configuration file (default: {default})",
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
        # An empty value means no file, as in Prometheus, so that a chart may leave it empty.
        type=lambda text: Path(text) if text else None,
        metavar="FILE",
        help="TLS, users and headers, in the format of Prometheus's own exporters (default: plain HTTP, no password)",
    )


def config_path(arguments: argparse.Namespace) -> Path | None:
    """Return the named file, else config.yaml in the working directory if it exists, else None for the defaults."""
    path: Path | None = arguments.config_file
    return DEFAULT_FILE if path is None and DEFAULT_FILE.exists() else path


def load_config(arguments: argparse.Namespace) -> Config:
    """Return the configuration with its API keys; raises ConfigError."""
    return load(config_path(arguments), os.environ)


def parse_file(path: Path) -> Config:
    """Return the file's configuration without reading any key; raises ConfigError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}); correct --config.file") from error
    return parse(content, str(path))


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
        if text == "0" or MIN_RELOAD_SECONDS <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"expected 0 or a number of seconds of at least {MIN_RELOAD_SECONDS:g}, got {text!r}"
    )


def port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= PORT_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 1 to {PORT_MAX}, got {text!r}")
