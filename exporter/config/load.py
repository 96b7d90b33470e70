"""Load the configuration from a file and the environment, with its keys, or raise one ConfigError.

There are four stages: the syntax, each setting, the rules between settings, the files and variables that settings name.
A stage reports all its problems before the next one runs; only a syntax error is always reported alone.
"""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from exporter.config.checks import problems_between
from exporter.config.document import BYTES_MAX, read_document
from exporter.config.quoting import quoted
from exporter.config.read import Problem, raise_problems, read_record
from exporter.config.secret import PUBLIC_KEY, Secret, public_key, secret_from_file, secret_from_variable
from exporter.config.settings import Account, Config
from exporter.core.errors import ConfigError


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Return the configuration in a file (None: the defaults) with every account's keys; raises ConfigError."""
    config = parse(b"" if path is None else _content(path), str(path))
    problems: list[Problem] = []
    accounts: list[Account] = []
    for index, account in enumerate(config.accounts):
        try:
            key, webhook_key = resolve_key(account, environ), resolve_webhook_key(account, environ)
            accounts.append(replace(account, key=key, webhook_key=webhook_key))
        except ConfigError as error:
            problems.append((f"accounts[{index}].{error.path}", error.problem))
        problems.extend(_authorities(account, f"accounts[{index}].ca_file"))
    raise_problems(problems)
    raise_problems(_shared_keys(accounts))
    return replace(config, accounts=tuple(accounts))


def parse(content: bytes, name: str) -> Config:
    """Return the configuration in a text, without keys; a syntax error calls the text by `name`."""
    config = read_record(Config, read_document(content, name))
    raise_problems(problems_between(config))
    return config


def resolve_key(account: Account, environ: Mapping[str, str]) -> Secret:
    """Return the API key that the account's variable or file holds now; the error's path is the account's setting."""
    source = "api_key_env" if account.api_key_file is None else "api_key_file"
    try:
        if account.api_key_file is None:
            return secret_from_variable(account.api_key_env or "", environ)
        return secret_from_file(account.api_key_file)
    except ConfigError as error:
        raise ConfigError(source, error.problem) from None


def resolve_webhook_key(account: Account, environ: Mapping[str, str]) -> bytes | None:
    """Return the current public key of the account's webhooks, if configured; the error's path is its setting."""
    variable, path = account.webhook_public_key_env, account.webhook_public_key_file
    source = "webhook_public_key_env" if path is None else "webhook_public_key_file"
    try:
        if path is not None:
            return public_key(secret_from_file(path, PUBLIC_KEY).reveal(), quoted(str(path)))
        if variable is not None:
            place = f"the environment variable {variable}"
            return public_key(secret_from_variable(variable, environ, PUBLIC_KEY).reveal(), place)
    except ConfigError as error:
        raise ConfigError(source, error.problem) from None
    return None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            str(path),
            f"cannot be read ({error.strerror}); correct --config.file, or leave it out to run with the defaults",
        ) from None


def _authorities(account: Account, path: str) -> Iterator[Problem]:
    """Yield the problem of a CA file that TLS can't use, which would otherwise appear at the first request."""
    if account.ca_file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(account.ca_file)
    except OSError as error:  # includes SSLError
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        yield path, f"cannot read {quoted(str(account.ca_file))} ({reason}); it must hold certificates in PEM form"


def _shared_keys(accounts: list[Account]) -> Iterator[Problem]:
    first: dict[Secret, str] = {}
    for index, account in enumerate(accounts):
        earlier = first.setdefault(account.api_key(), account.name)
        if earlier != account.name:
            problem = (
                f"has the API key of the account {quoted(earlier)}; every event would be booked twice, so keep one"
            )
            yield f"accounts[{index}]", problem
