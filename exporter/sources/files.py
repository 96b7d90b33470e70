"""Read files with lists of sessions, as Prometheus's file_sd does: check every 5 s, and read what has changed.

A session that was listed once is followed until its bill is final, whatever happens to the file. The disk is read in
other threads than the main loop's.
"""

import asyncio
import glob
import hashlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import PurePath

from msgspec import Struct
from msgspec.structs import replace

from exporter.config import Config
from exporter.config.document import BYTES_MAX
from exporter.config.quoting import sanitized
from exporter.core.catalog import FILES
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, LedgerError
from exporter.core.model import SessionNotice, SessionRef
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.ingest import NOTICES_MAX, IngestQueue
from exporter.sources.entries import Reader, json_entries, yaml_entries

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
"""The interval in real time, as in Prometheus's file_sd; checking a thousand files takes about 10 ms."""
STAMP_SECONDS = 2.0
"""The coarsest clock of a file system, FAT's: two changes further apart have different stamps."""
SUCCESS_SECONDS = 60.0
"""How often a check without changes is stored as a success, which takes a commit."""
FILES_MAX = 1_000
BYTES_TOTAL_MAX = 33_554_432
"""The size of all files together: about 400,000 sessions, whose ids stay in memory to know which are new."""

READERS: Mapping[str, Reader] = {".json": json_entries}
"""The readers by file extension; all other files are YAML."""

_MAGIC = frozenset("*?[")

_Stamp = tuple[int, int, int, int]
"""mtime in nanoseconds, size, inode, and ctime, which programs can't set back."""


class _File(Struct, frozen=True):
    """The state of a file as of the last check."""

    stamp: _Stamp | None = None
    stamp_at: float = 0.0
    """Monotonic time when this stamp was first seen."""
    steady: bool = False
    """Whether it was read when the stamp was at least STAMP_SECONDS old.

    Until then every check reads it again, because two quick changes can have the same stamp. Two checks with the same
    stamp are no proof: a second one may follow at once, at the end of the initial backfill.
    """
    digest: bytes = b""
    refs: tuple[SessionRef, ...] = ()
    """The sessions of its last readable content."""
    problem: str = ""

    def fails(self, before: "_File") -> bool:
        """Return whether it is bad in another way than before."""
        return bool(self.problem) and (self.problem, self.digest) != (before.problem, before.digest)


_NEW = _File()


class FileSource:
    """The configured files; `check` is called repeatedly."""

    def __init__(self, ingest: IngestQueue, metrics: Metrics, clock: Clock) -> None:
        self._patterns: tuple[str, ...] = ()
        self._accounts: list[str] = []
        self._ingest = ingest
        self._metrics = metrics
        self._clock = clock
        self._checking = asyncio.Lock()
        self._files: dict[str, _File] = {}
        self._waiting: dict[SessionRef, None] = {}
        """Listed sessions that are not yet in the ledger, in order."""
        self._reported: set[SessionRef] = set()
        """Listed sessions that are in the ledger."""
        self._succeeded_at: float | None = None
        self._accounts_changed = False
        """Whether the files were read with other accounts, so that all have to be read again."""

    def apply_config(self, config: Config) -> None:
        """Check this configuration's files from the next check on."""
        names = [account.name for account in config.accounts]
        if names != self._accounts:
            self._accounts_changed = True
        self._patterns, self._accounts = config.discovery.files, names

    async def check(self) -> None:
        """Read changed files and report new sessions; what fails is retried at the next check."""
        if not self._patterns:
            return
        async with self._checking:
            try:
                await self._report()  # first: while the ledger fails nothing more is read that would have to wait
                await self._read_changed()
                await self._report()
                now = self._clock.monotonic()
                due = self._succeeded_at is None or now - self._succeeded_at >= SUCCESS_SECONDS
                if due and not any(file.problem for file in self._files.values()):
                    await self._ingest.mark_success(FILES, self._accounts)
                    self._succeeded_at = now
            except LedgerError:
                return  # the ingest queue has counted and logged it

    async def _read_changed(self) -> None:
        accounts = self._accounts
        if self._accounts_changed:
            self._files = {path: replace(file, stamp=None, digest=b"") for path, file in self._files.items()}
            self._accounts_changed = False
        found = await asyncio.to_thread(_survey, self._patterns)
        now = self._clock.monotonic()  # later than every stamp, and earlier than every reading
        files: dict[str, _File] = {}
        for path, state in found.items():
            before = self._files.get(path, _NEW)
            if isinstance(state, str):
                files[path] = replace(before, stamp=None, digest=b"", problem=state)
            elif before.stamp == state and before.steady:
                files[path] = before
            else:
                files[path] = await asyncio.to_thread(_read, path, state, before, accounts, now)
            self._compare(path, before, files[path])
        if files != self._files:
            self._reported = await asyncio.to_thread(_still_listed, self._reported, files.values())
        self._files = files

    def _compare(self, path: str, before: _File, now: _File) -> None:
        if now.fails(before):
            log.warning(
                "file of sessions not read; its earlier sessions stay followed",
                extra=fields(file=path, error=now.problem),
            )
            for account in {ref.account for ref in now.refs} or self._accounts:  # of its last content, if there was one
                self._metrics.inc("telnyx_discovery_failures_total", (account, FILES))
        elif now.refs is not before.refs or (before.problem and not now.problem):
            log.info("file of sessions read", extra=fields(file=path, sessions=len(now.refs)))
            self._waiting.update((ref, None) for ref in now.refs if ref not in self._reported)

    async def _report(self) -> None:
        while self._waiting:
            portion = list(islice(self._waiting, NOTICES_MAX))
            await self._ingest.ingest([SessionNotice(ref) for ref in portion], FILES)
            for ref in portion:
                del self._waiting[ref]
            self._reported.update(portion)


