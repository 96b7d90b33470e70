"""All sources together, and each alone: every reported session is followed once and booked exactly."""

import asyncio
import base64
import os
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import Config, DetailRecordSettings, DiscoverySettings
from simulator import MIXED, WORLD_A, WORLD_B, Running, SimulatedWebhooks, SimulatorSettings, running
from tests.metrics.test_zero_start_in_prometheus import free_ports
from tests.support.exporting import (
    NO_RECORDS,
    PLENTY,
    Exporting,
    config,
    exporting,
    followed,
    net,
    same,
    visible,
)

pytestmark = pytest.mark.slow

HOUR = 3600.0
SESSIONS = 5000 if os.environ.get("FULL") == "1" else 500
LOSSY = SimulatedWebhooks(lost_share=0.2, duplicated_share=0.1, delay_seconds=900.0)
WORLD = SimulatorSettings(
    speed=0.0,
    sessions_per_hour=100,
    sessions_max=SESSIONS,
    detail_records_late_seconds=2 * HOUR,
    webhooks=LOSSY,
    quotas=PLENTY,
)
POLICY_DAYS = 37
"""Days until after the last recheck."""


def taking_webhooks(simulated: Running, folder: Path, discovery: DiscoverySettings) -> Config:
    plain = config(simulated, folder, discovery=discovery)
    key = base64.b64decode(simulated.public_key)
    return replace(plain, accounts=(replace(plain.accounts[0], webhook_key=key, requests_per_second=1000),))


async def step(exporter: Exporting, seconds: float) -> None:
    """Step session time, and wait until all webhooks are delivered and all polls are booked."""
    exporter.simulated.clock.step(seconds)

    async def delivered() -> bool:
        state = (await exporter.http.get(f"{exporter.simulated.origin}/_webhooks")).json()
        return bool(state["due"] == 0)

    await exporter.until(delivered)
    await exporter.drained()


async def live(folder: Path, simulated: Running, discovery: DiscoverySettings) -> tuple[dict[Any, int], Any]:
    """Run all sessions with restarts and rechecks; return how often each is followed, and the last page."""
    port, _ = free_ports()
    hours = round(SESSIONS / WORLD.sessions_per_hour)
    for _ in range(4):
        async with exporting(taking_webhooks(simulated, folder, discovery), simulated, port=port) as exporter:
            await exporter.http.post(
                f"{simulated.origin}/_webhooks", json={"url": f"http://127.0.0.1:{port}/webhooks/telnyx/main"}
            )
            for _ in range(hours // 2):
                await step(exporter, HOUR)
    async with exporting(taking_webhooks(simulated, folder, discovery), simulated, port=port) as exporter:
        for _ in range(POLICY_DAYS):
            await step(exporter, 24 * HOUR)
        return await followed(exporter), await exporter.samples()


RECORDS = DetailRecordSettings(first_lookback_seconds=0.0)
EITHER = (DiscoverySettings(detail_records=RECORDS), lambda ref: ref.webhooks or ref.detail_records, 900)
SOURCES = {
    "webhooks and detail records, as measured": (WORLD_A, *EITHER),
    "webhooks and detail records, as documented": (WORLD_B, *EITHER),
    "webhooks and detail records, some of each": (MIXED, *EITHER),
    "webhooks alone": (
        WORLD_A,
        DiscoverySettings(detail_records=NO_RECORDS),
        lambda ref: ref.webhooks or ref.record_type == "fax-api",
        800,
    ),
}


@pytest.mark.timeout(900 if SESSIONS == 500 else 3600)
@pytest.mark.parametrize("sources", SOURCES)
def test_every_session_is_followed_once_and_the_totals_are_exact(tmp_path: Path, sources: str) -> None:
    """With lost, doubled and reordered webhooks, late records and restarts, each session and each cost counts once.

    Webhooks alone lose nothing only if none is lost: then each is delivered at least once, in any order.
    """
    api, discovery, source, least = SOURCES[sources]
    lost_share = 0.0 if sources == "webhooks alone" else LOSSY.lost_share
    world = replace(WORLD, api=api, webhooks=replace(LOSSY, lost_share=lost_share))
    with running(world, time.monotonic, wall=time.time) as simulated:
        known, samples = asyncio.run(live(tmp_path, simulated, discovery))
        roots, sums = visible(simulated, source)
        assert len(roots) > least * SESSIONS / 1000
        assert roots - known.keys() == set()
        assert set(known.values()) == {1}
        assert same(net(samples), sums)
        by_webhooks = samples["telnyx_discovered_sessions_total", (("account", "main"), ("source", "webhooks"))]
        assert by_webhooks > 0.6 * len(roots)
