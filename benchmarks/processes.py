"""Start programs under measurement, read their pages, and read their CPU and memory from the kernel."""

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 180.0
PAUSE_SECONDS = 0.1


class Process:
    """A running program."""

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        self._started = started
        self.pid = started.pid

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ended(self) -> bool:
        return self._started.poll() is not None


@contextmanager
def program(*arguments: str, environ: Mapping[str, str] = {}) -> Iterator[Process]:
    """Run `python ARGUMENTS` for as long as the block lasts."""
    env = {**os.environ, **environ}
    started = subprocess.Popen([sys.executable, *arguments], env=env, stdout=subprocess.DEVNULL)
    try:
        yield Process(started)
    finally:
        started.terminate()
        started.wait(30)


def fetch(url: str, ca_file: Path | None = None) -> str:
    """Return the text at a URL; wait until a server listens there."""
    context = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS, context=context) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def value(page: str, start: str) -> float:
    """Return the sum of a page's samples whose lines begin with `start`."""
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(start))


def until(condition: Callable[[], bool]) -> None:
    """Wait for the work of another program, not for time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was still false after {PATIENCE_SECONDS:.0f} s")
        time.sleep(PAUSE_SECONDS)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
