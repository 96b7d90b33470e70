"""Runs tests against defects, in copies of the checkout: the working tree is never touched.

A defect is killed only if a test of its list fails. A test that can't be collected, a fixture that breaks, a name that
doesn't exist are errors of the list, and so is a time-out unless the defect is marked with `hangs`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from msgspec import Struct

from tools.mutants.defects import Defect

TIMEOUT_SECONDS = 90.0
"""For the tests of one defect; the slowest take a few seconds."""

WITHOUT_SERVER = "not postgresql"
"""A defect must be noticed without a database server: of a test that runs on either engine, only SQLite's part runs."""

_FAILED = re.compile(r"^FAILED (.*?)(?: - (.*))?$", re.MULTILINE)
_BROKEN = re.compile(r"(NameError|UnboundLocalError|ImportError|ModuleNotFoundError|SyntaxError)\b")
"""Errors of a defect that was written wrongly: no program with it would start."""


class Outcome(Struct, frozen=True):
    """The verdict on one defect."""

    verdict: Literal["killed", "survived", "error"]
    detail: str
    """The test that failed and how, or the error."""
    seconds: float = 0.0


class Checkouts:
    """Copies of a checkout, one for each process."""

    def __init__(self, top: Path, files: Iterable[str], folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        self.all = [folder / str(number) for number in range(count)]
        names = list(files)
        for copy in self.all:
            for name in names:
                if (top / name).is_file():  # git also lists files that were deleted
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(top / name, copy / name)
            self._free.put(copy)

    @contextmanager
    def one(self) -> Iterator[Path]:
        """Lend a copy that no other thread uses."""
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)


def checkout_files(top: Path) -> list[str]:
    """Return the files of a checkout that git doesn't ignore, those that aren't added yet included."""
    listed = _git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return list(filter(None, listed.split("\0")))


def changed_files(top: Path, since: str) -> list[str]:
    """Return the files that differ from a commit; raises ValueError if there is no such commit."""
    try:
        known = _git(top, "diff", "--name-only", "-z", since)
    except subprocess.CalledProcessError as error:
        raise ValueError(error.stderr.strip()) from None
    new = _git(top, "ls-files", "-z", "--others", "--exclude-standard")
    return list(filter(None, (known + new).split("\0")))


def _git(top: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=top, capture_output=True, text=True, check=True).stdout


def run(
    defects: Sequence[Defect],
    top: Path,
    files: Iterable[str],
    *,
    processes: int,
    report: Callable[[Defect | None, Outcome], None],
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[Outcome]:
    """Run each defect's tests and return the outcomes in the order of the defects.

    First all tests run without a defect: if one fails there, the only outcome is that error. `report` is called with
    each outcome as it comes, with no defect for that first run; it may be called from several threads.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        checkouts = Checkouts(top, files, Path(folder), processes)
        with ThreadPoolExecutor(processes) as threads:
            clean = _first(threads.map(lambda tests: _unchanged(checkouts, tests), _shares(defects, processes)))
            report(None, clean)
            if clean.verdict == "error":
                return [clean]

            def judged(defect: Defect) -> Outcome:
                outcome = _judge(checkouts, defect, timeout_seconds)
                report(defect, outcome)
                return outcome

            return list(threads.map(judged, defects))


def _shares(defects: Iterable[Defect], count: int) -> list[list[str]]:
    """Every named test once, in as many lists of whole files."""
    tests = sorted({test for defect in defects for test in defect.tests})
    files = sorted({test.partition("::")[0] for test in tests})
    shares = [[test for test in tests if test.partition("::")[0] in files[place::count]] for place in range(count)]
    return [share for share in shares if share]


def _first(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the first error, or that all is well."""
    found = list(outcomes)
    longest = max((outcome.seconds for outcome in found), default=0.0)
    return next((each for each in found if each.verdict == "error"), Outcome("survived", "", longest))


def _unchanged(checkouts: Checkouts, tests: Sequence[str]) -> Outcome:
    """Without a defect all tests must pass; this run also leaves the bytecode that the later ones start from."""
    started = time.monotonic()
    with checkouts.one() as copy:
        code, output = _pytest(copy, tests, None, PYTHONDONTWRITEBYTECODE="")
    if code != 0 or re.search(r"^SKIPPED", output, re.MULTILINE):
        return Outcome("error", f"without a defect, a test fails or is skipped:\n{output}")
    return Outcome("survived", "", time.monotonic() - started)


def _judge(checkouts: Checkouts, defect: Defect, timeout_seconds: float) -> Outcome:
    started = time.monotonic()
    with checkouts.one() as copy:
        try:
            with _applied(defect, copy):
                code, output = _pytest(copy, defect.tests, timeout_seconds, PYTHONDONTWRITEBYTECODE="1")
        except (OSError, ValueError) as error:
            return Outcome("error", str(error))
    return Outcome(*_verdict(defect, code, output), time.monotonic() - started)


@contextmanager
def _applied(defect: Defect, copy: Path) -> Iterator[None]:
    path = copy / defect.file
    text, before = path.read_text(), path.stat()
    path.write_text(defect.applied(text))
    # Bytecode is valid for a size and a time in whole seconds, so the changed file needs another time.
    os.utime(path, (before.st_atime, before.st_mtime + 10))
    try:
        yield
    finally:
        path.write_text(text)
        os.utime(path, (before.st_atime, before.st_mtime))


def _verdict(defect: Defect, code: int | None, output: str) -> tuple[Literal["killed", "survived", "error"], str]:
    failed = _FAILED.search(output)
    if code is None:
        return ("killed" if defect.hangs else "error"), "timed out"
    if code == 0:
        return "survived", ""
    if code == 1 and failed is not None:
        broken = _BROKEN.match(failed[2] or "")
        return ("error" if broken else "killed"), f"{failed[1]} - {failed[2]}"
    return "error", f"pytest ended with {code}:\n{output}"


def _pytest(
    copy: Path, tests: Sequence[str], timeout_seconds: float | None, **variables: str
) -> tuple[int | None, str]:
    """Return pytest's exit code and output; None as the code if it took too long."""
    options = ["-x", "-q", "--tb=no", "-rfEs", "-p", "no:cacheprovider", "-k", WITHOUT_SERVER]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    # Wide enough for the summary to show why a test failed.
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "400", **variables}
    with subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output
        return process.returncode, output
