"""The effective configuration for the page /config, a section at a time, and for JSON.

Keys are never in it: they are no settings, and text that could contain one is masked. The name of the variable or file
that holds a key is shown, since that is what an operator checks.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from exporter.config import Config, dump
from exporter.config.read import settings_of
from exporter.web.pages.untrusted import Mask, unmasked

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
_PASSWORDS = re.compile(r"(?<=password=)[^&\s]*")
"""In a URL as libpq reads it, after the `?`: `password`, `sslpassword`."""
_KEY_SHAPED = re.compile(r"KEY[0-9A-Za-z_]{16,}")
MASK = "***"


class SettingValue(Struct, frozen=True):
    key: str
    value: str
    default: bool
    """The value is the default."""
    help: str


class SettingGroup(Struct, frozen=True):
    """A section, such as `polling` or `accounts[0]`."""

    path: str
    values: tuple[SettingValue, ...]


def effective(config: Config, mask: Mask) -> dict[str, Any]:
    """Return the settings for JSON; masked like other text, because a configured session's id may be personal."""
    masked: dict[str, Any] = _masked(dump(config), mask)
    return masked


def groups(config: Config) -> list[SettingGroup]:
    return list(_groups(config, ""))


def _groups(record: Struct, path: str) -> Iterator[SettingGroup]:
    values, sections = [], list[tuple[str, Struct]]()
    for setting in settings_of(type(record)):
        value = getattr(record, setting.field)
        if isinstance(value, Struct):
            sections.append((f"{path}{setting.key}", value))
        elif isinstance(value, tuple) and value and all(isinstance(item, Struct) for item in value):
            sections += [(f"{path}{setting.key}[{index}]", item) for index, item in enumerate(value)]
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
            shown = "none" if value is None else str(_masked(text, unmasked))
            default = not setting.required and value == setting.default
            values.append(SettingValue(setting.key, shown, default, setting.spec.help))
    if values:
        yield SettingGroup(path.removesuffix("."), tuple(values))
    for name, section in sections:
        yield from _groups(section, f"{name}.")


def _masked(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        without_passwords = _PASSWORDS.sub(MASK, _CREDENTIALS.sub(f"{MASK}@", value))
        return _KEY_SHAPED.sub(MASK, mask(without_passwords))
    if isinstance(value, dict):
        return {key: _masked(item, mask) for key, item in value.items()}
    return [_masked(item, mask) for item in value] if isinstance(value, list) else value
