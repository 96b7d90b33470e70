"""A temporary folder for server programs, removed with all of them when the process that made it ends.

A program belongs to the folder if its working directory lies below it, so children of servers belong to it too. A
cleaner process waits for its standard input to close, which the kernel does even if the parent is killed. It has a
session of its own, so Ctrl-C doesn't reach it. Linux only: it reads /proc.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OWNER = "postgres" if os.geteuid() == 0 else None
"""The user of the programs, since PostgreSQL refuses root. None: the current user."""

POLL_SECONDS = 0.01


@contextmanager
def process_folder(name: str) -> Iterator[Path]:
    """Make a folder that OWNER may write to; kill its processes and remove it when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"telnyx-{name}-"))
    cleaner = subprocess.Popen([sys.executable, __file__, folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield give_to_owner(folder)
    finally:
        assert cleaner.stdin is not None
        cleaner.stdin.close()
        cleaner.wait()


def give_to_owner(folder: Path) -> Path:
    """Give the folder to the programs' user; return it."""
    if OWNER:
        shutil.chown(folder, OWNER, OWNER)
    return folder


def processes_in(folder: Path) -> list[int]:
    """Return the ids of the processes that work in or below the folder; a zombie has no working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            directory = str((entry / "cwd").readlink()).removesuffix(" (deleted)")
            if Path(directory).is_relative_to(folder):
                found.append(int(entry.name))
    return found


def kill_all(folder: Path) -> None:
    """Send SIGKILL to the processes of the folder until there are none."""
    while working := processes_in(folder):
        for process in working:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _remove_after_input(folder: Path) -> None:
    """Wait for the end of the input, which comes when the parent ends; then clean up."""
    sys.stdin.read()
    kill_all(folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    _remove_after_input(Path(sys.argv[1]))
