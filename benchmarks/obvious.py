"""Run the obvious stack as a baseline: httpx with its defaults, json, one commit per session, prometheus_client.

It is written as one would in an afternoon: it follows sessions, stores the cost of each event in SQLite so that a
restart doesn't count again, and counts differences. It retries nothing, stitches nothing and verifies nothing.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import Counter, start_http_server

IN_FLIGHT = 50
DEFAULT_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)
"""The default of httpx."""

POLLS = Counter("telnyx_polls", "Finished polls.", ["account"])
COST = Counter("telnyx_cost", "Event costs.", ["account", "record_type", "product", "currency"])
EVENTS = Counter("telnyx_events", "Events.", ["account", "record_type", "product"])
TURNS = Counter("telnyx_inference_turns", "LLM turns.", ["account", "model"])
TOKENS = Counter("telnyx_inference_tokens", "Tokens.", ["account", "model", "token_direction"])
SECONDS = Counter("telnyx_billed_seconds", "Billed seconds.", ["account", "record_type"])


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node["children"]:
        yield from walk(child)


def book(ledger: sqlite3.Connection, session: str, tree: dict[str, Any]) -> None:
    known = dict(ledger.execute("SELECT id, cost FROM events WHERE session = ?", (session,)).fetchall())
    rows = []
    for node in walk(tree["root"]):
        name = node["links"]["self"].split("/")[3]
        cost = float((node["cost"] or {}).get("event_cost") or 0)
        record = node["record"]
        if node["id"] not in known:
            EVENTS.labels("main", name, node["product"]).inc()
            if name == "inference":
                model = record.get("model", "unknown")
                TURNS.labels("main", model).inc()
                TOKENS.labels("main", model, "input").inc(record.get("input_tokens", 0))
                TOKENS.labels("main", model, "output").inc(record.get("output_tokens", 0))
            SECONDS.labels("main", name).inc(float(record.get("billed_sec") or 0))
        difference = cost - known.get(node["id"], 0)
        if difference > 0:
            COST.labels("main", name, node["product"], node["cost"]["currency"]).inc(difference)
        rows.append((node["id"], session, name, node["product"], cost))
    ledger.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", rows)
    ledger.commit()


async def poll(client: httpx.AsyncClient, places: asyncio.Semaphore, ledger: sqlite3.Connection, path: str) -> None:
    async with places:
        answer = await client.get(path, params={"max_depth": 5, "expand": "record"})
        answer.raise_for_status()
        book(ledger, path, answer.json())
        POLLS.labels("main").inc()


async def run(origin: str, ca_file: str, names: list[dict[str, str]], ledger: sqlite3.Connection, kept: int) -> None:
    paths = [f"/v2/session_analysis/{name['record_type']}/{name['event_id']}" for name in names]
    places = asyncio.Semaphore(IN_FLIGHT)
    headers = {"Authorization": "Bearer KEY-simulator"}
    limits = httpx.Limits(max_connections=kept, max_keepalive_connections=kept) if kept else DEFAULT_LIMITS
    async with httpx.AsyncClient(base_url=origin, headers=headers, verify=ca_file, limits=limits) as client:
        while True:
            await asyncio.gather(*(poll(client, places, ledger, path) for path in paths))


def main() -> None:
    origin, ca_file, sessions, ledger_file, port, *kept = sys.argv[1:]
    ledger = sqlite3.connect(ledger_file)
    ledger.execute("PRAGMA journal_mode = WAL")
    ledger.execute("CREATE TABLE IF NOT EXISTS events (id PRIMARY KEY, session, record_type, product, cost)")
    ledger.execute("CREATE INDEX IF NOT EXISTS by_session ON events (session)")
    start_http_server(int(port), "127.0.0.1")
    asyncio.run(run(origin, ca_file, json.loads(Path(sessions).read_text()), ledger, int(kept[0]) if kept else 0))


if __name__ == "__main__":
    main()
