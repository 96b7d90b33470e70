"""Show foreign text in a message: quoted, on one line, clipped, and with anything shaped like an API key masked.

Users sometimes paste the key itself where the name of its variable belongs, so no message may repeat a value as it is.
"""

import json
import re
from collections.abc import Mapping

_KEY_SHAPED = re.compile(r"KEY[0-9A-Za-z_]{16,}")
"""Telnyx's API keys are KEY, 32 hexadecimal digits, an underscore, and 22 letters and digits."""

_CHARACTERS_MAX = 200
"""Enough for a long path."""


def is_key_shaped(text: str) -> bool:
    return _KEY_SHAPED.search(text) is not None


def sanitized(text: str) -> str:
    """Return foreign text without quotes; it is escaped if it would break the line."""
    masked = _KEY_SHAPED.sub("***", text)
    clipped = masked if len(masked) <= _CHARACTERS_MAX else f"{masked[:_CHARACTERS_MAX]}..."
    return clipped if clipped.isprintable() else json.dumps(clipped)


def quoted(value: object) -> str:
    """Return a value as the user knows it from the file."""
    if isinstance(value, str):
        text = sanitized(value)
        return text if text.startswith('"') else f'"{text}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else sanitized(str(value))


def join_path(path: str, key: str) -> str:
    """Return the path of a key in a section: `polling.timeout_seconds`."""
    return f"{path}.{sanitized(key)}" if path else sanitized(key)
