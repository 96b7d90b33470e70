"""Views of the ledger: lists are exact and complete, snapshots are consistent, failures are kept."""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.errors import LedgerError
from exporter.core.model import Claim, Poll, SessionRef
from exporter.ledger import Ledger, snapshot
from exporter.ledger.schema.ranks import rank
from exporter.ledger.views.history import PER_REASON_MAX
from exporter.ledger.views.listing import Order, SessionQuery, Sort
from exporter.ledger.views.models import SessionListRow
from tests.support.pages_ledger import CALL, commit_due, follow, ledger_in
from tests.support.postgres import Postgres

COSTS = (
    "0",
    "-0.5",
    "0.000000000001",
    "0.000000000002",
    "12345678.123456789012",
    "12345678.123456789013",
    "0.1",
    "0.1",
)
NOWHERE = Claim(0, 0, SessionRef("", "", ""), 0.0)


def failure(reason: str, outcome: str = "failed") -> Poll:
    return Poll(NOWHERE, 0.0, "failed" if outcome == "failed" else "denied", reason, detail=f"said of {reason}")


@pytest.fixture(scope="module")
def listed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the sessions of `fill`."""
    folder = tmp_path_factory.mktemp("listed")
    fill(ledger_in(folder))
    return folder / "ledger.sqlite"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def listed(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of such a ledger, on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('listed_file')}"
        return
    postgres = request.getfixturevalue("postgres")
    assert isinstance(postgres, Postgres)
    name = postgres.create_database()
    fill(ledger_in(postgres.url(name)))
    yield postgres.url(name)
    postgres.drop_database(name)


def fill(ledger: Ledger) -> None:
    """Write sessions of two accounts and record types in all states, with costs that no float distinguishes."""
    for number, cost in enumerate(COSTS):
        account, kind = ("main", "other")[number % 2], ("call-session", "message")[number // 2 % 2]
        follow(ledger, SessionRef(account, kind, f"s{number}"), at=float(number))
        turns = [("inference", f"{number}-{turn}", 0, None, "USD") for turn in range(number)]
        tree = [(kind, f"s{number}", -1, cost, "USD"), *turns]
        if number == 3:
            tree.append(("verify", "euro", 0, "7", "EUR"))
        commit_due(ledger, float(number), {f"s{number}": tree})
    follow(ledger, SessionRef("main", "message", "later"), SessionRef("main", "message", "refused"), at=50.0)
    commit_due(ledger, 50.0, {}, failed={"refused": failure("bad_request", "denied")})
    ledger.close()


def walk(url: str, query: SessionQuery) -> list[SessionListRow]:
    """Return all rows of a list, page by page."""
    rows: list[SessionListRow] = []
    with snapshot(url) as ledger:
        while True:
            page = ledger.sessions(query)
            rows += page.rows
            assert len(page.rows) <= query.limit
            if page.next is None:
                return rows
            query = SessionQuery(
                **{name: getattr(query, name) for name in query.__struct_fields__} | {"after": page.next}
            )


SORTS: tuple[Sort, ...] = ("changed", "events", "cost")


def in_order(rows: list[SessionListRow], sort: Sort, *, down: bool) -> list[SessionListRow]:
    """Return the rows by exact value and number; those without a value last."""

    def value(row: SessionListRow) -> Decimal | float | None:
        if sort == "events":
            return row.events
        changed = row.discovered_at if row.changed_at is None else row.changed_at
        return changed if sort == "changed" else dict(row.costs).get("USD")

    known = [(found, row.number, row) for row in rows if (found := value(row)) is not None]
    unknown = sorted((row for row in rows if value(row) is None), key=lambda row: row.number, reverse=down)
    return [row for *_, row in sorted(known, key=lambda entry: entry[:2], reverse=down)] + unknown


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_lists_are_whole_and_in_exact_order(listed: str, limit: int) -> None:
    """With each order, filter and page size: each session once, in the order of exact values."""
    everything = walk(listed, SessionQuery(limit=200))
    assert len(everything) == len(COSTS) + 2
    orders: tuple[Order, ...] = ("desc", "asc")
    accounts, kinds, states = (None, "main"), (None, "message"), (None, "active", "discovered", "denied")
    for account, kind, state, order, text in product(accounts, kinds, states, orders, ("", "s")):
        wanted = [
            row
            for row in everything
            if account in {None, row.ref.account}
            and kind in {None, row.ref.record_type}
            and state in {None, row.state}
            and row.ref.event_id.startswith(text)
        ]
        if text and not wanted:
            continue  # then the text is looked for in record types
        for sort in SORTS:
            found = walk(listed, SessionQuery(text, account, kind, state, None, sort, order, "USD", (), None, limit))
            assert found == in_order(wanted, sort, down=order == "desc")


def test_a_list_by_cost_is_of_one_currency(listed: str) -> None:
    """The default is the account's currency; a session with costs in two currencies is in both lists."""
    with snapshot(listed) as ledger:
        assert ledger.currencies() == ("EUR", "USD")
        assert ledger.sessions(SessionQuery(sort="cost", preferred=("USD",))).currency == "USD"
        assert ledger.sessions(SessionQuery(sort="cost", preferred=("CHF",))).currency == "EUR"
        (first, *rest) = ledger.sessions(SessionQuery(sort="cost", currency="EUR")).rows
    assert (first.ref.event_id, dict(first.costs)["EUR"]) == ("s3", Decimal(7))
    assert [row.costs for row in rest] == [(), ()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("s3", ["s3"]),
        ("S3", ["s3"]),
        (" s3 ", ["s3"]),
        ("other", ["s1", "s3", "s5", "s7"]),
        ("denied", ["refused"]),
        ("mess", ["later", "refused", "s2", "s3", "s6", "s7"]),
        ("nothing", []),
        ("%", []),
        ("\x00", []),
    ],
)
def test_what_is_typed_finds_ids_and_words(listed: str, text: str, found: list[str]) -> None:
    """The beginning of an id, an account, a record type, a state, or a part of one; wildcards are plain text."""
    assert sorted(row.ref.event_id for row in walk(listed, SessionQuery(text, limit=2))) == found


