"""The configuration that a command line names, as a file or by leaving it out.

Owns which file that is. The surprising fact: without a file and without a flag, all defaults hold, and only the key has
to be in the environment.
"""

import argparse
import os
from pathlib import Path

from exporter.config import Config, load, parse
from exporter.core.errors import ConfigError

DEFAULT_FILE = Path("config.yaml")
DEFAULT = "config.yaml if it exists, else the built-in defaults"


def config(arguments: argparse.Namespace) -> Config:
    """With its keys."""
    return load(file(arguments), os.environ)


def file(arguments: argparse.Namespace) -> Path | None:
    """The named file; else config.yaml in the working directory, if there is one; else none, for the defaults."""
    path: Path | None = arguments.config_file
    return DEFAULT_FILE if path is None and DEFAULT_FILE.exists() else path


def parsed(path: Path) -> Config:
    """The file's configuration, without any key."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}); correct --config.file") from error
    return parse(content, str(path))
