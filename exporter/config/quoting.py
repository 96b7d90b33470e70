"""How foreign text is shown in a message: quoted, on one line, clipped, and with anything shaped like a key masked.

Owns no rule and knows no setting. The surprising fact: people paste the key itself where the name of its variable
belongs, so a message that merely repeats what was configured would put the key into the log.
"""

import json
import re
from collections.abc import Mapping

_KEY_SHAPED = re.compile(r"KEY[0-9A-Za-z_]{16,}")
"""What Telnyx's API keys look like: KEY, 32 hexadecimal digits, an underscore, 22 letters and digits."""

_SHOWN_MAX = 200
"""Characters of foreign text in a message: a long path is still whole."""


def is_key_shaped(text: str) -> bool:
    return _KEY_SHAPED.search(text) is not None


def sanitized(text: str) -> str:
    """Foreign text without quotes; one that would break the line is escaped."""
    masked = _KEY_SHAPED.sub("***", text)
    clipped = masked if len(masked) <= _SHOWN_MAX else f"{masked[:_SHOWN_MAX]}..."
    return clipped if clipped.isprintable() else json.dumps(clipped)


def quoted(value: object) -> str:
    """A value as the reader of a message knows it from the file."""
    if isinstance(value, str):
        text = sanitized(value)
        return text if text.startswith('"') else f'"{text}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else sanitized(str(value))


def join_path(path: str, key: str) -> str:
    """The path of a key below another: `polling.scheduler_interval_seconds`."""
    return f"{path}.{sanitized(key)}" if path else sanitized(key)
