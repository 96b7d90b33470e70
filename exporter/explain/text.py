"""One session as text for a terminal: the tree with its costs, the checks, the samples and the rules behind them.

Text from the API goes through the sanitiser first, so that no id or label can move the cursor or forge a line.
"""

from collections.abc import Iterator

from exporter.core.model import Event, Session
from exporter.core.money import ZERO, amount_text
from exporter.explain.explanation import Explanation, exact
from exporter.explain.sanitise import TEXT_MAX, Sanitiser

SAMPLES_HEADING = "on /metrics, once it has settled:"


def session_text(explanation: Explanation) -> str:
    """Return the session: tree, checks and samples."""
    return "\n".join([*_session_lines(explanation), ""])


def full_text(explanation: Explanation) -> str:
    """Return everything, from the first request to the rule behind each sample."""
    result, sanitiser = explanation.result, explanation.sanitiser
    record_type, event_id = sanitiser.line(result.ref.record_type), sanitiser.line(result.ref.event_id)
    lines = [f"{record_type} {event_id} of account {result.ref.account}"]
    lines += [f"probe_success {int(result.succeeded)}, {result.seconds:.3f} s at the API", "", "requests:"]
    for request in result.requests:
        attempt = f", attempt {request.attempt}" if request.attempt > 1 else ""
        path = sanitiser.line(request.path, TEXT_MAX)
        lines.append(f"GET {path}  {request.code}  {request.seconds:.3f} s, {request.bytes} bytes{attempt}")
    if not result.requests:
        lines.append("none")
    lines.append("")
    if result.session is None:
        return "\n".join([*lines, f"failed: {sanitiser.line(result.problem, TEXT_MAX)}", ""])
    rules = [f"{family}: {rule}" for family, rule in explanation.rules().items()]
    return "\n".join([*lines, *_session_lines(explanation), "", "where each comes from:", *rules, ""])


def _session_lines(explanation: Explanation) -> Iterator[str]:
    session, sanitiser = explanation.result.session, explanation.sanitiser
    assert session is not None
    yield from tree_lines(session, sanitiser)
    yield ""
    if not session.complete:
        yield f"incomplete: {session.cuts_unresolved} of {session.cuts} cut subtrees could not be read"
    for mismatch in session.mismatches:
        yield f"check {mismatch.check} fails: {sanitiser.line(mismatch.detail, TEXT_MAX)}"
    if session.complete and not session.mismatches:
        total = amount_text(session.events[0].cumulative or ZERO)
        yield f"checks hold: {len(session.events)} events, {total} in all"
    yield from ("", SAMPLES_HEADING)
    for block in explanation.sanitised_blocks():
        yield from (line for line in block.finished()[0].decode().splitlines() if not line.startswith("#"))


def tree_lines(session: Session, sanitiser: Sanitiser) -> Iterator[str]:
    """Yield one line per event: record type, product, its own cost and the cumulative one."""
    children: dict[int, list[int]] = {}
    for index, event in enumerate(session.events):
        children.setdefault(event.parent, []).append(index)
    rows: list[tuple[str, Event]] = []
    stack = [(0, "", "")]  # no recursion: a tree may be deeper than Python's stack
    while stack:
        index, branch, indent = stack.pop()
        event = session.events[index]
        names = (event.record_type, event.product or "-", event.id or "-")
        record_type, product, event_id = map(sanitiser.line, names)
        rows.append((f"{branch}{record_type} ({product}) {event_id}", event))
        below = children.get(index, [])
        for child in reversed(below):
            last = child == below[-1]
            stack.append((child, indent + ("└── " if last else "├── "), indent + ("    " if last else "│   ")))
    width = max(len(name) for name, _ in rows)
    for name, event in rows:
        costs = f"event {exact(event.cost) or 'unpriced'}  cumulative {exact(event.cumulative) or '?'}"
        yield f"{name.ljust(width)}  {costs}  {sanitiser.line(event.currency)}"
