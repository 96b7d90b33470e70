"""Retention, budgets, thresholds, migrations, the audit and renamed accounts."""

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import Budget, Config, Threshold
from exporter.core.errors import LedgerError
from exporter.core.model import Poll
from exporter.ledger import Ledger, TotalsSettings
from tests.ledger.test_ledger import ALL, CALL, SETTINGS, book, net, opened, poll, ref, state, values
from tests.support.trees import node

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2
"""2024-10-04T12:00:00Z."""


def dated(found: Poll, *times: float | None) -> Poll:
    """Return the poll with its events at these times."""
    return replace(found, attributes=tuple(replace(f, at=at) for f, at in zip(found.attributes, times, strict=True)))


def book_at(ledger: Ledger, tree: dict[str, Any], now: float, *times: float | None) -> None:
    (claim,) = ledger.claim(now, ALL)
    ledger.commit([dated(poll(claim, tree, now), *times)])


def settled(path: Path | str, settings: TotalsSettings = SETTINGS) -> Ledger:
    """Return a ledger with CALL booked and settled, all its events at NOON."""
    ledger = opened(path, settings)
    ledger.follow([ref("s")], "file", NOON)
    book_at(ledger, CALL, NOON, NOON, NOON, NOON)
    book_at(ledger, CALL, NOON + 3601, NOON, NOON, NOON)
    return ledger


# Retention


def test_a_pruned_session_is_gone_and_its_money_stays(ledger_url: str) -> None:
    """Events, tree and session are deleted; totals stay; gauges of the ledger's content fall."""
    ledger = settled(ledger_url)
    before = net(ledger)
    assert ledger.prune(NOON - 1, 100)[0] == 0
    assert ledger.prune(NOON + 1, 100)[0] == 1
    assert net(ledger) == before
    assert state(ledger) == {}
    assert values(ledger, "telnyx_ledger_events") == {(): Decimal(0)}
    assert ledger.check() == []
    ledger.close()


@pytest.mark.parametrize("why", ["configured", "live"])
def test_sessions_whose_bill_may_change_are_never_pruned(ledger_url: str, why: str) -> None:
    """Configured sessions and live ones are kept."""
    ledger = opened(ledger_url)
    if why == "configured":
        ledger.configure([ref("s")], NOON)
    else:
        ledger.follow([ref("s")], "file", NOON)
    book_at(ledger, CALL, NOON, NOON, NOON, NOON)
    if why != "live":
        book_at(ledger, CALL, NOON + 3601, NOON, NOON, NOON)
    assert ledger.prune(NOON + 1000 * DAY, 100)[0] == 0
    ledger.close()


def test_a_session_without_any_time_is_as_old_as_its_first_poll(ledger_url: str) -> None:
    """So the ledger doesn't grow for ever where records aren't requested."""
    ledger = opened(ledger_url)
    ledger.follow([ref("s")], "file", NOON)
    for now in (NOON, NOON + 3601):
        book_at(ledger, CALL, now, None, None, None)
    assert [ledger.prune(NOON + later, 100)[0] for later in (0, 1)] == [0, 1]
    ledger.close()


def test_a_session_that_never_existed_is_pruned_too(ledger_url: str) -> None:
    """A session that the API has never known is deleted once it is missing and old."""
    ledger = opened(ledger_url)
    ledger.follow([ref("nobody")], "file", 0.0)
    book(ledger, None, 0.0)
    book(ledger, None, 8000.0)
    assert state(ledger) == {"missing": 1}
    assert ledger.prune(100 * DAY, 100)[0] == 1
    assert state(ledger) == {}
    ledger.close()


OTHERS = (
    "INSERT INTO substitutes VALUES (?, 'call-control', 'c')",
    "INSERT INTO amendments (session, at, record_type, event_id, currency) VALUES (?, 0, 'call-control', 'c', 'USD')",
    "INSERT INTO root_ids VALUES ('r', ?)",
    "INSERT INTO failures (session, at, outcome, reason, detail) VALUES (?, 0, 'failed', 'http_5xx', '')",
)
"""Rows that a session has only after more than these tests do with it."""
TABLES = {"sessions": "id", "events": "owner"} | dict.fromkeys(
    ("substitutes", "trees", "amendments", "session_index", "session_index_costs", "root_ids", "failures"), "session"
)
"""All tables with rows of a session, and the column with its id."""


