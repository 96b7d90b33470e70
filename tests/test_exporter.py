"""The whole exporter: from the API's answers to /metrics."""

import asyncio
import time
from decimal import Decimal
from pathlib import Path

from exporter.config import ConfiguredSession, Metrics
from exporter.simulator import DOCUMENTED_ID, Settings, running
from tests.exporting import config, exporting, net, same, stated

HOUR = 3600.0
STILL = Settings(speed=0.0, sessions_max=0, documented_example=True)


def test_a_simulated_day_is_booked_to_the_last_digit(tmp_path: Path) -> None:
    """Hundreds of live sessions, polled while they grow and are rated late: /metrics equals the truth."""

    async def day() -> None:
        with running(Settings(speed=0.0, sessions_per_hour=12, seed=3), time.monotonic) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                for _ in range(24):
                    simulated.clock.step(HOUR)
                    await exporter.follow_begun()
                    await exporter.drained()
                samples, truth = await exporter.samples(), await exporter.truth()
                assert truth["sessions"] > 200
                assert same(net(samples), stated(truth)), (net(samples), stated(truth))
                turns = sum(v for (name, _), v in samples.items() if name == "telnyx_inference_turns_total")
                events = sum(v for (name, _), v in samples.items() if name == "telnyx_events_total")
                assert (turns, events) == (truth["inference_turns"], truth["events"])
                failing = {k: v for (k, v) in samples.items() if k[0] == "telnyx_unreconciled_sessions" and v}
                assert failing == {}

    asyncio.run(day())
