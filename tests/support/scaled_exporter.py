"""Run an exporter on a scaled clock, as a process that can be killed: CONFIG PORT FACTOR START SINCE."""

import asyncio
import os
import sys
from pathlib import Path

from exporter.config import load
from exporter.runtime.app import App
from tests.support.clocks import ScaledClock


def main(path: str, port: str, *times: str) -> None:
    app = App(load(Path(path), os.environ), listen=f"127.0.0.1:{port}", clock=ScaledClock(*map(float, times)))
    asyncio.run(app.run())


if __name__ == "__main__":
    main(*sys.argv[1:])
