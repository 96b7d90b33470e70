"""The ledger books each event once, exactly and durably, in any order of polls."""

import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import Config
from exporter.core.errors import LedgerCorrupt, LedgerError, LedgerLocked, LedgerTooNew
from exporter.core.lifecycle import PollPolicy
from exporter.core.model import Claim, EventAttributes, Poll, Receipt, SessionAttributes, SessionRef
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from tests.support.trees import answer, node, read

POLICY = PollPolicy(
    min_interval=30,
    max_interval=600,
    settle_after=3600,
    recheck_after=(86_400,),
    not_found_timeout=7200,
    configured_recheck=86_400,
)
SETTINGS = TotalsSettings.of(Config())
ALL = {"main": 100}


def ref(event_id: str) -> SessionRef:
    return SessionRef("main", "call-session", event_id)


def opened(place: Path | str, settings: TotalsSettings = SETTINGS) -> Ledger:
    """Open the ledger in a file, or at a URL."""
    return open_ledger(f"sqlite:///{place}" if isinstance(place, Path) else place, POLICY, settings)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def poll(claim: Claim, tree: dict[str, Any] | None, at: float, **stated: Any) -> Poll:
    if tree is None:
        return Poll(claim, at, "gone")
    session = read(answer(tree, **stated))
    session = replace(session, ref=claim.ref)
    attributes = tuple(
        EventAttributes(
            (("account", "main"), ("record_type", e.record_type), ("product", e.product), ("model", "none"))
        )
        for e in session.events
    )
    turns = sum(e.record_type == "inference" for e in session.events)
    session_attributes = SessionAttributes(session.events[0].record_type, "voice", len(session.events), turns, 12.5)
    return Poll(claim, at, "tree", "", session, attributes, session_attributes)


def values(ledger: Ledger, family: str, *wanted: str) -> dict[tuple[str, ...], Decimal]:
    """Return the values of a family by these labels."""
    found: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for total in ledger.totals():
        if total.family == family:
            labels = dict(total.labels)
            found[tuple(labels[name] for name in wanted)] += total.value
    return dict(found)


def net(ledger: Ledger) -> dict[tuple[str, ...], Decimal]:
    costs = values(ledger, "telnyx_cost_total", "record_type", "currency")
    credited = values(ledger, "telnyx_cost_credits_total", "record_type", "currency")
    return {key: costs[key] - credited[key] for key in costs}


def state(ledger: Ledger) -> dict[str, int]:
    return {key[0]: int(value) for key, value in values(ledger, "telnyx_sessions", "state").items() if value}


def book(ledger: Ledger, tree: dict[str, Any] | None, now: float, **stated: Any) -> Receipt:
    (claim,) = ledger.claim(now, ALL)
    return ledger.commit([poll(claim, tree, now, **stated)])


CALL = node("call-session:s", "0", node("call-control:c", "0.0052", node("ai-voice-assistant:a", "0.18")))


def test_a_new_session_is_due_at_once_and_claimed_once(ledger: Ledger) -> None:
    """A session is inserted once, claimed by one poll at a time, and due again after its interval."""
    ledger.follow([ref("s"), ref("s")], "file", 100.0)
    ledger.follow([ref("s")], "webhook", 101.0)
    (claim,) = ledger.claim(101.0, ALL)
    assert ledger.claim(101.0, ALL) == []
    ledger.commit([poll(claim, CALL, 101.0)])
    assert ledger.claim(102.0, ALL) == []
    assert len(ledger.claim(140.0, ALL)) == 1
    assert values(ledger, "telnyx_discovered_sessions_total", "source") == {("file",): Decimal(1)}


def test_the_same_tree_again_books_nothing(ledger: Ledger) -> None:
    """A second poll of the same tree changes neither totals nor events."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    before = net(ledger)
    book(ledger, CALL, 100.0)
    assert net(ledger) == before
    assert values(ledger, "telnyx_events_total", "record_type")["call-control",] == 1
    assert values(ledger, "telnyx_ledger_events") == {(): Decimal(3)}


def test_an_older_poll_never_undoes_a_newer_one(ledger: Ledger) -> None:
    """Two sessions share an event: the poll that was claimed first and finished last doesn't change it."""
    ledger.follow([ref("s"), ref("t")], "file", 0.0)
    first, second = ledger.claim(0.0, ALL)
    shared = "call-control:shared"
    ledger.commit([poll(second, node("call-session:t", "0", node(shared, "0.7")), 1.0)])
    ledger.commit([poll(first, node("call-session:s", "0", node(shared, "0.2")), 2.0)])
    assert net(ledger)["call-control", "USD"] == Decimal("0.7")
    assert values(ledger, "telnyx_cost_credits_total", "record_type")["call-control",] == 0


