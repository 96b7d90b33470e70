"""Make a ledger by hand and serve the real web surface over it, for tests of the pages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from exporter.config import Account, Config, ConfiguredSession, LedgerSettings, Secret
from exporter.core.model import Event, EventAttributes, Mismatch, Poll, Session, SessionAttributes, SessionRef
from exporter.ledger import Ledger
from exporter.web import Pages, WebServer
from tests.ledger.test_ledger import opened
from tests.support.web_surface import FINE, LOOPBACK

KEY = "KEY0123456789ABCDEF0123456789ABCDEF_abcdefghijklmnopqrstuv"
ACCOUNTS = ("main", "other")
PHONE = "+15551234567"
"""A session id that is personal data."""

Tree = Sequence[tuple[str, str, int, str | None, str]]
"""Events: record type, id, index of the parent, cost, currency."""

CALL: Tree = (
    ("call-session", "root", -1, "0", "USD"),
    ("sip-trunking", "sip", 0, "0.0052", "USD"),
    ("call-control", "cc", 0, "0.0052", "USD"),
    ("ai-voice-assistant", "ai", 2, "0.18", "USD"),
    ("inference", "turn-1", 3, "0.001", "USD"),
    ("inference", "turn-2", 3, None, "USD"),
)


def config(folder: Path) -> Config:
    accounts = tuple(Account(name=name, key=Secret(KEY)) for name in ACCOUNTS)
    return replace(
        Config(),
        accounts=accounts,
        sessions=(ConfiguredSession(account="main", record_type="message", event_id=PHONE),),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
    )


def ledger_in(location: Path | str) -> Ledger:
    """Open the ledger in a folder, or at a URL."""
    return opened(location / "ledger.sqlite" if isinstance(location, Path) else location)


def follow(ledger: Ledger, *refs: SessionRef, at: float = 0.0) -> None:
    ledger.follow(refs, "file", at)


def commit_due(
    ledger: Ledger,
    at: float,
    trees: Mapping[str, Tree],
    failing: Sequence[str] = (),
    failed: Mapping[str, Poll] = MappingProxyType({}),
) -> None:
    """Commit a poll of each due session: its tree by session id, a poll from `failed`, or else "not found"."""
    polls = []
    for claim in ledger.claim(at, dict.fromkeys(ACCOUNTS, 1000)):
        given = failed.get(claim.ref.event_id)
        if given is not None:
            polls.append(replace(given, claim=claim, at=at))
        elif claim.ref.event_id in trees:
            polls.append(_poll_with_tree(Poll(claim, at, "tree"), trees[claim.ref.event_id], failing))
        else:
            polls.append(Poll(claim, at, "gone"))
    ledger.commit(polls)


def _poll_with_tree(poll: Poll, tree: Tree, failing: Sequence[str]) -> Poll:
    ref = poll.claim.ref
    events = tuple(
        Event(kind, kind, name, 0, kind, parent, None if cost is None else Decimal(cost), None, currency, {})
        for kind, name, parent, cost, currency in tree
    )
    labels = [(("account", ref.account), ("record_type", e.record_type), ("product", e.product)) for e in events]
    attributes = tuple(EventAttributes((*of_event, ("model", "none"))) for of_event in labels)
    session = Session(ref, events, True, tuple(Mismatch(check, "off by 1") for check in failing), 0, 0)
    turns = sum(event.record_type == "inference" for event in events)
    session_attributes = SessionAttributes(events[0].record_type, "voice", len(events), turns, None)
    return replace(poll, session=session, attributes=attributes, session_attributes=session_attributes)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the pages of the ledger in this folder until the block ends; yield their origin."""
    settings = config(folder)
    pages = Pages(lambda: settings, lambda: None)
    server = WebServer(
        LOOPBACK, status=lambda: FINE, on_scrape=lambda _: None, on_crash=lambda _: None, extra_routes=pages.routes()
    )
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop(5)
