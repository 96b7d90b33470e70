"""Serve session trees from static files, so cheaply that only the client is measured.

nginx serves the trees over TLS, compressed in advance. All are one simulated call under different ids, so all have the
same shape and each is booked as new.
"""

import gzip
import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from benchmarks.processes import Process, fetch, free_port
from simulator import SimulatorSettings
from simulator.events import SimulatedEvent, SimulatedSession
from simulator.tree import View, tree
from simulator.world import World

LEVELS = 5
"""The levels of a tree that the API returns in one answer."""
LATE = 4_000_000_000.0
_ID = re.compile("([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
DRAWN_MAX = 20_000

ACCOUNTS = tuple(f"account-{number}" for number in range(5))
"""Several accounts, because one exporter could reach the limit of 1,000 requests a second of a single account."""
KEYS = {f"BENCH_API_KEY_{number}": f"KEY-{number}" for number in range(len(ACCOUNTS))}
"""Environment variables with the accounts' keys; no two accounts may share a key."""

CONFIG = """\
accounts:
{accounts}
discovery:
  detail_records: {{record_types: []}}
  files: ["{folder}/sessions.json"]
polling: {{scheduler_interval_seconds: 0.05, min_interval_seconds: 1, max_interval_seconds: 1}}
ledger: {{url: "sqlite:///{folder}/ledger.sqlite"}}
"""
ACCOUNT = """\
  - name: {name}
    base_url: {origin}/v2
    ca_file: {ca_file}
    api_key_env: {variable}
    requests_per_second: 1000
    max_in_flight: {in_flight}
    balance_interval_seconds: 0
"""

NGINX = """\
worker_processes 1;
daemon off;
master_process off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 75s;
  open_file_cache max=100000 inactive=1h;
  open_file_cache_valid 1h;
  sendfile on;
  default_type application/json;
  gzip_static on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  ssl_certificate {folder}/server.crt;
  ssl_certificate_key {folder}/server.key;
  server {{
    listen 127.0.0.1:{port} ssl;
    root {folder}/www;
    {further}
  }}
}}
"""

SLOW = """\
    location / {{
      auth_basic trees;
      auth_basic_user_file {folder}/no-passwords;
      auth_delay {milliseconds}ms;
      error_page 401 =200 @tree;
    }}
    location @tree {{}}
"""
"""Make nginx answer late without a module: it delays the 401 of a request without password, then serves the tree."""


class ServedSession(Struct, frozen=True):
    """A session that is served."""

    record_type: str
    event_id: str


class Static(Struct, frozen=True):
    """A running server."""

    origin: str
    ca_file: Path
    sessions: tuple[ServedSession, ...]
    process: Process


def configuration(static: Static, folder: Path, in_flight: int) -> str:
    """Return the configuration of an exporter that polls all served sessions without a pause."""
    each = in_flight // len(ACCOUNTS)
    names = {"origin": static.origin, "ca_file": static.ca_file, "in_flight": each}
    keys = zip(ACCOUNTS, KEYS, strict=True)
    accounts = "".join(ACCOUNT.format(name=name, variable=variable, **names) for name, variable in keys)
    return CONFIG.format(accounts=accounts.rstrip(), folder=folder)


def session_entries(static: Static) -> list[dict[str, str]]:
    """Return the sessions as a list for the exporter, spread evenly over the accounts."""
    return [
        {"account": account, "record_type": name.record_type, "event_id": name.event_id}
        for account, name in zip(cycle(ACCOUNTS), static.sessions, strict=False)
    ]


@contextmanager
def serving(folder: Path, events: int, sessions: int, late_milliseconds: int = 0) -> Iterator[Static]:
    """Serve `sessions` sessions of `events` events each below `origin`/v2, for as long as the block lasts.

    Each answer is delayed by `late_milliseconds`.
    """
    names = tuple(_write(folder / "www" / "v2" / "session_analysis", events, sessions))
    _certify(folder)
    port = free_port()
    config = folder / "nginx.conf"
    further = SLOW.format(folder=folder, milliseconds=late_milliseconds) if late_milliseconds else ""
    config.write_text(NGINX.format(folder=folder, port=port, further=further))
    nginx = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)])
    try:
        origin = f"https://127.0.0.1:{port}"
        fetch(f"{origin}/v2/session_analysis/{names[0].record_type}/{names[0].event_id}", folder / "ca.crt")
        yield Static(origin, folder / "ca.crt", names, Process(nginx))
    finally:
        nginx.terminate()
        nginx.wait(30)


def _write(folder: Path, events: int, sessions: int) -> Iterator[ServedSession]:
    session = sized(events)
    root = session.events[0]
    text = json.dumps(tree(session, 0, LATE, View(LEVELS)))
    (folder / root.record_type).mkdir(parents=True)
    ids, parts = [event.id for event in session.events], _ID.split(text)
    for number in range(sessions):
        own = {known: str(uuid.uuid5(uuid.UUID(known), str(number))) for known in ids}
        copy = "".join(own.get(part, part) for part in parts)
        name = ServedSession(root.record_type, str(uuid.uuid5(uuid.UUID(root.id), str(number))))
        (folder / name.record_type / name.event_id).write_text(copy)
        (folder / name.record_type / f"{name.event_id}.gz").write_bytes(gzip.compress(copy.encode()))
        yield name


def sized(events: int) -> SimulatedSession:
    """Return a simulated AI call of so many events that fits in one answer; a short call gets more turns."""
    world = World(SimulatorSettings(speed=0.0), _EndOfTime())
    largest: SimulatedSession | None = None
    for number in range(1, DRAWN_MAX):
        session = world.session(number)
        if not _usual(session) or len(session.events) > events:
            continue
        if len(session.events) == events:
            return session
        if largest is None or len(session.events) > len(largest.events):
            largest = session
    assert largest is not None, "the simulator draws AI calls"
    return _lengthened(largest, events)


def _usual(session: SimulatedSession) -> bool:
    ai = any(event.record_type == "inference" for event in session.events)
    whole = session.roots == (0,) and session.events[0].record_type == "call-session"
    return ai and whole and _levels(session, 0) <= LEVELS


def _levels(session: SimulatedSession, index: int) -> int:
    return 1 + max((_levels(session, child) for child in session.children[index]), default=0)


def _lengthened(session: SimulatedSession, events: int) -> SimulatedSession:
    """Return the call with its turns repeated, up to so many events."""
    turns = [index for index, event in enumerate(session.events) if event.record_type == "inference"]
    children = [list(below) for below in session.children]
    longer: list[SimulatedEvent] = list(session.events)
    while len(longer) < events:
        turn = turns[len(longer) % len(turns)]
        above = next(index for index, below in enumerate(session.children) if turn in below)
        children[above].append(len(longer))
        children.append([])
        known = session.events[turn]
        longer.append(replace(known, id=str(uuid.uuid5(uuid.UUID(known.id), f"turn {len(longer)}"))))
    return replace(session, events=tuple(longer), children=tuple(map(tuple, children)))


def _certify(folder: Path) -> None:
    """Write a self-signed certificate, made by openssl."""
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    out = ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    subprocess.run(["openssl", "req", "-x509", *made, *subject, *out], check=True, capture_output=True)
    (folder / "ca.crt").write_text((folder / "server.crt").read_text())


class _EndOfTime:
    def now(self) -> float:
        return LATE
