"""A day of calls under the quotas of a live account: every record is listed, and no request is refused."""

import asyncio
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import DetailRecordSettings, DiscoverySettings
from simulator import WORLDS, Running, SimulatorSettings, running
from tests.support.clocks import ScaledClock
from tests.support.exporting import PATIENCE_SECONDS, Exporting, Samples, config, exporting, followed, visible

pytestmark = pytest.mark.slow

HOUR = 3600.0
HOURS = 24 if os.environ.get("FULL") == "1" else 3
CALLS_PER_HOUR = 318 / 24
FACTOR = 1200.0
RATED_HOURS = 3
"""After this time all is rated, and its records are listed."""
LISTS = 40
COVERAGE = "telnyx_detail_record_cost_total"


def listed(samples: Samples) -> dict[tuple[str, str], Decimal]:
    """Return the cost of the listed records by record type and currency."""
    found = {}
    for (name, labels), value in samples.items():
        if name == COVERAGE and value:
            by = dict(labels)
            found[by["record_type"], by["currency"]] = value
    return found


def true(truth: dict[str, Any]) -> dict[tuple[str, str], Decimal]:
    """Return the same by the simulator."""
    sums = {(each["record_type"], each["currency"]): Decimal(each["cost"]) for each in truth["records"]}
    return {key: cost for key, cost in sums.items() if cost}


async def until_all_is_listed(exporter: Exporting, end: float) -> None:
    async def all_listed() -> bool:
        if exporter.simulated.clock.now() < end:
            return False
        exporter.publish()
        return listed(await exporter.samples()) == true(await exporter.truth())

    await exporter.until(all_listed, HOURS * HOUR / FACTOR + PATIENCE_SECONDS)


@pytest.mark.timeout(HOURS * HOUR / FACTOR + 150)
@pytest.mark.parametrize("world", WORLDS)
def test_each_record_of_a_day_is_listed_and_no_list_is_refused(tmp_path: Path, world: str) -> None:
    """Calls of some eleven records arrive over hours; lists keep to 40 requests a minute from the first one on."""
    settings = SimulatorSettings(
        speed=FACTOR,
        sessions_per_hour=CALLS_PER_HOUR,
        sessions_max=round(HOURS * CALLS_PER_HOUR),
        rating_delay_scale=0.3,
        detail_records_late_seconds=HOUR,
        api=WORLDS[world],
        quotas={"detail_records": LISTS},
    )
    clock = ScaledClock(FACTOR, settings.start, time.monotonic())

    async def play(simulated: Running) -> None:
        plain = config(simulated, tmp_path)
        records = DetailRecordSettings(first_lookback_seconds=0.0)
        plain = replace(plain, discovery=DiscoverySettings(detail_records=records))
        async with exporting(plain, simulated, clock) as exporter:
            await until_all_is_listed(exporter, settings.start + (HOURS + RATED_HOURS) * HOUR)
            roots, _ = visible(simulated, lambda ref: ref.detail_records)
            known = await followed(exporter)
            named = {root for root in roots if root[0] in {"call-session", "message"}}  # the others wait for a tree
            assert len(named) > 10
            assert named <= known.keys()
            assert set(known.values()) == {1}
            failures = {key: value for key, value in (await exporter.samples()).items() if key[0] == FAILURES}
            assert set(failures.values()) == {0}
        quota = simulated.quotas["detail_records"]
        assert (quota.refused, quota.busiest_minute <= LISTS) == (0, True)

    with running(settings, time.monotonic, wall=clock.now) as simulated:
        asyncio.run(play(simulated))


FAILURES = "telnyx_detail_record_failures_total"