@given(st.lists(st.decimals(-(10**15), 10**15, places=12), min_size=2, max_size=10))
def test_ranks_sort_as_amounts_do(amounts: list[Decimal]) -> None:
    """Exactly, credits included; no two amounts have the same rank."""
    assert sorted(amounts, key=rank) == sorted(amounts)
    assert len(set(map(rank, amounts))) == len(set(amounts))


def test_a_snapshot_sees_only_what_was_committed_and_blocks_nobody(tmp_path: Path) -> None:
    """A commit meanwhile doesn't wait and isn't visible; an uncommitted change is visible to none."""
    ledger = ledger_in(tmp_path)
    follow(ledger, SessionRef("main", "call-session", "a"))
    with snapshot(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as old:
        assert len(old.sessions(SessionQuery()).rows) == 1
        follow(ledger, SessionRef("main", "call-session", "b"))
        assert len(old.sessions(SessionQuery()).rows) == 1
    writer = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM session_index")
    with snapshot(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as new:
        assert len(new.sessions(SessionQuery()).rows) == 2
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            new._connection.execute("DELETE FROM sessions")  # noqa: SLF001 - that it can't is the fact
    writer.close()
    ledger.close()


def test_what_is_no_ledger_is_an_error_with_a_reason(tmp_path: Path) -> None:
    """A missing file is not created, and a ledger of another version is refused."""
    with pytest.raises(LedgerError, match="can't be read"), snapshot(f"sqlite:///{tmp_path / 'none.sqlite'}"):
        pass
    assert not (tmp_path / "none.sqlite").exists()
    ledger_in(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="schema 1"), snapshot(f"sqlite:///{tmp_path / 'ledger.sqlite'}"):
        pass


def test_a_story_has_tree_polls_and_amendments(ledger_url: str) -> None:
    """The last tree, the polls, and the amendments."""
    ledger, ref = ledger_in(ledger_url), SessionRef("main", "call-session", "root")
    follow(ledger, ref)
    commit_due(ledger, 0.0, {"root": CALL})
    commit_due(
        ledger, 1000.0, {"root": [*CALL[:3], ("ai-voice-assistant", "ai", 2, "0.2", "USD"), *CALL[4:]]}, ["event_sum"]
    )
    commit_due(ledger, 2000.0, {}, failed={"root": failure("timeout")})
    ledger.close()
    with snapshot(ledger_url) as reading:
        story = reading.history(ref)
        assert reading.history(SessionRef("other", "call-session", "root")) is None
    assert story is not None
    assert [(node.id, node.parent, node.cost) for node in story.nodes][3:5] == [
        ("ai", 2, Decimal("0.2")),
        ("turn-1", 3, Decimal("0.001")),
    ]
    assert [(poll.at, poll.outcome, poll.reason) for poll in story.polls] == [
        (0.0, "changed", ""),
        (1000.0, "changed", ""),
        (2000.0, "failed", "timeout"),
    ]
    (moved,) = story.amendments
    assert (moved.at, moved.event_id, moved.before, moved.after) == (1000.0, "ai", Decimal("0.18"), Decimal("0.2"))
    assert (story.row.costs, story.row.failing) == ((("USD", Decimal("0.2114")),), ("event_sum",))


def test_failed_polls_are_kept_longer_than_others(ledger_url: str) -> None:
    """Of one session beyond its last polls; of all sessions the last of each reason, with the error's text."""
    ledger, ref = ledger_in(ledger_url), SessionRef("main", "call-session", "root")
    follow(ledger, ref)
    commit_due(ledger, 0.0, {}, failed={"root": failure("tree_unreadable")})
    for number in range(PER_REASON_MAX + 5):
        commit_due(ledger, 1000.0 * (number + 1), {}, failed={"root": failure("timeout")})
    for number in range(20):
        commit_due(ledger, 1e6 + 1000.0 * number, {"root": [("call-session", "root", -1, str(number), "USD")]})
    with snapshot(ledger_url) as reading:
        failures = reading.failures(1000)
        story = reading.history(ref)
    assert story is not None
    assert [poll.outcome for poll in story.polls] == ["failed"] * 10 + ["changed"] * 10
    assert [(f.reason, f.detail) for f in failures].count(("timeout", "said of timeout")) == PER_REASON_MAX
    assert [failure.at for failure in failures] == sorted((failure.at for failure in failures), reverse=True)
    assert failures[-1].reason == "tree_unreadable"
    ledger.close()


def test_pruned_sessions_leave_the_lists(ledger_url: str) -> None:
    """A forgotten session and its failures are in no list; a renamed account is found by its new name."""
    ledger = ledger_in(ledger_url)
    follow(ledger, SessionRef("main", "call-session", "root"), SessionRef("main", "message", "gone"))
    commit_due(ledger, 0.0, {"root": CALL}, failed={"gone": failure("bad_request", "denied")})
    assert ledger.rename_account("main", "renamed") == 2
    with snapshot(ledger_url) as reading:
        assert {row.ref.account for row in reading.sessions(SessionQuery(sort="cost")).rows} == {"renamed"}
    assert ledger.prune(1e6, 10)[0] == 1
    with snapshot(ledger_url) as reading:
        assert [row.ref.event_id for row in reading.sessions(SessionQuery()).rows] == ["root"]
        assert reading.failures(10) == ()
    ledger.close()


def test_sessions_are_found_by_the_check_they_fail(ledger_url: str) -> None:
    """By one check or any, also with the beginning of an id and a filter."""
    ledger = ledger_in(ledger_url)
    for number, failing in enumerate((["event_sum", "currency"], [], ["event_count"])):
        follow(ledger, SessionRef("main", "call-session", f"s{number}"), at=float(number))
        commit_due(ledger, float(number), {f"s{number}": CALL}, failing)

    def found(**asked: str) -> list[str]:
        with snapshot(ledger_url) as reading:
            return [row.ref.event_id for row in reading.sessions(SessionQuery(**asked)).rows]  # type: ignore[arg-type]

    assert found(check="any") == ["s2", "s0"]
    assert found(check="event_sum") == found(check="currency") == ["s0"]
    assert found(check="event") == found(check="any", state="settled") == []
    assert found(check="any", text="s2") == ["s2"]
    assert found(check="any", text="s1") == []
    ledger.close()


def test_a_session_is_found_by_the_id_of_its_root_too(ledger_url: str) -> None:
    """Exemplars have the root event's id, which may differ from the id that is polled."""
    ledger = ledger_in(ledger_url)
    follow(ledger, SessionRef("main", "call-session", "asked"))
    commit_due(ledger, 0.0, {"asked": CALL})
    with snapshot(ledger_url) as reading:
        found = [[row.ref.event_id for row in reading.by_id(name)] for name in ("asked", "root", "ai")]
    assert found == [["asked"], ["asked"], []]
    ledger.close()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE session_index SET events = 7 WHERE session = 1",
        "UPDATE session_index SET changed_at = 7 WHERE session = 1",
        "DELETE FROM session_index WHERE session = 1",
        "UPDATE session_index_costs SET amount = '7' WHERE session = 1",
        (
            "UPDATE session_groups SET state = 'missing'"
            " WHERE id = (SELECT session_group FROM session_index WHERE session = 1)"
        ),
    ],
)
def test_the_audit_finds_sessions_in_a_wrong_place(tmp_path: Path, tampering: str) -> None:
    """`ledger check` compares the session index with the sessions."""
    ledger = ledger_in(tmp_path)
    follow(ledger, SessionRef("main", "call-session", "root"))
    commit_due(ledger, 5.0, {"root": CALL})
    assert ledger.check() == []
    writer = sqlite3.connect(tmp_path / "ledger.sqlite")
    writer.execute(tampering)
    writer.commit()
    writer.close()
    assert ledger.check() == ["session 1: its row in the session index is wrong"]
    ledger.close()
