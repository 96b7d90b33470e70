"""Fetching one session: which requests are sent, and the poll that follows from their answers."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from exporter.core.model import Claim, Poll, SessionRef
from tests.ledger.test_ledger import ref
from tests.support.polling import Answer, polling
from tests.support.trees import answer, count, cut, find, node

GOOD = answer(node("call-session:s", "0.25"))
TURNS = [node(f"inference:t{number}", "0.01") for number in range(3)]
DEEP = node(
    "call-session:s",
    "0",
    node(
        "call-control:c",
        "0.1",
        node("sip-trunking:p", "0", node("ai-voice-assistant:a", "0.2", node("amd:m", "0", *TURNS))),
    ),
)
"""Six levels, one more than an answer shows."""


def fetched(folder: Path, answers: Mapping[str, Answer], claim: Claim, at: float = 5.0) -> tuple[Poll, list[str]]:
    """Return one poll, and the ids that it requested."""

    async def act() -> tuple[Poll, list[str]]:
        async with polling(folder, answers) as parts:
            fetcher = parts.accounts(parts.client)["main"].fetcher
            return await fetcher.poll(claim, at), parts.api.asked

    return asyncio.run(act())


CLAIM = Claim(1, 1, ref("s"), 0.0)


def below(event_id: str) -> dict[str, Any]:
    found = find(DEEP, event_id)
    assert found is not None
    return answer(found)


CUT = answer(cut(DEEP, 5), event_count=count(DEEP))


def test_a_tree_that_is_cut_is_completed(tmp_path: Path) -> None:
    """The sixth level is requested at the node where the answer ends."""
    poll, asked = fetched(tmp_path, {"s": CUT, "m": below("m")}, CLAIM)
    assert asked == ["s", "m"]
    assert poll.session is not None
    assert (len(poll.session.events), poll.session.complete, poll.session.cuts) == (count(DEEP), True, 1)


def test_a_subtree_that_fails_leaves_the_session_incomplete(tmp_path: Path) -> None:
    """The poll succeeds with the events that were fetched."""
    poll, _ = fetched(tmp_path, {"s": CUT, "m": 500}, CLAIM)
    assert poll.outcome == "tree"
    assert poll.session is not None
    assert (poll.session.complete, poll.session.cuts_unresolved) == (False, 1)


def test_an_unchanged_answer_is_not_read_again(tmp_path: Path) -> None:
    """An answer with the same bytes is skipped; any other answer is read."""
    first, _ = fetched(tmp_path, {"s": GOOD}, CLAIM)
    assert (first.outcome, first.fingerprint is None) == ("tree", False)
    known = replace(CLAIM, fingerprint=first.fingerprint)
    again, _ = fetched(tmp_path, {"s": GOOD}, known)
    assert (again.outcome, again.session) == ("same", None)
    assert again.reread is not None
    assert again.reread().session == first.session
    other, _ = fetched(tmp_path, {"s": answer(node("call-session:s", "0.26"))}, known)
    assert other.outcome == "tree"


def test_a_tree_that_took_several_answers_is_read_every_time(tmp_path: Path) -> None:
    """The first answer alone doesn't show a change below the cut, so it gets no fingerprint."""
    poll, _ = fetched(tmp_path, {"s": CUT, "m": below("m")}, CLAIM)
    assert poll.fingerprint is None


def test_a_date_time_narrows_the_search_and_is_dropped_if_it_is_wrong(tmp_path: Path) -> None:
    """A wrong date_time gets a 404, so the request is sent again without it."""
    dated = replace(CLAIM, ref=SessionRef("main", "call-session", "s", "2026-03-17"))
    poll, asked = fetched(tmp_path, {"s?dated": GOOD}, dated)
    assert (poll.outcome, asked) == ("tree", ["s?dated"])
    poll, asked = fetched(tmp_path, {"s": GOOD}, dated)
    assert (poll.outcome, asked) == ("tree", ["s?dated", "s"])
    poll, asked = fetched(tmp_path, {}, dated)
    assert (poll.outcome, asked) == ("gone", ["s?dated", "s"])


def test_a_young_session_is_asked_for_once(tmp_path: Path) -> None:
    """It is probably not rated yet, so a 404 doesn't show that its date_time is wrong; after two hours it may."""
    began = "2026-03-17T12:00:00Z"
    dated = replace(CLAIM, ref=SessionRef("main", "call-session", "s", began))
    for seconds, requests in ((-1, 2), (0, 1), (7199, 1), (7200, 2)):
        poll, asked = fetched(tmp_path, {}, dated, 1_773_748_800.0 + seconds)
        assert (poll.outcome, len(asked)) == ("gone", requests)
