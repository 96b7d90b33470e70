"""Pictures of the pages for the README: `make screenshots-pages`.

The real exporter follows a simulated day whose bills are rated late and amended, and Chromium looks at the list of
sessions, the most expensive first, and at one of them.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import async_playwright

from exporter.config import ConfiguredSession
from simulator import DOCUMENTED_ID, Bills, SimulatorSettings, running
from tests.support.exporting import Exporting, config, exporting
from tools.screenshots import IMAGES, program

WORLD = SimulatorSettings(speed=0.0, sessions_per_hour=40.0, documented_example=True, bills=Bills(amended_share=0.3))
HOURS = 10
WIDTH, HEIGHT, LONG = 1100, 760, 1400
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


async def draw(exporter: Exporting, chromium: Path) -> None:
    """Draw the pictures, in light mode and one size."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        await page.goto(f"{exporter.origin}/sessions?sort=cost")
        await page.screenshot(path=IMAGES / "sessions.png")
        await page.set_viewport_size({"width": WIDTH, "height": LONG})
        await page.goto(f"{exporter.origin}/sessions/by-id/{DOCUMENTED_ID}")
        await page.screenshot(path=IMAGES / "session.png")
        await browser.close()


async def play(chromium: Path, folder: Path) -> None:
    example = ConfiguredSession(record_type="call-session", event_id=DOCUMENTED_ID)
    with running(WORLD, time.monotonic) as simulated:
        async with exporting(config(simulated, folder, sessions=(example,)), simulated) as exporter:
            for _ in range(HOURS):
                simulated.clock.step(3600.0)
                await exporter.follow_started()
                await exporter.drained()
            await draw(exporter, chromium)


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name:
        asyncio.run(play(program("chromium"), Path(name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
