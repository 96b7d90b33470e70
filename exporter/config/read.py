"""Read plain values into the frozen records of the settings; every wrong setting is reported, not only the first.

A section or list with nothing below its key has its default, since that is what is left when all of it is commented
out. A single setting with nothing after its colon is an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from exporter.config.quoting import join_path, quoted
from exporter.config.rules import AnyRule, ListOf, Rule, Section, SettingSpec
from exporter.core.errors import ConfigError

Problem = tuple[str, str]
"""The path of a setting, and the problem with its cure."""

PROBLEMS_SHOWN_MAX = 20
"""More of them mean the wrong file, or one mistake made everywhere."""

_Record = TypeVar("_Record", bound=Struct)


class Setting(Struct, frozen=True):
    """A setting of a record: its key in the file, the record's field, its spec, and the default or NODEFAULT."""

    key: str
    field: str
    spec: SettingSpec
    default: object

    @property
    def required(self) -> bool:
        return self.default is NODEFAULT


@cache
def settings_of(record: type[Struct]) -> tuple[Setting, ...]:
    """Return the settings of a record, in order; a field without a SettingSpec is none."""
    return tuple(
        Setting(field.encode_name, field.name, spec, field.default)
        for field in fields(record)
        for spec in getattr(field.type, "__metadata__", ())
        if isinstance(spec, SettingSpec)
    )


def read_record(record: type[_Record], values: Mapping[str, Any]) -> _Record:
    """Return the record that the values describe; raises ConfigError with a line for each wrong setting."""
    reader = _Reader()
    result = reader.section(Section(record), values, "")
    raise_problems(reader.problems)
    assert isinstance(result, record)
    return result


def read_records(record: type[_Record], values: Sequence[Any]) -> tuple[_Record, ...]:
    """Return the records that a list describes; raises ConfigError with lines such as `[3].event_id: missing; ...`."""
    reader = _Reader()
    result = reader.entries(ListOf(Section(record)), values, "")
    raise_problems(reader.problems)
    assert result is not None
    return result


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise all problems as one ConfigError, if there are any."""
    errors = [ConfigError(*problem) for problem in problems]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        more = len(errors) - PROBLEMS_SHOWN_MAX
        lines = [*map(str, errors[:PROBLEMS_SHOWN_MAX]), *([f"and {more} more"] if more > 0 else [])]
        raise ConfigError("", "\n".join(lines))


class _Reader:
    """One reading; each method returns the accepted value, or adds to `problems` and returns None."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def _value(self, rule: AnyRule, value: Any, path: str) -> Any:
        match rule:
            case Section():
                return self.section(rule, value, path)
            case ListOf():
                return self.entries(rule, value, path)
            case Rule():
                return self._accepted(rule.accept, value, path)

    def section(self, rule: Section, value: Any, path: str) -> Struct | None:
        if not isinstance(value, Mapping):
            self._problem(path, f"expected {rule.expected}, got {quoted(value)}")
            return None
        before = len(self.problems)
        settings = settings_of(rule.record)
        given = [
            setting
            for setting in settings
            if setting.key in value and (value[setting.key] is not None or isinstance(setting.spec.rule, Rule))
        ]
        self._unknown(path, value, settings)
        for setting in settings:
            if setting.required and setting not in given:
                self._problem(join_path(path, setting.key), f"missing; expected {setting.spec.rule.expected}")
        kept = {
            setting.field: self._value(setting.spec.rule, value[setting.key], join_path(path, setting.key))
            for setting in given
        }
        for group in rule.one_of:
            chosen = [key for key in group if key in kept]
            for key in chosen[1:]:
                self._problem(join_path(path, key), f"given beside {chosen[0]}; keep one of the two")
            if chosen:  # the others are None, else a default would stand beside the key that was given
                kept |= dict.fromkeys(set(group) - set(chosen))
        return rule.record(**kept) if len(self.problems) == before else None

    def entries(self, rule: ListOf, value: Any, path: str) -> tuple[Any, ...] | None:
        if not isinstance(value, list):
            self._problem(path, f"expected {rule.expected}, got {quoted(value)}")
            return None
        if not rule.at_least <= len(value) <= rule.at_most:
            self._problem(path, f"expected {rule.at_least} to {rule.at_most} entries, got {len(value)}")
            return None
        before = len(self.problems)
        entries = tuple(self._value(rule.rule, item, f"{path}[{index}]") for index, item in enumerate(value))
        if len(self.problems) == before:
            self._accepted(rule.check, entries, path)
        return entries

    def _accepted(self, accept: Callable[[Any], Any], value: Any, path: str) -> Any:
        try:
            return accept(value)
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _unknown(self, path: str, values: Mapping[str, Any], settings: Sequence[Setting]) -> None:
        known = [setting.key for setting in settings]
        renamed = {setting.spec.formerly: setting.key for setting in settings if setting.spec.formerly}
        for key in values:
            if key in renamed:
                self._problem(join_path(path, key), f"renamed; write {renamed[key]} instead")
            elif key not in known:
                # Searching is slow, and a wrong file may have 100,000 unknown keys; only those shown need a suggestion.
                close = get_close_matches(key, known, n=1) if len(self.problems) < PROBLEMS_SHOWN_MAX else []
                cure = f"did you mean {close[0]}?" if close else f"known here are {', '.join(known)}"
                self._problem(join_path(path, key), f"unknown key; {cure}")

    def _problem(self, path: str, problem: str) -> None:
        self.problems.append((path, problem))


def dump(config: Struct) -> dict[str, Any]:
    """Return the settings as plain values for JSON, in order and under the keys of the file; API keys are none."""
    return {setting.key: _plain(getattr(config, setting.field)) for setting in settings_of(type(config))}


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return dump(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, (Path, Decimal)) else value
