"""Read the web config file and the files that it names, and notice when any of them changes.

Files are compared by content, since a mounted secret changes behind a symbolic link with the same time and size. A
change is applied when two reads in a row found it: a file that is being written is empty at first, and an empty file
means plain HTTP without passwords.
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
"""The content of a file, or why it can't be read."""


class LoadedWebConfig(Struct, frozen=True):
    """A valid web config file."""

    config: WebConfig
    tls: Tls | None
    """None: plain HTTP."""
    remarks: tuple[str, ...]


def load(path: Path) -> LoadedWebConfig:
    """Return the file's current content, certificates included; raise ConfigError."""
    return WebConfigFile(path).load()


class WebConfigFile:
    """The file and the files that it names, read again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._named: tuple[Path, ...] = ()
        self._content: Content = ""
        self._applied: list[Content] | None = None
        """The contents that were loaded or rejected last; None: load them again whatever they are."""
        self._last_read: list[Content] | None = None

    def load(self) -> LoadedWebConfig:
        """Return the current content; raise ConfigError."""
        return self._load(self._read())

    def changed(self) -> LoadedWebConfig | None:
        """Return a change that two calls in a row have found, else None; raise ConfigError once per bad change."""
        contents = self._read()
        stable, self._last_read = contents == self._last_read, contents
        return self._load(contents) if stable and contents != self._applied else None

    def retry(self) -> None:
        """Have `changed` return the same content again, because it could not be applied."""
        self._applied = None

    def _read(self) -> list[Content]:
        content = _content(self.path)
        if content != self._content:
            self._content, self._named = content, _named_files(self.path, content)
        return [content, *map(_content, self._named)]

    def _load(self, contents: list[Content]) -> LoadedWebConfig:
        self._applied = contents
        try:
            config = _parse(self.path, contents[0])
            return LoadedWebConfig(config, _tls(config, contents[1:]), tuple(remarks(config)))
        except ConfigError as error:
            # Errors name the file, since there are two configuration files.
            if str(error).startswith(str(self.path)):
                raise
            raise ConfigError(str(self.path), f"\n{error}" if "\n" in str(error) else str(error)) from None


def _parse(path: Path, content: Content) -> WebConfig:
    if isinstance(content, str):
        raise ConfigError(str(path), f"cannot be read ({content}); correct --web.config.file or the file's permissions")
    values = read_yaml(content, str(path))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(str(path), "expected keys such as `basic_auth_users:` at the top")
    config = read_record(WebConfig, values or {})
    raise_problems(problems_between(config))
    return config


def _tls(config: WebConfig, contents: Sequence[Content]) -> Tls | None:
    tls = config.tls_server_config
    if not tls.is_enabled:
        return None
    return Tls(tls, TlsMaterial.of(tls, dict(zip(_file_settings(config), contents, strict=True))))


def _named_files(path: Path, content: Content) -> tuple[Path, ...]:
    """Return the files that the web config file names, relative to its folder; none if it is invalid."""
    try:
        config = _parse(path, content)
    except ConfigError:
        return ()
    return tuple(path.parent / getattr(config.tls_server_config, key) for key in _file_settings(config))


def _file_settings(config: WebConfig) -> list[str]:
    return [key for key in _FILES if getattr(config.tls_server_config, key) is not None]


def _content(path: Path) -> Content:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:  # the path contains a NUL
        return "no valid path"
