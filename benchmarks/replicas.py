"""Measure exporters that share one PostgreSQL: their polls per second, and the cost of a poll by program.

CPU is read for the exporters, the server, and nginx, which stands for Telnyx. If one exporter keeps all cores busy,
more exporters poll no faster. So a second run has an API that answers late: its latency is then the limit, and only
waiting in the ledger can slow the exporters down.
"""

import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import yaml
from msgspec import Struct

from benchmarks.processes import Process, fetch, program, until, value
from benchmarks.servers import cpu_seconds, durable, logged
from benchmarks.static import KEYS, Static, configuration, serving, session_entries
from benchmarks.tables import milliseconds, table
from tests.support.postgres import Postgres, free_port

EVENTS = 11
REPLICAS = (1, 2, 4)
IN_FLIGHT, LATE_IN_FLIGHT = 50, 20
"""Requests in flight per exporter, in all accounts together."""
LATE_MILLISECONDS = 200
COMMITS = "telnyx_ledger_commit_duration_seconds"


class Size(Struct, frozen=True, kw_only=True):
    """The size of the measurement."""

    sessions: int = 4000
    """Each is polled once a second at most."""
    late_sessions: int = 600
    seconds: float = 6.0
    """Duration of the measured polls in which nothing has changed."""
    rounds: int = 2
    """Rounds at full speed. The late API needs only one, because its waits vary little."""
    replicas: Sequence[int] = REPLICAS


class Reading(Struct, frozen=True):
    """The counters of all programs at one moment; CPU and commits in seconds."""

    moment: float
    polls: float
    exporters: float
    server: float
    nginx: float
    log_bytes: float
    commits: float
    committing: float


class Round(Struct, frozen=True):
    """The difference of two readings; seconds or bytes per poll, unless the field says otherwise."""

    per_second: float
    exporters: float
    server: float
    nginx: float
    log_bytes: float
    commit: float
    """Seconds per commit, as the exporter measures them."""
    cores: float
    """Cores that these programs kept busy, on average."""

    @classmethod
    def between(cls, before: Reading, after: Reading) -> "Round":
        changes = [getattr(after, name) - getattr(before, name) for name in Reading.__struct_fields__]
        elapsed, polls, exporters, server, nginx, log_bytes, commits, committing = changes
        return cls(
            per_second=polls / elapsed,
            exporters=exporters / polls,
            server=server / polls,
            nginx=nginx / polls,
            log_bytes=log_bytes / polls,
            commit=committing / max(1, commits),  # a page may show a poll sooner than its commit
            cores=(exporters + server + nginx) / elapsed,
        )


Life = tuple[Round, Round]
"""The round while all events are new, and the one while nothing has changed."""


class ReplicaGroup:
    """Running exporters with the server and API they use."""

    def __init__(
        self, processes: Sequence[Process], ports: Sequence[int], nginx: Process, server: Postgres | None
    ) -> None:
        self._processes = processes
        self._origins = [f"http://127.0.0.1:{port}" for port in ports]
        self._nginx = nginx
        self._server = server

    def read(self) -> Reading:
        pages = self._pages()
        return Reading(
            moment=time.monotonic(),
            polls=_sum(pages, "telnyx_polls_total{"),
            exporters=sum(process.cpu_seconds for process in self._processes),
            server=0.0 if self._server is None else cpu_seconds(self._server),
            nginx=self._nginx.cpu_seconds,
            log_bytes=0.0 if self._server is None else logged(self._server),
            commits=_sum(pages, f"{COMMITS}_count"),
            committing=_sum(pages, f"{COMMITS}_sum"),
        )

    def polled(self, count: float) -> bool:
        """Return whether the exporters together have finished `count` polls."""
        return _sum(self._pages(), "telnyx_polls_total{") >= count

    def follow(self, static: Static) -> None:
        """Post all sessions to the first exporter, spread evenly over the accounts."""
        url, headers = f"{self._origins[0]}/api/v1/sessions", {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(session_entries(static)).encode(), headers), timeout=60
        ):
            pass

    def _pages(self) -> list[str]:
        return [fetch(f"{origin}/metrics") for origin in self._origins]


def _sum(pages: Sequence[str], start: str) -> float:
    return sum(value(page, start) for page in pages)


def report(size: Size) -> list[str]:
    """Return two tables: at full speed, and with an API that answers late."""
    return [
        "### Exporters that share one PostgreSQL",
        "",
        (
            f"{size.sessions:,} calls with {EVENTS} events, at full speed: {IN_FLIGHT} in flight per exporter,"
            " over TLS with gzip; exporters, PostgreSQL (durable, `fsync`) and nginx, which stands for"
            f" Telnyx, on the same cores; median of {size.rounds} round(s). First: all events are new. Again: nothing"
            " has changed. All share the cores: where one exporter keeps them busy, more poll no faster,"
            " and CPU per poll shows the cost of replicas."
        ),
        "",
        *_table(size, 0),
        "",
        (
            f"The same with {size.late_sessions:,} calls and an API that answers after {LATE_MILLISECONDS} ms, with"
            f" {LATE_IN_FLIGHT} in flight per exporter: that latency limits each to less than"
            f" {1000 * LATE_IN_FLIGHT / LATE_MILLISECONDS:.0f} polls a second; one round. If N exporters have less"
            " than N times the rate of one, they waited for each other in PostgreSQL, or for a core. At such rates a"
            " commit has few polls, so each poll takes more CPU."
        ),
        "",
        *_table(size, LATE_MILLISECONDS),
    ]


