"""Measure requests per session and delay of the final bill, by source and poll interval: `make bench-sessions`.

Each row is the same simulated world with another configuration of the exporter. All sources can report the measured
calls and messages.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from msgspec import Struct

from benchmarks import following
from benchmarks.following import FollowedSession, Measurement, Sources
from benchmarks.tables import printed, table
from exporter.config import PollingSettings
from simulator import WORLD_B, SimulatorSettings, running

SESSIONS_PER_HOUR = 60
SESSIONS, PROCESSES = 40, 2
"""The number of sessions, one per minute, and of rows measured in parallel: real time doesn't matter here."""
STEP_SECONDS = 2.0
"""A measured delay is too long by up to this."""


class Way(Struct, frozen=True):
    """One way to set the exporter up: its name in the table, and what differs from the defaults."""

    name: str
    sources: Sources
    polling: PollingSettings = PollingSettings()


HANDED_OVER = Sources(handed_over=True)
WAYS = (
    Way("detail records (the default)", Sources(detail_records=True)),
    Way("webhooks", Sources(webhooks=True)),
    Way("webhooks and detail records", Sources(webhooks=True, detail_records=True)),
    Way("a list, when they begin", HANDED_OVER),
    Way("a list, `max_interval_seconds: 900`", HANDED_OVER, PollingSettings(max_interval_seconds=900.0)),
    Way("a list, `max_interval_seconds: 14400`", HANDED_OVER, PollingSettings(max_interval_seconds=14_400.0)),
)
COLUMNS = (
    "reported by",
    "settled",
    "requests: per session",
    "per AI call, mean / most",
    "lists of records per hour",
    "rated to visible, AI calls, s: p50 / p99 / max",
    "all, s: p50 / p99 / max",
)


def measure(*, quick: bool) -> list[str]:
    """Return a row for each source of sessions."""
    sessions = SESSIONS // 4 if quick else SESSIONS
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        rows = [cells(way, each) for way, each in zip(WAYS, pool.map(partial(played, sessions), WAYS), strict=True)]
    return [
        "### Requests per settled session, and how soon a rated bill is seen",
        "",
        (
            f"The exporter on a simulated world's clock, which moves in steps of {STEP_SECONDS:.0f} s: {sessions} calls"
            " and messages that every source can show, with the defaults but for what the row says."
        ),
        "",
        *table(COLUMNS, rows),
    ]


def played(sessions: int, way: Way) -> Measurement:
    world = SimulatorSettings(
        speed=0.0,
        sessions_per_hour=SESSIONS_PER_HOUR,
        sessions_max=sessions,
        api=WORLD_B,
        quotas={"detail_records": 1_000_000},  # a minute of real time has many hours of session time
    )
    with (
        tempfile.TemporaryDirectory(prefix="bench-sessions-") as folder,
        running(world, time.monotonic, wall=time.time) as simulated,
    ):
        playing = following.measure(
            simulated, Path(folder), way.sources, polling=way.polling, step_seconds=STEP_SECONDS
        )
        return asyncio.run(playing)


def cells(way: Way, measured: Measurement) -> Sequence[str]:
    settled = [session for session in measured.sessions if session.settled]
    calls = [session for session in settled if session.ai_call]
    return (
        way.name,
        f"{len(settled)} of {len(measured.sessions)}",
        f"{statistics.mean(session.requests for session in settled):.1f}",
        f"{statistics.mean(call.requests for call in calls):.1f} / {max(call.requests for call in calls)}",
        f"{measured.listings_per_hour:.0f}",
        lateness(calls),
        lateness(settled),
    )


def lateness(sessions: Sequence[FollowedSession]) -> str:
    late = [session.late for session in sessions if session.late is not None]
    ranked = statistics.quantiles(late, n=100, method="inclusive")
    never = len(sessions) - len(late)
    return f"{ranked[49]:.0f} / {ranked[98]:.0f} / {max(late):.0f}" + (f" ({never} never)" if never else "")


if __name__ == "__main__":
    printed(measure, "Requests per settled session, and how soon a rated bill is seen.")