def test_a_stale_claim_books_nothing(ledger: Ledger) -> None:
    """A poll whose claim was booked already is skipped: a batch may be committed twice."""
    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    ledger.commit([poll(claim, CALL, 0.0)])
    receipt = ledger.commit([poll(claim, node("call-session:s", "9"), 1.0)])
    assert receipt.totals == ()
    assert net(ledger)["call-session", "USD"] == 0


def test_money_settles_and_becomes_unsettled_again(ledger: Ledger) -> None:
    """telnyx_unsettled_cost is the net cost of the sessions whose bill may still change."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    assert values(ledger, "telnyx_unsettled_cost", "currency") == {("USD",): Decimal("0.1852")}
    book(ledger, CALL, 3601.0)
    assert state(ledger) == {"settled": 1}
    assert values(ledger, "telnyx_unsettled_cost", "currency") == {("USD",): Decimal(0)}
    book(ledger, node("call-session:s", "0", node("call-control:c", "0.0040")), 100_000.0)
    assert state(ledger) == {"active": 1}
    assert values(ledger, "telnyx_unsettled_cost", "currency") == {("USD",): Decimal("0.1840")}


def test_a_session_is_observed_once_when_it_first_settles(ledger: Ledger) -> None:
    """Each histogram counts a session once, however often it reopens and settles again."""
    ledger.follow([ref("s")], "file", 0.0)
    for at, tree in (
        (0.0, CALL),
        (3601.0, CALL),
        (100_000.0, node("call-session:s", "1")),
        (200_000.0, node("call-session:s", "1")),
    ):
        book(ledger, tree, at)
    histograms = {total.family: total for total in ledger.totals() if total.counts}
    assert {family: sum(total.counts) for family, total in histograms.items()} == dict.fromkeys(histograms, 1)
    assert histograms["telnyx_session_cost"].value == Decimal("0.1852")
    assert histograms["telnyx_session_events"].value == 3
    assert histograms["telnyx_session_settling_seconds"].value == 3601
    exemplars = [exemplar for exemplar in histograms["telnyx_session_cost"].exemplars if exemplar]
    assert [exemplar.event_id for exemplar in exemplars] == ["s"]
    assert values(ledger, "telnyx_sessions_settled_total", "session_kind") == {("voice",): Decimal(1)}


LEG = node("call-control:c", "0.0052", node("ai-voice-assistant:a", "0.18"))
PARTS = {"call": (ref("s"), CALL), "leg": (SessionRef("main", "call-control", "c"), LEG)}


def counted(ledger: Ledger) -> list[dict[tuple[str, ...], Decimal]]:
    """Return the started, settled and observed sessions by the type of their root."""
    observed: dict[tuple[str, ...], Decimal] = {
        (dict(total.labels)["root_record_type"],): Decimal(sum(total.counts))
        for total in ledger.totals()
        if total.family == "telnyx_session_events"
    }
    names = ("telnyx_sessions_started_total", "telnyx_sessions_settled_total")
    return [*(values(ledger, name, "root_record_type") for name in names), observed]


@pytest.mark.parametrize("order", [("call", "leg"), ("leg", "call")], ids=" before ".join)
def test_a_part_of_a_session_is_counted_only_as_that_session(ledger: Ledger, order: tuple[str, str]) -> None:
    """A leg that is followed beside its call is not counted as a session, whichever is polled first."""
    for place, name in enumerate(order):
        seen, tree = PARTS[name]
        ledger.follow([seen], "file", float(place))
        (claim,) = ledger.claim(float(place), ALL)
        ledger.commit([poll(claim, tree, float(place))])
    for claim in ledger.claim(4000.0, ALL):
        ledger.commit([poll(claim, dict(PARTS.values())[claim.ref], 4000.0)])
    assert state(ledger) == {"settled": 2}
    assert counted(ledger) == [{("call-session",): Decimal(1)}] * 3
    assert sum(net(ledger).values()) == Decimal("0.1852")


def test_a_leg_whose_call_is_still_unknown_waits_a_day_to_be_counted(ledger: Ledger) -> None:
    """A leg settles while a call that may contain it answers 404: the leg counts at its recheck."""
    leg, tree = PARTS["leg"]
    ledger.follow([leg, ref("elsewhere")], "file", 0.0)
    for now in (0.0, 4000.0):
        for claim in ledger.claim(now, ALL):
            ledger.commit([poll(claim, tree if claim.ref == leg else None, now)])
    assert state(ledger) == {"settled": 1, "discovered": 1}
    assert counted(ledger) == [{}] * 3
    recheck = next(claim for claim in ledger.claim(100_000.0, ALL) if claim.ref == leg)
    ledger.commit([poll(recheck, tree, 100_000.0)])
    assert counted(ledger) == [{("call-control",): Decimal(1)}] * 3
    settling = next(total for total in ledger.totals() if total.family == "telnyx_session_settling_seconds")
    assert settling.value == 4000


def test_a_leg_waits_for_a_call_that_reopens_in_the_same_batch(ledger: Ledger) -> None:
    """The call was settled until this batch: its state in the batch counts, not the one in the table."""
    leg, tree = PARTS["leg"]
    ledger.follow([ref("s")], "file", 0.0)
    for now in (0.0, 4000.0):
        book(ledger, node("call-session:s", "0"), now)
    (call,) = ledger.claim(90_500.0, ALL)
    ledger.follow([leg], "file", 90_500.0)
    book(ledger, tree, 90_500.0)
    (settling,) = ledger.claim(94_500.0, ALL)
    ledger.commit([poll(call, node("call-session:s", "1"), 90_500.0), poll(settling, tree, 94_500.0)])
    assert state(ledger) == {"active": 1, "settled": 1}
    assert counted(ledger) == [{("call-session",): Decimal(1)}] * 3


def test_an_incomplete_tree_does_not_count_its_session(ledger: Ledger) -> None:
    """A leg that waited to be counted is polled when its call is missing, but a part of its tree can't be read."""
    leg, tree = PARTS["leg"]
    ledger.follow([leg, ref("elsewhere")], "file", 0.0)
    for now in (0.0, 4000.0, 8000.0):
        for claim in ledger.claim(now, ALL):
            ledger.commit([poll(claim, tree if claim.ref == leg else None, now)])
    assert state(ledger) == {"settled": 1, "missing": 1}
    recheck = next(claim for claim in ledger.claim(100_000.0, ALL) if claim.ref == leg)
    whole = poll(recheck, tree, 100_000.0)
    assert whole.session is not None
    part = replace(whole.session, events=whole.session.events[:1], complete=False, cuts_unresolved=1)
    ledger.commit([replace(whole, session=part, attributes=whole.attributes[:1])])
    assert counted(ledger) == [{}] * 3
    (again,) = (claim for claim in ledger.claim(110_000.0, ALL) if claim.ref == leg)
    ledger.commit([poll(again, tree, 110_000.0)])
    assert counted(ledger) == [{("call-control",): Decimal(1)}] * 3
    events = next(total for total in ledger.totals() if total.family == "telnyx_session_events")
    assert events.value == 2


