"""The effective configuration, a section at a time, as a page shows it.

Owns the walk over the rows of the settings; `config.dump` is the same for programs. No key can be in it, because a key
is no setting, and what could hold one after all is masked. The surprising fact: the name of the variable that holds a
key is shown, since that is what one looks for when it is the wrong one.
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
"""As libpq takes them after the `?` of a URL: `password`, `sslpassword`."""
_KEY_SHAPED = re.compile(r"KEY[0-9A-Za-z_]{16,}")
MASK = "***"


class SettingValue(Struct, frozen=True):
    key: str
    value: str
    default: bool
    """It is what holds if nothing is configured."""
    help: str


class SettingGroup(Struct, frozen=True):
    """A section: `polling`, `accounts[0]`."""

    path: str
    values: tuple[SettingValue, ...]


def effective(config: Config, mask: Mask) -> dict[str, Any]:
    """For JSON; a configured session's id may be personal."""
    masked: dict[str, Any] = _masked(dump(config), mask)
    return masked


def groups(config: Config) -> list[SettingGroup]:
    return list(_groups(config, ""))


def _groups(record: Struct, path: str) -> Iterator[SettingGroup]:
    values, below = [], list[tuple[str, Struct]]()
    for setting in settings_of(type(record)):
        value = getattr(record, setting.field)
        if isinstance(value, Struct):
            below.append((f"{path}{setting.key}", value))
        elif isinstance(value, tuple) and value and all(isinstance(item, Struct) for item in value):
            below += [(f"{path}{setting.key}[{index}]", item) for index, item in enumerate(value)]
        else:
            default = not setting.required and value == setting.default
            values.append(SettingValue(setting.key, _written(value), default, setting.spec.help))
    if values:
        yield SettingGroup(path.removesuffix("."), tuple(values))
    for name, section in below:
        yield from _groups(section, f"{name}.")


def _written(value: Any) -> str:
    if value is None:
        return "none"
    plain = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return str(_masked(plain, unmasked))


def _masked(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        without = _PASSWORDS.sub(MASK, _CREDENTIALS.sub(f"{MASK}@", value))
        return _KEY_SHAPED.sub(MASK, mask(without))
    if isinstance(value, dict):
        return {key: _masked(item, mask) for key, item in value.items()}
    return [_masked(item, mask) for item in value] if isinstance(value, list) else value
