"""`check-config`: says whether a configuration is right, before anything runs by it.

Owns what is said of a good one. Reads no API key, so that it may run where none is.
"""

import argparse
from pathlib import Path

from exporter.cli import configuration, flags
from exporter.web import config as web_config


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser, "config.yaml")
    flags.add_web_config_file(parser)


def run(arguments: argparse.Namespace) -> int:
    path = arguments.config_file or configuration.DEFAULT_FILE
    config = configuration.parsed(path)
    print(f"{path}: ok, {len(config.accounts)} account(s), {len(config.sessions)} configured session(s)")
    if arguments.web_config_file is not None:
        _check_web_config(arguments.web_config_file)
    return 0


def _check_web_config(path: Path) -> None:
    loaded = web_config.load(path)
    scheme, users = "https" if loaded.tls else "http", len(loaded.config.basic_auth_users)
    print("\n".join([f"{path}: ok, {scheme}, {users} user(s)", *(f"{path}: {remark}" for remark in loaded.remarks)]))
