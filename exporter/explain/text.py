"""One session for a person's eyes: the tree with its costs, the checks, the samples, and all the rest of the story.

Owns the drawing of a tree in text. Whatever is foreign in it goes through `wording` first, so that neither an id nor a
label can move a terminal's cursor or forge a line.
"""

from collections.abc import Iterator
from decimal import Decimal

from exporter.core.model import Event, Session
from exporter.core.money import ZERO, amount_text
from exporter.explain.sanitise import TEXT_MAX, Sanitiser
from exporter.explain.story import Explanation, rules

SAMPLES_HEADING = "on /metrics, once it has settled:"


def picture(story: Explanation) -> str:
    """The session: tree, checks and samples."""
    return "\n".join([*_session_lines(story), ""])


def story_text(story: Explanation) -> str:
    """Everything, from the first request to the rule behind each sample."""
    look, wording = story.look, story.wording
    named = f"{wording.line(look.ref.record_type)} {wording.line(look.ref.event_id)} of account {look.ref.account}"
    lines = [named, f"probe_success {int(story.look.succeeded)}, {look.seconds:.3f} s at the API", "", "requests:"]
    for asked in look.asked:
        again = f", attempt {asked.attempt}" if asked.attempt > 1 else ""
        path = wording.line(asked.path, TEXT_MAX)
        lines.append(f"GET {path}  {asked.code}  {asked.seconds:.3f} s, {asked.bytes} bytes{again}")
    if not look.asked:
        lines.append("none")
    lines.append("")
    if look.session is None:
        return "\n".join([*lines, f"failed: {wording.line(look.problem, TEXT_MAX)}", ""])
    told = [f"{family}: {rule}" for family, rule in rules(story).items()]
    return "\n".join([*lines, *_session_lines(story), "", "where each comes from:", *told, ""])


def _session_lines(story: Explanation) -> Iterator[str]:
    session = story.look.session
    assert session is not None
    yield from tree_lines(session, story.wording)
    yield ""
    yield from _check_lines(session, story.wording)
    yield ""
    yield SAMPLES_HEADING
    for block in story.shown_blocks():
        yield from (line for line in block.finished()[0].decode().splitlines() if not line.startswith("#"))


def tree_lines(session: Session, wording: Sanitiser) -> Iterator[str]:
    """The tree, one event a line: record type, product, its own cost and the cumulative one."""
    children: dict[int, list[int]] = {}
    for index, event in enumerate(session.events):
        children.setdefault(event.parent, []).append(index)
    rows: list[tuple[str, Event]] = []
    waiting = [(0, "", "")]
    while waiting:
        index, lead, below = waiting.pop()
        event = session.events[index]
        names = (event.record_type, event.product or "-", event.id or "-")
        record_type, product, event_id = map(wording.line, names)
        rows.append((f"{lead}{record_type} ({product}) {event_id}", event))
        found = children.get(index, [])
        for child in reversed(found):
            last = child == found[-1]
            waiting.append((child, below + ("└── " if last else "├── "), below + ("    " if last else "│   ")))
    width = max(len(name) for name, _ in rows)
    for name, event in rows:
        costs = f"event {_amount(event.cost, 'unpriced')}  cumulative {_amount(event.cumulative, '?')}"
        yield f"{name.ljust(width)}  {costs}  {wording.line(event.currency)}"


def _amount(amount: Decimal | None, absent: str) -> str:
    return absent if amount is None else format(amount, "f")


def _check_lines(session: Session, wording: Sanitiser) -> Iterator[str]:
    if not session.complete:
        yield f"incomplete: {session.cuts_unresolved} of {session.cuts} cut subtrees could not be had"
    for mismatch in session.mismatches:
        yield f"check {mismatch.check} fails: {wording.line(mismatch.detail, TEXT_MAX)}"
    if session.complete and not session.mismatches:
        yield f"checks hold: {len(session.events)} events, {amount_text(session.events[0].cumulative or ZERO)} in all"
