"""Files with lists of sessions, as Prometheus's file_sd: looked at every few seconds, read again when they change.

Owns which files there are, which have changed, what of them was handed over, and what is said of a bad one. Lives on
the main loop; what touches the disk runs beside it. The surprising fact: nothing is ever taken back. A session, once
named, is followed until its bill stops moving, whatever becomes of the file, so a half-written file costs one look.
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

LOOK_SECONDS = 5.0
"""Real time between two looks, Prometheus's file_sd waits as long; a look at a thousand files takes some 10 ms."""
STAMP_SECONDS = 2.0
"""No file system's clock ticks more coarsely (FAT's does so): two changes further apart have different stamps."""
SUCCESS_SECONDS = 60.0
"""How often a look that found nothing new is written down; each takes a commit."""
FILES_MAX = 1_000
BYTES_TOTAL_MAX = 33_554_432
"""Of all files together: some 400,000 sessions, whose names stay in memory to tell new ones from old."""

READERS: Mapping[str, Reader] = {".json": json_entries}
"""By the ending of the file's name; all others are YAML."""

_MAGIC = frozenset("*?[")

_Stamp = tuple[int, int, int, int]
"""Time of the last change in nanoseconds, size, inode, and the time that no program can set back."""


class _File(Struct, frozen=True):
    """What is known of a file."""

    stamp: _Stamp | None = None
    stamp_at: float = 0.0
    """Monotonic time when the stamp was first known."""
    steady: bool = False
    """Whether it was read when the stamp was old: two quick changes can share a stamp, so until then it is read anew.

    That it was seen at two looks says nothing, for two may come together: by the schedule, and after a look back.
    """
    digest: bytes = b""
    refs: tuple[SessionRef, ...] = ()
    """What it last named when it could be read."""
    problem: str = ""

    def fails(self, before: "_File") -> bool:
        """Whether it is bad, and not as it was bad before."""
        return bool(self.problem) and (self.problem, self.digest) != (before.problem, before.digest)


_NEW = _File()


class FileSource:
    """The configured files; call `look` again and again."""

    def __init__(self, ingest: IngestQueue, metrics: Metrics, clock: Clock) -> None:
        self._patterns: tuple[str, ...] = ()
        self._accounts: list[str] = []
        self._ingest = ingest
        self._metrics = metrics
        self._clock = clock
        self._looking = asyncio.Lock()
        self._files: dict[str, _File] = {}
        self._waiting: dict[SessionRef, None] = {}
        """Named and not yet in the ledger, in order."""
        self._handed: set[SessionRef] = set()
        """What the files name and the ledger has."""
        self._succeeded_at: float | None = None
        self._understood = True
        """False: the files were read when there were other accounts."""

    def adopt(self, config: Config) -> None:
        """Look at what this configuration names from the next look on."""
        names = [account.name for account in config.accounts]
        if names != self._accounts:
            self._understood = False
        self._patterns, self._accounts = config.discovery.files, names

    async def look(self) -> None:
        """Read what has changed, and have followed what is new; whatever failed is tried again at the next look."""
        if not self._patterns:
            return
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        try:
            await self._hand_over()  # while the ledger fails no more is read, so that no more has to wait
            await self._read_changed()
            await self._hand_over()
            await self._tell_success()
        except LedgerError:
            return  # counted and logged by the intake

    async def _read_changed(self) -> None:
        accounts = self._accounts
        if not self._understood:
            self._files = {path: replace(file, stamp=None, digest=b"") for path, file in self._files.items()}
            self._understood = True
        found = await asyncio.to_thread(_survey, self._patterns)
        now = self._clock.monotonic()  # later than every stamp, earlier than every reading
        files: dict[str, _File] = {}
        for path, state in found.items():
            before = self._files.get(path, _NEW)
            if isinstance(state, str):
                files[path] = replace(before, stamp=None, digest=b"", problem=state)
            elif before.stamp == state and before.steady:
                files[path] = before
            else:
                files[path] = await asyncio.to_thread(_read, path, state, before, accounts, now)
            self._note(path, before, files[path])
        if files != self._files:
            self._handed = await asyncio.to_thread(_still_named, self._handed, files.values())
        self._files = files

    def _note(self, path: str, before: _File, now: _File) -> None:
        if now.fails(before):
            log.warning(
                "file of sessions not read; what it named before stays followed",
                extra=fields(file=path, error=now.problem),
            )
            for account in {ref.account for ref in now.refs} or self._accounts:  # those it named last, else any's
                self._metrics.inc("telnyx_discovery_failures_total", (account, FILES))
        elif now.refs is not before.refs or (before.problem and not now.problem):
            log.info("file of sessions read", extra=fields(file=path, sessions=len(now.refs)))
            self._waiting.update((ref, None) for ref in now.refs if ref not in self._handed)

    async def _hand_over(self) -> None:
        while self._waiting:
            portion = list(islice(self._waiting, NOTICES_MAX))
            await self._ingest.ingest([SessionNotice(ref) for ref in portion], FILES)
            for ref in portion:
                del self._waiting[ref]
            self._handed.update(portion)

    async def _tell_success(self) -> None:
        now = self._clock.monotonic()
        due = self._succeeded_at is None or now - self._succeeded_at >= SUCCESS_SECONDS
        if due and not any(file.problem for file in self._files.values()):
            await self._ingest.mark_success(FILES, self._accounts)
            self._succeeded_at = now


