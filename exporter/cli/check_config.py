"""`check-config`: check a configuration file and a web config file.

It reads no API key, so it also works where there is none, as in CI.
"""

import argparse

from exporter.cli import flags
from exporter.web import config as web_config


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser, "config.yaml")
    flags.add_web_config_file(parser)


def run(arguments: argparse.Namespace) -> int:
    path = arguments.config_file or flags.DEFAULT_FILE
    config = flags.parse_file(path)
    print(f"{path}: ok, {len(config.accounts)} account(s), {len(config.sessions)} configured session(s)")
    web_path = arguments.web_config_file
    if web_path is not None:
        loaded = web_config.load(web_path)
        scheme, users = "https" if loaded.tls else "http", len(loaded.config.basic_auth_users)
        print(f"{web_path}: ok, {scheme}, {users} user(s)")
        for remark in loaded.remarks:
            print(f"{web_path}: {remark}")
    return 0
