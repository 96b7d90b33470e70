"""Run an exporter whose session time another process moves, as a process that can be killed: CONFIG PORT CLOCK.

CLOCK is a file of 8 bytes with the session time. What the exporter does every minute of real time, it does here every
day of session time, since a year passes in a minute.
"""

import asyncio
import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

from exporter.config import load
from exporter.runtime.app import App
from tests.support.clocks import RealSleep

DAY = 86_400.0
CHECK_SECONDS = 0.01


class SharedClock(RealSleep):
    """The session time in a file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 8)

    def now(self) -> float:
        (now,) = struct.unpack("d", self._bytes)
        return float(now)

    def set(self, now: float) -> None:
        self._bytes[:] = struct.pack("d", now)

    def monotonic(self) -> float:
        return time.monotonic()


async def run(app: App, clock: SharedClock) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.stop)
    running = asyncio.create_task(app.run())
    await app.started.wait()
    maintained_at = clock.now()
    while not running.done():
        if clock.now() >= maintained_at + DAY:
            maintained_at = clock.now()
            await app.maintenance.maintain()
        await asyncio.sleep(CHECK_SECONDS)
    await running


def main(path: str, port: str, clock_file: str) -> None:
    clock = SharedClock(Path(clock_file))
    app = App(load(Path(path), os.environ), listen=f"127.0.0.1:{port}", clock=clock)
    asyncio.run(run(app, clock))


if __name__ == "__main__":
    main(*sys.argv[1:])