def test_a_vanished_event_keeps_its_money_and_fails_a_check(ledger: Ledger) -> None:
    """An event that disappears from a complete tree stays booked; the check vanished_event fails once."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    bare = node("call-session:s", "0")
    first, again = book(ledger, bare, 100.0), book(ledger, bare, 200.0)
    assert [failed_check.what for failed_check in first.failed_checks] == ["vanished_event"]
    assert again.failed_checks == ()
    assert sum(net(ledger).values()) == Decimal("0.1852")
    assert values(ledger, "telnyx_reconciliation_failures_total", "check") == {("vanished_event",): Decimal(1)}
    assert values(ledger, "telnyx_unreconciled_sessions", "check") == {("vanished_event",): Decimal(1)}
    book(ledger, CALL, 400.0)
    assert values(ledger, "telnyx_unreconciled_sessions", "check") == {("vanished_event",): Decimal(0)}


def test_a_session_due_too_far_in_the_future_is_due_now(ledger: Ledger) -> None:
    """A due time beyond the longest interval was written before the clock was set back."""
    ledger.follow([ref("s")], "file", 10**9)
    assert ledger.claim(10**9 - 50_000_000, ALL) != []


def test_claims_are_limited_by_account(ledger: Ledger) -> None:
    """Each account has its own limit; the sessions that are due the longest come first."""
    other = SessionRef("other", "message", "m")
    ledger.follow([ref("a"), ref("b"), ref("c"), other], "file", 0.0)
    claims = ledger.claim(5.0, {"main": 2, "other": 2})
    assert [claim.ref.event_id for claim in claims] == ["a", "b", "m"]


def test_series_past_the_budget_fold_and_sums_stay_right(ledger_url: str) -> None:
    """A label set beyond series_max becomes `other` and is counted; its money is booked there."""
    tight = TotalsSettings(extra=(), values_max={}, series_max=12, bounds=SETTINGS.bounds)
    ledger = opened(ledger_url, tight)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, node("call-session:s", "0", *[node(f"type{n}:{n}", "0.1") for n in range(20)]), 0.0)
    assert sum(net(ledger).values()) == Decimal(2)
    assert net(ledger)["other", "USD"] > 1
    assert values(ledger, "telnyx_label_overflows_total", "label")["record_type",] > 0
    ledger.close()


def test_root_types_past_the_budget_fold_too(ledger_url: str) -> None:
    """New root types don't add series without end; their sessions are counted as `other`."""
    ledger = opened(ledger_url, TotalsSettings(extra=(), values_max={}, series_max=50, bounds=SETTINGS.bounds))
    refs = [SessionRef("main", f"type{n}", f"{n}") for n in range(40)]
    ledger.follow(refs, "file", 0.0)
    for now in (0.0, 3601.0):
        for claim in ledger.claim(now, ALL):
            ledger.commit([poll(claim, node(f"{claim.ref.record_type}:{claim.ref.event_id}", "1"), now)])
    settled = values(ledger, "telnyx_sessions_settled_total", "root_record_type")
    assert sum(settled.values()) == 40
    assert settled["other",] > 30
    assert len(settled) < 10
    ledger.close()