# On the disk


def _survey(patterns: Sequence[str]) -> dict[str, _Stamp | str]:
    """Every file there is now, with its stamp or with what is wrong with it."""
    found: dict[str, _Stamp | str] = {}
    room = BYTES_TOTAL_MAX
    for path, literal in _paths(patterns).items():
        if len(found) == FILES_MAX:
            found[path] = f"is one of more than {FILES_MAX} files; put more sessions into one, and remove old files"
            break
        state = _state(path, literal=literal)
        if isinstance(state, tuple):
            room -= state[1]
            if room < 0:
                state = f"all files together are larger than {BYTES_TOTAL_MAX} bytes; remove old ones"
        if state is not None:
            found[path] = state
    return found


def _paths(patterns: Sequence[str]) -> dict[str, bool]:
    """The paths to look at, and whether each is named itself, or else found by a pattern."""
    paths: dict[str, bool] = {}
    for pattern in patterns:
        folder = os.path.dirname(pattern) or os.curdir  # noqa: PTH120 - patterns are text, and stay as written
        if not _MAGIC & set(pattern):
            paths[pattern] = True
        elif not _MAGIC & set(folder) and not _can_list(folder):
            paths[folder] = True  # to say what is wrong with it
        else:
            for path in sorted(glob.glob(pattern)):  # noqa: PTH207 - as above
                paths.setdefault(path, False)
    return paths


def _can_list(folder: str) -> bool:
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


def _state(path: str, *, literal: bool) -> _Stamp | str | None:
    """None: it is no concern of ours."""
    try:
        with _opened(path) as file:
            status = os.fstat(file)
    except FileNotFoundError:
        return _refused("there is no such file or directory") if literal else None  # gone since it was found
    except OSError as error:
        return _refused(str(error.strerror))
    if stat.S_ISREG(status.st_mode):
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns
    if stat.S_ISDIR(status.st_mode) and not literal:
        return None
    return _refused("it is no regular file")


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """Opened anew at each look, since only that tells whether it may be read; a pipe must not make us wait."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def _refused(reason: str) -> str:
    return f"cannot be read ({reason}); mend that, or correct discovery.files"


def _read(path: str, stamp: _Stamp, before: _File, accounts: Sequence[str], now: float) -> _File:
    try:
        with _opened(path) as file:
            content = _content(file)
    except OSError:
        return before  # it was changed just now; the next look says how
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


def _content(file: int) -> bytes:
    parts = []
    room = BYTES_MAX + 1  # one more than the reader takes, for it to refuse
    while room and (part := os.read(file, room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def _still_named(handed: Iterable[SessionRef], files: Iterable[_File]) -> set[SessionRef]:
    """What a vanished file named is forgotten here; if it comes back, the ledger knows its sessions."""
    named = {ref for file in files for ref in file.refs}
    return named.intersection(handed)