def sessions_by_table(ledger: Ledger) -> dict[str, set[int]]:
    """Return the ids of the sessions that each table has rows of."""
    asked = ledger._connection.execute  # noqa: SLF001 - no method returns pruned rows
    return {table: {number for (number,) in asked(f"SELECT {name} FROM {table}")} for table, name in TABLES.items()}


def test_pruning_deletes_every_row_of_old_sessions_and_no_other(ledger_url: str) -> None:
    """Two old sessions with rows in all tables leave none behind; a young one keeps its own."""
    ledger = opened(ledger_url)
    ages = {"one": NOON, "two": NOON, "young": NOON + DAY}
    ledger.follow(map(ref, ages), "file", NOON)
    for now in (NOON, NOON + 3601):
        for claim in ledger.claim(now, ALL):
            name = claim.ref.event_id
            tree = node(f"call-session:{name}", "1", node(f"call-control:{name}-leg", None))
            ledger.commit([dated(poll(claim, tree, now), ages[name], ages[name])])
    numbers = dict(ledger._connection.execute("SELECT event_id, id FROM sessions").fetchall())  # noqa: SLF001 - as above
    for statement in OTHERS:
        ledger._engine.transact(  # noqa: SLF001 - as above
            lambda: ledger._connection.executemany(statement, [(number,) for number in numbers.values()])  # noqa: B023, SLF001 - at once
        )
    assert list(sessions_by_table(ledger).values()) == [set(numbers.values())] * len(TABLES)
    assert ledger.prune(NOON + 1, 100)[0] == 2
    assert list(sessions_by_table(ledger).values()) == [{numbers["young"]}] * len(TABLES)
    assert values(ledger, "telnyx_ledger_events") == {(): Decimal(2)}
    assert sum(values(ledger, "telnyx_events_awaiting_price").values()) == 1
    assert ledger.check() == []
    ledger.close()


# Budgets and thresholds


BUDGET = Budget(name="calls", amount=Decimal(10), window="day", match=(("record_type", "call-control"),))
WATCHED = TotalsSettings.of(Config(budgets=(BUDGET, Budget(name="all", amount=Decimal(100), window=3600))))


def spent(ledger: Ledger) -> dict[str, Decimal]:
    return {key[0]: value for key, value in values(ledger, "telnyx_budget_spent", "budget").items()}


def test_a_budget_counts_what_was_spent_in_its_window(ledger_url: str) -> None:
    """Spent counts by the events' own time, the counter by when the bill came; a new day starts at zero."""
    ledger = opened(ledger_url, WATCHED)
    ledger.follow([ref("s")], "file", NOON)
    book_at(ledger, CALL, NOON, NOON, NOON - DAY, NOON)  # the leg is yesterday's
    assert spent(ledger) == {"calls": Decimal(0), "all": Decimal("0.18")}
    assert values(ledger, "telnyx_budget_cost_total", "budget") == {
        ("calls",): Decimal("0.0052"),
        ("all",): Decimal("0.1852"),
    }
    ledger.refresh_budgets(NOON + DAY)
    assert spent(ledger) == {"calls": Decimal(0), "all": Decimal(0)}
    ledger.refresh_budgets(NOON - DAY)
    assert spent(ledger)["calls"] == Decimal("0.0052")
    ledger.close()


def test_an_amendment_counts_for_the_window_of_its_event(ledger_url: str) -> None:
    """A credit next week lowers what was spent in the event's own window, and counts as a credit of the budget."""
    ledger = opened(ledger_url, WATCHED)
    ledger.follow([ref("s")], "file", NOON)
    book_at(ledger, node("call-control:c", "5"), NOON, NOON)
    book_at(ledger, node("call-control:c", "2"), NOON + 7 * DAY, NOON)
    ledger.refresh_budgets(NOON)
    assert spent(ledger)["calls"] == 2
    assert values(ledger, "telnyx_budget_cost_credits_total", "budget")["calls",] == 3
    ledger.close()


