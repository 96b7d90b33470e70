"""Read API keys and public keys from environment variables and files, and keep them out of logs.

A bad key is refused without being shown. The usual one is a good key with a newline or a quote in it, which would
otherwise fail much later, as a header that cannot be sent.
"""

import base64
import hmac
from collections.abc import Mapping
from pathlib import Path

from exporter.config.quoting import quoted, sanitized
from exporter.core.errors import ConfigError

_KEY_BYTES_MAX = 4096
"""No key is longer; a path may name a huge file or a device."""


class Secret:
    """A text that only `reveal()` shows."""

    # No Struct: serialisers would write out its fields, and refuse a plain class.

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


API_KEY = "API key"
PUBLIC_KEY = "webhook public key"
_FILE_SETTINGS = {API_KEY: "api_key_file", PUBLIC_KEY: "webhook_public_key_file"}


def secret_from_variable(variable: str, environ: Mapping[str, str], what: str = API_KEY) -> Secret:
    """Return the key in an environment variable; raises ConfigError, without a path, if it is missing or unusable."""
    value = environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            "",
            f"the environment variable {sanitized(variable)} is not set; export it with the account's {what}, "
            f"or name another variable here, or a file in {_FILE_SETTINGS[what]}",
        )
    return _checked(value, f"the environment variable {sanitized(variable)}", what)


def secret_from_file(path: Path, what: str = API_KEY) -> Secret:
    """Return the key that a file holds now, without surrounding white space; raises ConfigError, without a path."""
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            "", f"cannot read {quoted(str(path))} ({error.strerror}); create the file or correct the path"
        ) from None
    value = content.decode("utf-8", "replace").strip()
    if not value:
        raise ConfigError("", f"{quoted(str(path))} is empty; write the account's {what} into it")
    return _checked(value, quoted(str(path)), what)


def _checked(value: str, place: str, what: str) -> Secret:
    """Return the value as a Secret if an HTTP header can hold it: visible ASCII only."""
    if len(value) > _KEY_BYTES_MAX or not all("!" <= character <= "~" for character in value):
        raise ConfigError(
            "",
            f"what {place} holds is no {what} (white space, control or non-ASCII characters, or too long); correct it",
        )
    return Secret(value)


PUBLIC_KEY_BYTES = 32


def public_key(text: str, place: str) -> bytes:
    """Return the raw Ed25519 key of its base64 text; raises ConfigError, without a path."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        raise ConfigError(
            "", f"what {place} holds is no Ed25519 public key in base64 (44 characters); copy it from Mission Control"
        )
    return key
