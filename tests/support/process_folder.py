"""A folder for server programs that ends with whoever made it, and with it every program that works in it.

A program is the folder's if its working directory lies below it: that also finds what servers start themselves. The
keeper is a process of its own in a session of its own, so Ctrl-C doesn't reach it; it waits for its input to close,
which the kernel sees to even if the maker is killed. Linux only: it reads /proc.
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
"""Who runs the programs: PostgreSQL refuses root. None is oneself."""

POLL_SECONDS = 0.01


@contextmanager
def process_folder(name: str) -> Iterator[Path]:
    """A folder that the owner may write to; gone after the block with all that works in it, however that ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"telnyx-{name}-"))
    keeper = subprocess.Popen([sys.executable, __file__, folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield give_to_owner(folder)
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait()


def give_to_owner(folder: Path) -> Path:
    """The folder, which the programs' owner may now write to."""
    if OWNER:
        shutil.chown(folder, OWNER, OWNER)
    return folder


def processes_in(folder: Path) -> list[int]:
    """The processes whose working directory is the folder or lies below it; a zombie has none."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            place = str((entry / "cwd").readlink()).removesuffix(" (deleted)")
            if Path(place).is_relative_to(folder):
                found.append(int(entry.name))
    return found


def kill_all(folder: Path) -> None:
    """SIGKILL to all that work in the folder, until nothing does."""
    while working := processes_in(folder):
        for process in working:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _remove_after_input(folder: Path) -> None:
    """The keeper's life: its input says nothing, and ends with the maker."""
    sys.stdin.read()
    kill_all(folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    _remove_after_input(Path(sys.argv[1]))