# On the disk


def _survey(patterns: Sequence[str]) -> dict[str, _Stamp | str]:
    """Return all files with their stamps, or with the problem of the file."""
    found: dict[str, _Stamp | str] = {}
    left = BYTES_TOTAL_MAX
    for path, literal in _paths(patterns).items():
        if len(found) == FILES_MAX:
            found[path] = f"is one of more than {FILES_MAX} files; put more sessions into one, and remove old files"
            break
        state = _state(path, literal=literal)
        if isinstance(state, tuple):
            left -= state[1]
            if left < 0:
                state = f"all files together are larger than {BYTES_TOTAL_MAX} bytes; remove old ones"
        if state is not None:
            found[path] = state
    return found


def _paths(patterns: Sequence[str]) -> dict[str, bool]:
    """Return the paths to check, and whether each is configured itself (True) or found by a pattern."""
    paths: dict[str, bool] = {}
    for pattern in patterns:
        folder = os.path.dirname(pattern) or os.curdir  # noqa: PTH120 - a Path would rewrite the pattern
        if not _MAGIC & set(pattern):
            paths[pattern] = True
        elif not _MAGIC & set(folder) and not _can_list(folder):
            paths[folder] = True  # its problem is reported
        else:
            for path in sorted(glob.glob(pattern)):  # noqa: PTH207
                paths.setdefault(path, False)
    return paths


def _can_list(folder: str) -> bool:
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


def _state(path: str, *, literal: bool) -> _Stamp | str | None:
    """Return the file's stamp, its problem, or None if it doesn't count: a folder, or a file that has vanished."""
    try:
        with _opened(path) as file:
            status = os.fstat(file)
    except FileNotFoundError:
        return (
            _refused("there is no such file or directory") if literal else None
        )  # vanished since the pattern found it
    except OSError as error:
        return _refused(str(error.strerror))
    if stat.S_ISREG(status.st_mode):
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns
    if stat.S_ISDIR(status.st_mode) and not literal:
        return None
    return _refused("it is no regular file")


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a file at each check, since only opening shows whether it can be read; opening a pipe must not block."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def _refused(reason: str) -> str:
    return f"cannot be read ({reason}); repair it, or correct discovery.files"


def _read(path: str, stamp: _Stamp, before: _File, accounts: Sequence[str], now: float) -> _File:
    try:
        with _opened(path) as file:
            content = b""
            left = BYTES_MAX + 1  # one more than the reader accepts, so that it refuses a larger file
            while left and (part := os.read(file, left)):
                content += part
                left -= len(part)
    except OSError:
        return before  # it was changed just now; the next check reports how
    stamp_at = before.stamp_at if stamp == before.stamp else now
    steady = now - stamp_at >= STAMP_SECONDS
    digest = hashlib.sha256(content).digest()
    if digest == before.digest:
        return replace(before, stamp=stamp, stamp_at=stamp_at, steady=steady)
    name = PurePath(path)
    try:
        refs = READERS.get(name.suffix.lower(), yaml_entries)(content, sanitized(name.name), accounts)
    except ConfigError as error:
        return _File(stamp, stamp_at, steady, digest, before.refs, str(error))
    return _File(stamp, stamp_at, steady, digest, refs)


def _still_listed(reported: Iterable[SessionRef], files: Iterable[_File]) -> set[SessionRef]:
    """Return the reported sessions that are still listed; a file that returns is reported again, which is harmless."""
    listed = {ref for file in files for ref in file.refs}
    return listed.intersection(reported)
