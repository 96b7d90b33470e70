"""Requests until a session settles, and the delay until a rated bill is booked."""

import asyncio
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.following import Sources, measure
from exporter.core.model import SessionNotice
from simulator import SimulatorSettings, running
from tests.ledger.test_ledger import opened, ref
from tests.support.exporting import PLENTY

pytestmark = pytest.mark.slow

STEP_SECONDS = 20.0
WORLD = SimulatorSettings(speed=0.0, sessions_per_hour=30, sessions_max=20, quotas=PLENTY)
"""None of its trees is deeper than one answer shows; a deeper one takes one more request per poll."""


@pytest.mark.parametrize("detail_records", [False, True])
def test_an_ai_call_settles_with_six_requests_and_its_bill_is_seen_within_a_minute(
    tmp_path: Path, *, detail_records: bool
) -> None:
    """With webhooks and the default intervals, from the first event to settling, although the first poll gets a 404.

    Detail records add no request where `call.cost` has come before.
    """
    sources = Sources(webhooks=True, detail_records=detail_records)
    with running(WORLD, time.monotonic, wall=time.time) as simulated:
        with closing(opened(tmp_path / "ledger.sqlite")) as ledger:
            ledger.report([SessionNotice(ref("rated before"), "rated")], "webhooks", simulated.clock.now())
        measuring = measure(simulated, tmp_path, sources, step_seconds=STEP_SECONDS)
        calls = [session for session in asyncio.run(measuring).sessions if session.ai_call]
    assert len(calls) > 3
    assert all(call.settled for call in calls)
    assert max(call.requests for call in calls) <= 6
    assert [call.late for call in calls if call.late is None or call.late > 60] == []