def test_a_new_budget_counts_what_its_window_contains(ledger_url: str) -> None:
    """Money spent before the budget was configured counts for its gauge, not for its counter."""
    settled(ledger_url).close()
    ledger = opened(ledger_url, WATCHED)
    ledger.refresh_budgets(NOON)
    assert spent(ledger)["calls"] == Decimal("0.0052")
    assert values(ledger, "telnyx_budget_cost_total", "budget")["calls",] == 0
    ledger.close()


def test_a_threshold_counts_a_live_session_once(ledger_url: str) -> None:
    """A session counts once for each threshold that it exceeds, however far."""
    thresholds = (Threshold(name="expensive", cost=Decimal("0.1")), Threshold(name="long", turns=2))
    plain = Config()
    settings = TotalsSettings.of(replace(plain, metrics=replace(plain.metrics, thresholds=thresholds)))
    ledger = opened(ledger_url, settings)
    ledger.follow([ref("s")], "file", 0.0)
    turns = [node(f"inference:{n}", "0.05") for n in range(5)]
    for at, seen in ((0.0, turns[:1]), (100.0, turns[:3]), (200.0, turns)):
        book(ledger, node("call-session:s", "0", *seen), at)
    crossed = values(ledger, "telnyx_sessions_over_threshold_total", "threshold")
    assert crossed == {("expensive",): Decimal(1), ("long",): Decimal(1)}
    ledger.close()


# The ledger itself


def test_the_audit_finds_a_changed_event(tmp_path: Path) -> None:
    """The line names the total, its value and the sum of its rows."""
    path = tmp_path / "l.sqlite"
    settled(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE events SET cost = '7' WHERE cost = '0.18'")
    connection.commit()
    connection.close()
    ledger = opened(path)
    (line,) = ledger.check()
    assert line == (
        "net cost {account=main, record_type=ai-voice-assistant, product=ai-voice-assistant, currency=USD}:"
        " the total is 0.18, the rows add up to 7"
    )
    ledger.close()


def test_a_renamed_account_keeps_everything_and_books_nothing_twice(ledger_url: str) -> None:
    """Sessions, events and totals have the new name, and a poll finds its events booked."""
    ledger = settled(ledger_url)
    ledger.put_meta("ratings:main", "1")
    assert ledger.rename_account("main", "prod") == 1
    assert (ledger.get_meta("ratings:main"), ledger.get_meta("ratings:prod")) == (None, "1")
    claims = ledger.claim(NOON + 5 * DAY, {"prod": 10})
    again = [replace(claim, ref=replace(claim.ref, account="prod")) for claim in claims]
    found = poll(again[0], CALL, NOON + 5 * DAY)
    labels = [tuple((n, "prod" if n == "account" else v) for n, v in f.labels) for f in found.attributes]
    attributes = tuple(replace(f, labels=named) for f, named in zip(found.attributes, labels, strict=True))
    ledger.commit([replace(found, attributes=attributes)])
    assert sum(net(ledger).values()) == Decimal("0.1852")
    assert set(values(ledger, "telnyx_cost_total", "account")) == {("prod",)}
    assert ledger.check() == []
    for old, new in (("nobody", "x"), ("prod", "prod")):
        with pytest.raises(LedgerError):
            ledger.rename_account(old, new)
    ledger.close()


def test_an_account_is_not_renamed_to_one_that_has_series(ledger_url: str) -> None:
    """An exporter was started with the new name before it had sessions: the name is refused, nothing changes."""
    ledger = settled(ledger_url)
    ledger.create_series([("telnyx_sessions", (("account", "prod"), ("state", "discovered")))])
    with pytest.raises(LedgerError, match="'prod' is in this ledger already"):
        ledger.rename_account("main", "prod")
    assert set(values(ledger, "telnyx_cost_total", "account")) == {("main",)}
    assert ledger.check() == []
    ledger.close()