COLUMNS = (
    *("polls", "ledger, exporters", "polls/s", "ratio", "CPU per poll: exporters, ms", "PostgreSQL, ms", "nginx, ms"),
    *("log per poll, kB", "a commit, ms", "cores busy"),
)


def _table(size: Size, late: int) -> list[str]:
    contenders = [("PostgreSQL", count) for count in size.replicas]
    if not late:
        contenders.insert(0, ("SQLite", 1))
    sessions = size.late_sessions if late else size.sessions
    with (
        tempfile.TemporaryDirectory(prefix="bench-replicas-") as folder,
        serving(Path(folder), EVENTS, sessions, late) as static,
    ):
        lives: dict[tuple[str, int], list[Life]] = {who: [] for who in contenders}
        for _ in range(1 if late else size.rounds):  # in turns: a slow moment of the machine hits all
            for who, lived in lives.items():
                lived.append(_life(*who, static, late, size.seconds))
    return table(COLUMNS, _rows(lives, base=("PostgreSQL", size.replicas[0])))


def _rows(lives: dict[tuple[str, int], list[Life]], base: tuple[str, int]) -> Iterator[list[str]]:
    for place, name in enumerate(("first", "again")):
        found = {who: _median([life[place] for life in each]) for who, each in lives.items()}
        for (engine, count), one in found.items():
            yield [
                *(
                    name,
                    f"{engine}, {count}",
                    f"{one.per_second:,.0f}",
                    f"{one.per_second / found[base].per_second:.2f}",
                ),
                *map(milliseconds, (one.exporters, one.server, one.nginx)),
                *(f"{one.log_bytes / 1000:.1f}", f"{1000 * one.commit:.1f}", f"{one.cores:.2f}"),
            ]


def _median(rounds: Sequence[Round]) -> Round:
    return Round(*(statistics.median(getattr(each, name) for each in rounds) for name in Round.__struct_fields__))


def _life(engine: str, count: int, static: Static, late: int, seconds: float) -> Life:
    """Run `count` exporters on an empty ledger and return their two rounds."""
    sessions = len(static.sessions)
    with (
        tempfile.TemporaryDirectory(prefix="bench-replicas-") as folder,
        nullcontext() if engine == "SQLite" else durable() as server,
        _sharing(static, Path(folder), server, count, LATE_IN_FLIGHT if late else IN_FLIGHT) as sharing,
    ):
        start = sharing.read()
        sharing.follow(static)
        until(lambda: sharing.polled(sessions))
        first = sharing.read()
        until(lambda: sharing.polled(2 * sessions))  # by then all first polls have ended
        middle = sharing.read()
        time.sleep(seconds)  # no scrape meanwhile: it would cost the exporters CPU
        until(lambda: sharing.polled(middle.polls + 1))
        return Round.between(start, first), Round.between(middle, sharing.read())


@contextmanager
def _sharing(
    static: Static, folder: Path, server: Postgres | None, count: int, in_flight: int
) -> Iterator[ReplicaGroup]:
    """Start `count` exporters on one ledger and wait until all are ready."""
    url = f"sqlite:///{folder}/ledger.sqlite" if server is None else server.url(server.create_database())
    config = folder / "config.yaml"
    config.write_text(_config(static, url, in_flight))
    ports = [free_port() for _ in range(count)]
    with ExitStack() as stack:
        processes = [stack.enter_context(_exporter(config, port)) for port in ports]
        until(lambda: _alive(processes) and all(map(_ready, ports)))
        yield ReplicaGroup(processes, ports, static.process, server)


@contextmanager
def _exporter(config: Path, port: int) -> Iterator[Process]:
    flags = ("--config.file", str(config), "--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error")
    with program("-m", "exporter", "run", *flags, environ=KEYS) as running:
        yield running


def _alive(processes: Sequence[Process]) -> bool:
    """Return True; raise RuntimeError if an exporter has ended. Its log is on stderr."""
    if any(process.ended() for process in processes):
        raise RuntimeError("an exporter has ended")
    return True


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=10):
            return True
    except OSError:
        return False


def _config(static: Static, url: str, in_flight: int) -> str:
    """Return the configuration of the polling benchmarks with another ledger, and sessions over HTTP."""
    config = yaml.safe_load(configuration(static, Path("-"), in_flight))
    config["discovery"] = {"detail_records": {"record_types": []}, "http": {"enabled": True}}
    config["ledger"] = {"url": url}
    return yaml.safe_dump(config)
