"""In PostgreSQL no statement of a running exporter or its pages reads a large table from end to end."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from benchmarks import ledgers
from exporter.config import Config
from exporter.core.model import DetailRecord, SessionNotice, SessionRef
from exporter.ledger import Ledger, TotalsSettings, open_ledger, snapshot
from exporter.ledger.copy import copy
from exporter.ledger.views.listing import SessionQuery
from exporter.ledger.views.snapshot import Snapshot
from exporter.runtime.plan import policy
from tests.support.postgres import Postgres

SESSIONS = 4000
NOW = 1_800_000_000.0
SETTINGS = (
    "session_preload_libraries = auto_explain",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = on",
    "jit = off",
    "enable_seqscan = off",  # so that one stays only where no index will do, however small the table is here
)
SEEN_IN_VAIN = 500
"""Rows that a statement may read in vain; more would grow with the table."""
SMALL = {"meta", "leases", "writers", "series", "totals", "label_sets", "session_groups", "claims", "event_names"}
"""Tables whose size has a bound: by the configuration, or by the number of replicas."""


@pytest.fixture(scope="module")
def explained(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ledger with so many sessions of 11 events each, in a database that explains every statement to the log."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledgers.build(path, SESSIONS, NOW)
    name = postgres.create_database()
    copy(f"sqlite:///{path}", postgres.url(name), lambda _: None)
    postgres.execute("VACUUM ANALYZE", name)
    for setting in SETTINGS:
        postgres.execute(f"ALTER DATABASE {name} SET {setting}")
    yield postgres.url(name)
    postgres.drop_database(name)


def scans(server: Postgres, since: int) -> list[str]:
    """Return the statements in the log since `since` that read a large table from end to end."""
    found = []
    for entry in re.split(r"(?m)^(?=\d{4}-)", server.log()[since:]):
        tables = {name for name in re.findall(r"Seq Scan on (\w+)", entry) if not name.startswith("pg_")} - SMALL
        removed = max(map(int, re.findall(r"Rows Removed by Filter: (\d+)", entry)), default=0)
        if tables or removed > SEEN_IN_VAIN:
            found.append(entry[:2000])
    return found


def refs(*numbers: int) -> list[SessionRef]:
    return [SessionRef(ledgers.ACCOUNT, ledgers.RECORD_TYPE, ledgers.event_id(number)) for number in numbers]


def known(number: int) -> DetailRecord:
    """Return a detail record of a known session."""
    ref = refs(number)[0]
    return DetailRecord(ref.record_type, ref.event_id, NOW, None, "USD", SessionNotice(ref))


def poll_due(ledger: Ledger) -> None:
    """Poll due sessions in which nothing is new, and a new one."""
    new = SESSIONS + 1
    ledger.follow(refs(new), "file", NOW)
    claims = ledger.claim(NOW + 3600, {ledgers.ACCOUNT: 50})
    assert len(claims) == 50
    ledger.renew_claims(claims)
    numbers = {ref.event_id: number for number, ref in enumerate(refs(*range(new + 1)))}
    day = ledgers.day_before(NOW)
    ledger.commit(
        [ledgers.poll(claim, ledgers.session(numbers[claim.ref.event_id], day), NOW + 3600) for claim in claims[1:]]
    )
    ledger.defer(claims[0], NOW)


DOINGS: dict[str, Callable[[Ledger], object]] = {
    "polling": poll_due,
    "following": lambda ledger: ledger.follow(refs(1, 2, SESSIONS + 7), "webhook", NOW),
    "records": lambda ledger: ledger.ingest_records(ledgers.ACCOUNT, [known(3), known(SESSIONS + 8)], NOW),
    "times of records": lambda ledger: ledger.record_times(ledgers.ACCOUNT, "message", NOW - 3600, NOW),
    "awaiting": lambda ledger: (
        ledger.ingest_records(ledgers.ACCOUNT, [DetailRecord("t", "inference", NOW, None, "USD", None)], NOW),
        ledger.drop_booked_records(ledgers.ACCOUNT, ("", "")),
        ledger.follow_awaited(ledgers.ACCOUNT, NOW + 1e5, 30),
    ),
    "forgetting records": lambda ledger: ledger.forget_records(ledgers.ACCOUNT, {"message": NOW - 1e6}),
    "pruning": lambda ledger: ledger.prune(NOW + 1e9, 20),
    "pruning nothing": lambda ledger: ledger.prune(NOW - 1e9, 20),
    "how many are due": lambda ledger: ledger.count_due(NOW, [ledgers.ACCOUNT]),
    "starting": lambda ledger: (
        ledger.is_empty(),
        ledger.last_session_id(),
        ledger.count_unanswered([ledgers.ACCOUNT], 10),
        ledger.recent_sessions(NOW - 3600, 100),
        ledger.get_meta("x"),
    ),
    "summing up": lambda ledger: ledger.refresh_budgets(NOW),
    "writers": lambda ledger: (
        ledger.fold_dead_writers(),
        ledger.count_replicas(),
        ledger.acquire_lease("exposition", 10.0),
    ),
    "showing": lambda ledger: (ledger.changes(), ledger.totals(), ledger.size_bytes()),
    "hasten": lambda ledger: ledger.clamp_due(NOW),
}


@pytest.mark.parametrize("doing", DOINGS)
def test_a_running_exporter_reads_no_large_table(explained: str, postgres: Postgres, doing: str) -> None:
    """Each regular task finds its rows by an index."""
    since = len(postgres.log())
    with closing(open_ledger(explained, policy(Config()), TotalsSettings.of(Config()))) as ledger:
        DOINGS[doing](ledger)
    assert "Query Text:" in postgres.log()[since:]
    found = scans(postgres, since)
    assert not found, "\n".join(found)


LOOKS: dict[str, Callable[[Snapshot], object]] = {
    "by time": lambda view: view.sessions(SessionQuery()),
    "by cost": lambda view: view.sessions(SessionQuery(sort="cost", order="asc", currency="USD")),
    "by events, of a state": lambda view: view.sessions(SessionQuery(sort="events", state="settled")),
    "of an id's beginning": lambda view: view.sessions(SessionQuery(text=ledgers.event_id(1)[:6])),
    "of a failed check": lambda view: view.sessions(SessionQuery(check="event_sum")),
    "one": lambda view: (view.history(refs(3)[0]), view.by_id(ledgers.event_id(2))),
    "failures": lambda view: view.failures(50),
    "figures": lambda view: (view.states(), view.groups(), view.currencies()),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_page_reads_no_large_table(explained: str, postgres: Postgres, look: str) -> None:
    """With each filter and order."""
    since = len(postgres.log())
    with snapshot(explained) as view:
        LOOKS[look](view)
    assert "Query Text:" in postgres.log()[since:]
    found = scans(postgres, since)
    assert not found, "\n".join(found)