# The file


def test_totals_survive_a_restart(ledger_url: str) -> None:
    """The next process loads the totals of the last receipt, with their exposed marks."""
    ledger = opened(ledger_url)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    ledger.expose([total.row for total in ledger.totals()][:3])
    before = {total.row: total for total in ledger.totals()}
    ledger.close()
    again = opened(ledger_url)
    assert {total.row: total for total in again.totals()} == before
    again.close()


def test_a_claim_of_a_dead_process_is_free_again(tmp_path: Path) -> None:
    """The file's lock proves that nobody polls, so a start frees every claim."""
    ledger = opened(tmp_path / "l.sqlite")
    ledger.follow([ref("s")], "file", 0.0)
    ledger.claim(0.0, ALL)
    ledger.close()
    again = opened(tmp_path / "l.sqlite")
    assert len(again.claim(0.0, ALL)) == 1
    again.close()


def test_a_second_process_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    """One exporter per file; the message names who holds it."""
    ledger = opened(tmp_path / "l.sqlite")
    program = (
        "import sys; from tests.ledger.test_ledger import opened; from pathlib import Path\n"
        "try: opened(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(ledger.location)], capture_output=True, text=True, check=True
    )
    assert LedgerLocked.__name__ in run.stdout
    assert f"process {os.getpid()}" in run.stdout
    ledger.close()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"not a database at all, but long enough to be looked at" * 40, LedgerCorrupt, "not a SQLite file"),
        ("CREATE TABLE cats (name TEXT)", LedgerCorrupt, "not a ledger"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, content: bytes | str, error: type, words: str) -> None:
    """A file that is no ledger is refused and left as it is."""
    path = tmp_path / "l.sqlite"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        connection = sqlite3.connect(path)
        connection.execute(content)
        connection.close()
    before = path.read_bytes()
    with pytest.raises(error, match=words):
        opened(path)
    assert path.read_bytes() == before


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """The schema of a newer version is refused."""
    path = tmp_path / "l.sqlite"
    opened(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerTooNew, match="newer version"):
        opened(path)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """The message names the path that is missing."""
    with pytest.raises(LedgerError, match="nowhere"):
        opened(tmp_path / "nowhere" / "l.sqlite")
