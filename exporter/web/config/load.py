"""The web config file and the files that it names -> what the web surface follows, or one ConfigError.

Owns the reading, and the looking again: by content, since a mounted secret changes behind a link and keeps its time and
size. Knows no server. The surprising fact: a change is taken when two looks in a row found the same, because a file
that is being written is empty at first, and an empty one would open the surface to everybody.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from exporter.config.document import BYTES_MAX, read_yaml
from exporter.config.read import raise_problems, read_record
from exporter.core.errors import ConfigError
from exporter.web.config.checks import problems_between, remarks
from exporter.web.config.settings import WebConfig
from exporter.web.tls import Tls, TlsMaterial

_FILES = ("cert_file", "key_file", "client_ca_file")

Content = bytes | str
"""Of a file, or why it can't be read."""


class Loaded(Struct, frozen=True):
    """A good web config file."""

    config: WebConfig
    tls: Tls | None
    """None: plain HTTP."""
    remarks: tuple[str, ...]


def load(path: Path) -> Loaded:
    """What the file says now, certificates included."""
    content = _content(path)
    return _loaded(path, content, [_content(file) for file in _named(path, content)])


def _loaded(path: Path, content: Content, named: Sequence[Content]) -> Loaded:
    try:
        config = _parsed(path, content)
        tls = config.tls_server_config
        material = TlsMaterial.of(tls, dict(zip(_keys(config), named, strict=True))) if tls.is_enabled else None
        found = None if material is None else Tls(tls, material)
    except ConfigError as error:
        raise _of_file(path, error) from None
    return Loaded(config, found, tuple(remarks(config)))


def _of_file(path: Path, error: ConfigError) -> ConfigError:
    """There are two configuration files, so each error of this one names it."""
    if str(error).startswith(str(path)):
        return error
    return ConfigError(str(path), f"\n{error}" if "\n" in str(error) else str(error))


def _parsed(path: Path, content: Content) -> WebConfig:
    if isinstance(content, str):
        raise ConfigError(str(path), f"cannot be read ({content}); correct --web.config.file or the file's permissions")
    values = read_yaml(content, str(path))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(str(path), "expected keys such as `basic_auth_users:` at the top")
    config = read_record(WebConfig, values or {})
    raise_problems(problems_between(config))
    return config


def _named(path: Path, content: Content) -> tuple[Path, ...]:
    """The files that the web config file names, beside it unless they say otherwise; none if it is bad."""
    try:
        config = _parsed(path, content)
    except ConfigError:
        return ()
    return tuple(path.parent / getattr(config.tls_server_config, key) for key in _keys(config))


def _keys(config: WebConfig) -> list[str]:
    return [key for key in _FILES if getattr(config.tls_server_config, key) is not None]


def _content(path: Path) -> Content:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:  # a path with a NUL in it
        return "no valid path"


class WebConfigFile:
    """The file, looked at again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._named: tuple[Path, ...] = ()
        self._content: Content = ""
        self._judged: list[Content] | None = None
        self._seen: list[Content] | None = None

    def load(self) -> Loaded:
        """What it says now; raises ConfigError."""
        return self._judge(self._look())

    def changed(self) -> Loaded | None:
        """What it says since it changed, None if it did not, or only just; ConfigError once per bad change."""
        found = self._look()
        settled, self._seen = found == self._seen, found
        return self._judge(found) if settled and found != self._judged else None

    def forget(self) -> None:
        """Have what was found last be found again, since it could not be followed."""
        self._judged = None

    def _look(self) -> list[Content]:
        content = _content(self.path)
        if content != self._content:
            self._content, self._named = content, _named(self.path, content)
        return [content, *map(_content, self._named)]

    def _judge(self, found: list[Content]) -> Loaded:
        self._judged = found
        return _loaded(self.path, found[0], found[1:])
